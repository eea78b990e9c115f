"""Typed settings: what each variable is called, its default, and what a mistake in it sounds like.

`load_settings` reads an environment once and reports every mistake it finds in one
ConfigurationError, a line each, beginning with the variable's name. It opens no backend and no
database; what only they can tell is reported by whoever opens them.
"""

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    ByteSize,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from config.backends import BackendSettings, read_backends
from config.secrets import secret_problem, separate_secrets, with_secret_files

_SQLITE_IN_MEMORY = re.compile(r"sqlite[^:]*:(/{0,3}$|.*(:memory:|mode=memory))")
_ORIGIN = re.compile(
    r"https?://(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", re.ASCII
)
Source = PydanticBaseSettingsSource
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class ConfigurationError(Exception):
    """One or more settings are wrong; `problems` has a line for each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


def _split(value: object) -> object:
    """Split a comma-separated value; empty items are dropped."""
    if isinstance(value, str):
        return [item.strip() for item in value.split(",") if item.strip()]
    return value


def _split_secrets(value: object) -> object:
    """Split secrets as they stand in a variable or in a file."""
    return separate_secrets(value) if isinstance(value, str) else value


CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_split_secrets)]
Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_split)]


class Settings(BaseSettings):
    """Every setting. A field's variable is its name in capitals."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    data_dir: Path = Field(Path("/app/data"), description="Folder for all that persists.")
    database_url: str = Field(
        "", description="SQLAlchemy URL; SQLite in `DATA_DIR/app.db` unless set."
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    flask_run_port: int = Field(5000, ge=1, le=65535, description="Port to listen on.")
    web_concurrency: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, le=64, description="Worker processes."
    )
    threads: int = Field(768, ge=1, le=8192, description="Threads of each worker.")

    storage_backend: str = Field("local", description="Name of the backend new files go to.")

    auth_mode: Literal["keys", "open"] = Field(
        "keys", description="`keys`: every write needs a key. `open`: anyone may do anything."
    )
    secret_key: SecretStr = Field(
        SecretStr(""), description="Signs links and sessions: 32 characters or more."
    )
    secret_key_fallbacks: Secrets = Field(
        (), description="Earlier secrets, comma-separated: links that they signed live on."
    )
    public_url: str = Field(
        "", description="What clients reach the service as, for absolute links."
    )
    cors_origins: CommaSeparated = Field(
        (), description="Origins whose pages may call the API, comma-separated, or `*`."
    )
    trusted_proxies: Networks = Field(
        (), description="Networks whose `X-Forwarded-*` headers count, comma-separated."
    )

    max_upload_size: ByteSize = Field(
        ByteSize(10 * 1024**3), ge=1, description="Largest file in bytes, or `500MB`, `10GiB` …"
    )
    max_upload_files: int = Field(100, ge=1, le=10_000, description="Most files in one upload.")
    allowed_types: CommaSeparated = Field(
        ("*/*",), description="Types that are taken, by content: `image/*,application/pdf`."
    )
    body_timeout: float = Field(
        30.0, gt=0, le=3600, description="Seconds without a byte after which an upload is given up."
    )
    upload_expires_in: int = Field(
        86_400,
        ge=60,
        le=30 * 86_400,
        description="Seconds without a byte after which a resumable upload is dropped.",
    )
    sweep_interval: float = Field(
        60.0, ge=1, le=86_400, description="Seconds between two looks for expired uploads."
    )
    gc_interval: float = Field(
        600.0, ge=1, le=86_400, description="Seconds between two looks for what crashes left."
    )
    gc_grace: int = Field(
        86_400,
        ge=3600,
        le=365 * 86_400,
        description="Seconds that nothing may have touched what such a look removes.",
    )
    trash_expires_in: int = Field(
        604_800, ge=0, le=10 * 365 * 86_400, description="Seconds that files stay in the trash."
    )
    thumbnail_workers: int = Field(
        1, ge=1, le=64, description="Processes of each worker that make thumbnails."
    )
    thumbnail_timeout: float = Field(
        20.0, gt=0, le=600, description="Seconds that making a thumbnail may take."
    )
    thumbnail_memory: ByteSize = Field(
        ByteSize(1024**3), ge=256 * 1024**2, description="Memory that each such process may have."
    )
    thumbnail_max_pixels: int = Field(
        100_000_000, ge=1, description="Most pixels of an image that thumbnails are made of."
    )
    durability: Literal["fsync", "os"] = Field(
        "fsync",
        description="`fsync`: on disk before it is acknowledged. `os`: when the system likes.",
    )

    ready_timeout: float = Field(
        2.0, gt=0, le=60, description="Seconds each dependency has to answer `/api/ready`."
    )
    metrics_token: SecretStr = Field(
        SecretStr(""), description="Bearer token for `/metrics`; without it only loopback may ask."
    )
    log_format: Literal["json", "text"] = Field("json", description="Form of a log line.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severity that is logged."
    )

    backends: dict[str, BackendSettings] = Field(default_factory=dict, exclude=True)

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: Source, *_: Source, **__: Source
    ) -> tuple[Source, ...]:
        """Take only what `load_settings` hands in: the environment with secret files read."""
        return (init_settings,)

    @field_validator("data_dir")
    @classmethod
    def _is_absolute(cls, folder: Path) -> Path:
        return folder.absolute()

    @field_validator("allowed_types")
    @classmethod
    def _each_is_a_type(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            major, slash, minor = pattern.partition("/")
            if not (slash and major and minor):
                raise ValueError(f"{pattern!r} is not a type such as image/png or image/*")
        return tuple(pattern.lower() for pattern in patterns)

    @field_validator("cors_origins")
    @classmethod
    def _each_is_an_origin(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin.lower()):
                raise ValueError(f"{origin!r} is not an origin such as https://app.example.org")
        return tuple(origin.lower() for origin in origins)

    @field_validator("public_url")
    @classmethod
    def _is_an_http_url(cls, url: str) -> str:
        if url and not url.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _fill_in_what_follows(self) -> Self:
        url = self.database_url or f"sqlite:///{self.data_dir / 'app.db'}"
        for plain in ("postgres://", "postgresql://"):
            if url.startswith(plain):
                url = "postgresql+psycopg://" + url.removeprefix(plain)
        object.__setattr__(self, "database_url", url)
        return self

    @property
    def durable(self) -> bool:
        """Whether bytes are synced to disk before they are acknowledged."""
        return self.durability == "fsync"

    @property
    def scratch(self) -> Path:
        """The folder for bytes on their way to a remote store."""
        return self.data_dir / "tmp"


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environment`, the process's own unless given.

    Raises ConfigurationError with every mistake at once.
    """
    given = os.environ if environment is None else environment
    # Blank counts as not set: everywhere, or a blank AUTH_MODE would ask for no SECRET_KEY.
    environ = {name: text.strip() for name, text in given.items() if text.strip()}
    values, problems = with_secret_files(environ)
    backends, more = read_backends(values)
    problems += more
    settings = None
    try:
        settings = Settings(**_fields(values), backends=backends)
    except ValidationError as error:
        problems += [_sentence(mistake) for mistake in error.errors()]
    problems += _cross_checks(values, backends)
    if problems or settings is None:
        raise ConfigurationError(sorted(problems))
    return settings


def _fields(values: Mapping[str, str]) -> dict[str, Any]:
    """Pick the settings' own variables."""
    names = (name for name, field in Settings.model_fields.items() if not field.exclude)
    return {name: values[name.upper()] for name in names if name.upper() in values}


def _sentence(mistake: Any) -> str:
    variable = str(mistake["loc"][0]).upper() if mistake["loc"] else "settings"
    return f"{variable}: {mistake['msg'].removeprefix('Value error, ')}"


def _cross_checks(
    values: Mapping[str, str], backends: Mapping[str, BackendSettings]
) -> Iterator[str]:
    """Yield what is wrong with variables that each alone look right."""
    if values.get("AUTH_MODE", "keys") == "keys" and (
        problem := secret_problem(values.get("SECRET_KEY", ""))
    ):
        yield f"SECRET_KEY: {problem}"
    earlier = separate_secrets(values.get("SECRET_KEY_FALLBACKS", ""))
    for number, fallback in enumerate(earlier, start=1):
        if problem := secret_problem(fallback):
            yield f"SECRET_KEY_FALLBACKS: number {number} is {problem}"
    chosen = values.get("STORAGE_BACKEND", "local")
    if chosen not in backends:
        yield (
            f"STORAGE_BACKEND: no backend is called {chosen!r}: set STORAGE_{chosen.upper()}_URL "
            f"or use one of {', '.join(sorted(backends))}"
        )
    elif backends[chosen].url.startswith("memory:") and values.get("WEB_CONCURRENCY", "") != "1":
        yield "STORAGE_BACKEND: memory: lives in one process, so WEB_CONCURRENCY must be 1"
    if _SQLITE_IN_MEMORY.match(values.get("DATABASE_URL", "")):
        yield "DATABASE_URL: SQLite in memory is not shared between workers: name a file"


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable as the documentation shows it."""

    name: str
    default: str
    description: str


def documented_variables() -> list[Variable]:
    """Return every setting that is one variable, in the order of the documentation."""
    return [
        Variable(name.upper(), _default(field), field.description or "")
        for name, field in Settings.model_fields.items()
        if not field.exclude
    ]


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "the number of cores"
    value = field.default
    return ", ".join(value) if isinstance(value, tuple) else str(value)
