"""Imports run one way, and each library stays in the one place that may know it."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = (
    "app",
    "wiring",
    "cli",
    "routes",
    "views",
    "services",
    "models",
    "storage",
    "config",
    "worker",
)

MAY_IMPORT = {
    "app": {"app", "wiring", "cli", "routes", "views", "services", "models", "storage", "config"},
    "wiring": {"wiring", "routes", "views", "services", "models", "storage", "config"},
    "cli": {"cli", "app", "routes", "views", "services", "models", "storage", "config"},
    "routes": {"routes", "views", "services", "models", "storage", "config"},
    "views": {"views", "services", "models", "storage", "config"},
    "services": {"services", "models", "storage", "config"},
    "models": {"models"},
    "storage": {"storage"},
    "config": {"config"},
    "worker": {"worker"},
}
WEB = ("flask", "flask_sqlalchemy", "flask_cors", "flask_migrate", "flask_openapi3", "werkzeug")
MUST_NOT_IMPORT = {
    "storage": (*WEB, "sqlalchemy", "alembic"),
    "models": ("flask", "werkzeug"),
    "services": (*WEB, "storage.local", "storage.s3", "storage.memory"),
    "views": (
        "boto3",
        "botocore",
        "magic",
        "PIL",
        "pillow_heif",
        "sqlalchemy.text",
        "sqlalchemy.sql.text",
    ),
    "config": (*WEB, "sqlalchemy"),
}
PURE_HEADER_PARSERS = "werkzeug.http"
ONLY_IN = {
    "boto3": "storage/s3",
    "botocore": "storage/s3",
    "magic": "services/mimetype",
    "pylibmagic": "services/mimetype",
    "PIL": "services/imaging",
    "pillow_heif": "services/imaging",
}


@dataclass(frozen=True)
class Import:
    """`name` as `file` imports it, dotted: `from os import environ` is `os.environ`."""

    file: str
    name: str

    @property
    def part(self) -> str:
        return self.file.split("/")[0].removesuffix(".py")

    def is_of(self, *modules: str) -> bool:
        return any(self.name == module or self.name.startswith(f"{module}.") for module in modules)


def _files() -> Iterator[Path]:
    for part in PARTS:
        yield from sorted((ROOT / part).rglob("*.py"))
        if (module := ROOT / f"{part}.py").exists():
            yield module


def _imports() -> list[Import]:
    found = []
    for path in _files():
        file = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found += [Import(file, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{file}: relative import"
                found += [Import(file, f"{node.module}.{alias.name}") for alias in node.names]
    return found


IMPORTS = _imports()


def test_every_part_is_there_to_be_read() -> None:
    assert {found.part for found in IMPORTS} >= set(PARTS) - {"cli"}


@pytest.mark.parametrize("part", PARTS)
def test_imports_run_one_way(part: str) -> None:
    ours = [found for found in IMPORTS if found.part == part and found.is_of(*PARTS)]
    assert [found for found in ours if found.name.split(".")[0] not in MAY_IMPORT[part]] == []


@pytest.mark.parametrize("part", MUST_NOT_IMPORT)
def test_a_layer_does_not_know_what_is_not_its_business(part: str) -> None:
    forbidden = MUST_NOT_IMPORT[part]
    assert [
        found
        for found in IMPORTS
        if found.part == part and found.is_of(*forbidden) and not found.is_of(PURE_HEADER_PARSERS)
    ] == []


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_stays_where_it_is_wrapped(library: str) -> None:
    users = {found.file for found in IMPORTS if found.is_of(library)}
    assert users, f"{library} is used nowhere"
    assert {file for file in users if not file.startswith(ONLY_IN[library])} == set()


def test_only_config_reads_the_environment() -> None:
    readers = set()
    for path in _files():
        for node in ast.walk(ast.parse(path.read_text())):
            dotted = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
            if dotted in ("os.environ", "os.getenv", "os.environb", "os.putenv"):
                readers.add(path.relative_to(ROOT).as_posix())
    readers |= {found.file for found in IMPORTS if found.is_of("os.environ", "os.getenv")}
    assert {file for file in readers if not file.startswith("config/")} == set()
