"""The shapes of the API, as pydantic models: the OpenAPI document is made of them.

Views render plain dicts in these shapes; requests are validated against them.
"""

from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from services.filenames import link_path
from services.files import FileInfo
from services.keys import LONGEST as LONGEST_LIFE
from services.links import LONGEST
from services.mimetype import same_type

FileId = Annotated[str, Field(pattern="^[a-z2-7]{26}$", examples=["k7q2mzt4x5c3vj6w2h8b9n1d5f"])]


Text = Annotated[str, Field(max_length=255, pattern=r"^[^\x00]*$")]
"""What a database compares with its columns: PostgreSQL's have no NUL."""


class Answer(BaseModel):
    """What is answered, or a part of it."""

    if not TYPE_CHECKING:

        @classmethod
        @cache
        def model_json_schema(cls, *arguments: Any, **options: Any) -> dict[str, Any]:
            """Make the schema once: the framework asks again for every operation and request."""
            return super().model_json_schema(*arguments, **options)


class Shape(Answer):
    """What requests are validated against. Anything that is not in the shape is refused."""

    model_config = ConfigDict(extra="forbid")


class FilePath(Shape):
    id: str = Field(description="The file's id")


class UploadPath(Shape):
    filename: str = Field(description="What the file is called")


class UploadQuery(Shape):
    collection: str | None = Field(
        None,
        description="The collection that the file goes to; without it the key's, or `default`",
    )
    sha256: str | None = Field(
        None, description="SHA-256 of the file in hexadecimal: refused unless the bytes have it"
    )
    link: str | None = Field(
        None, description="The token of a signed upload link, which counts in place of a key"
    )


class LinkRequest(Shape):
    expires_in: int = Field(
        3600, strict=True, ge=1, le=LONGEST, description="Seconds that the link holds at least"
    )
    disposition: Literal["inline", "attachment"] = Field(
        "inline", description="Whether a browser shows the file, if its type is safe, or saves it"
    )
    filename: str | None = Field(
        None, min_length=1, max_length=4096, description="The name to save it by; its own if null"
    )


class UploadLinkRequest(Shape):
    expires_in: int = Field(
        3600, strict=True, ge=1, le=LONGEST, description="Seconds that the link holds"
    )
    collection: Text | None = Field(
        None, description="Where the file goes; without it the key's collection, or `default`"
    )
    max_size: int | None = Field(
        None, strict=True, ge=1, le=2**63 - 1, description="Most bytes; never over the collection's"
    )
    filename: str | None = Field(
        None, min_length=1, max_length=4096, description="Counts in place of the uploader's"
    )
    content_type: str | None = Field(
        None,
        pattern=r"^[\x21-\x2e\x30-\x7e]+/[\x20-\x7e]+$",
        max_length=255,
        description="Counts in place of the uploader's, as what the file is declared to be",
    )


class KeyPath(Shape):
    id: str = Field(description="The key's id")


class KeyRequest(Shape):
    name: str = Field(min_length=1, max_length=255, description="What it is for, to tell it apart")
    scopes: list[Literal["read", "write", "delete", "admin"]] = Field(
        min_length=1, max_length=4, description="What it may do; `admin` includes all others"
    )
    collection: Text | None = Field(
        None, description="The only one that it may touch; any, if null"
    )
    expires_in: int | None = Field(
        None,
        strict=True,
        ge=1,
        le=LONGEST_LIFE,
        description="Seconds that it is good for; always, if null",
    )


Sort = Literal["-created", "created", "name", "-name", "size", "-size", "deleted", "-deleted"]


class ListQuery(Shape):
    limit: int = Field(50, ge=1, le=1000, description="Most items of a page")
    cursor: str | None = Field(None, max_length=4096, description="`next_cursor` of a page")
    q: str | None = Field(None, max_length=255, description="Part of the name, in any case")
    type: Text | None = Field(None, description="A type: `image/png`, or `image/*` for a family")
    collection: Text | None = Field(None, description="Only this collection's")
    trashed: bool = Field(False, description="Only what is in the trash; else all but that")
    sort: Sort | None = Field(
        None,
        description="Order; `-` is descending. `-created` unless given, and in the trash, where "
        "`deleted` will do too, `-deleted`",
    )


class ArchiveQuery(Shape):
    ids: str | None = Field(
        None,
        min_length=1,
        max_length=8190,
        pattern=r"^[^\x00]*$",
        description="Ids of files, comma-separated, in the order of the archive",
    )
    q: str | None = Field(None, max_length=255, description="Part of the name, in any case")
    type: Text | None = Field(None, description="A type: `image/png`, or `image/*` for a family")
    collection: Text | None = Field(None, description="All of this collection")
    filename: str = Field(
        "files.zip", min_length=1, max_length=4096, description="The name to save it by"
    )


class FileChange(Shape):
    filename: str | None = Field(None, min_length=1, max_length=4096, description="The new name")
    metadata: dict[str, Any] | None = Field(
        None, description="Merged into what is there; null takes a key away (RFC 7396)"
    )


class Many(Shape):
    ids: list[str] = Field(min_length=1, max_length=1000, description="Ids of files")


class File(Answer):
    id: FileId
    filename: str
    url: str = Field(description="The link to the bytes")
    size: int = Field(description="Bytes")
    content_type: str = Field(description="What the bytes are, by their content")
    declared_type: str | None = Field(description="What the client said that they are")
    type_mismatch: bool = Field(description="Whether these two disagree")
    sha256: str | None = Field(description="Hexadecimal")
    collection: str
    visibility: Literal["public", "private"]
    metadata: dict[str, Any]
    media: dict[str, Any] | None
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    deleted_at: datetime | None = Field(description="Since when it is in the trash; else null")


class Key(Answer):
    id: str
    name: str
    hint: str = Field(description="The secret's first and last characters")
    scopes: list[Literal["read", "write", "delete", "admin"]]
    collection: str | None
    state: Literal["active", "expired", "revoked"]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute")
    revoked_at: datetime | None


class NewKey(Key):
    key: str = Field(description="The secret, shown here and never again")


class KeyList(Answer):
    items: list[Key]
    total: int


class Link(Answer):
    url: str = Field(description="The link: GET and HEAD, without a key")
    disposition: Literal["inline", "attachment"]
    filename: str
    expires_at: datetime = Field(description="From this moment on it is refused")


class UploadLink(Answer):
    url: str = Field(description="Takes one file by form: POST, in the field `file`")
    tus_url: str = Field(description="Takes one file resumably: tus or the IETF drafts")
    token: str = Field(description="`link=` on any door for uploads")
    collection: str
    max_size: int = Field(description="Bytes")
    filename: str | None
    content_type: str | None
    expires_at: datetime = Field(description="From this moment on it is refused")


class FileList(Answer):
    items: list[File]
    total: int
    total_exact: bool = Field(description="False when there may be more than `total`")
    next_cursor: str | None


class Uploaded(Answer):
    items: list[File]
    total: int


class FileOrFiles(RootModel[File | Uploaded]):
    """One file was sent, or several."""


class Deletion(Answer):
    id: str
    status: Literal["deleted", "not_found"]


class Deletions(Answer):
    items: list[Deletion]
    total: int


class Trashing(Answer):
    id: str
    status: Literal["trashed", "not_found"]


class Trashings(Answer):
    items: list[Trashing]
    total: int


class Restoring(Answer):
    id: str
    status: Literal["restored", "not_found"]


class Restorings(Answer):
    items: list[Restoring]
    total: int


class Error(Answer):
    error: str = Field(description="A sentence for people")
    code: str = Field(description="A stable name for programs")


class Health(Answer):
    status: Literal["healthy"]
    service: Literal["backend"]


class Readiness(Answer):
    status: Literal["ready", "unavailable"]
    checks: dict[str, Literal["up", "down"]]


def file_json(file: FileInfo, public_url: str) -> dict[str, Any]:
    """Render a file in the shape of `File`; its link is absolute when the service knows its URL."""
    return {
        "id": file.id,
        "filename": file.filename,
        "url": public_url + link_path(file.id, file.filename),
        "size": file.size,
        "content_type": file.content_type,
        "declared_type": file.declared_type,
        "type_mismatch": not same_type(file.declared_type, file.content_type),
        "sha256": file.sha256,
        "collection": file.collection,
        "visibility": file.visibility,
        "metadata": file.metadata,
        "media": file.media,
        "created_at": moment_text(file.created_at),
        "updated_at": moment_text(file.updated_at),
        "expires_at": None if file.expires_at is None else moment_text(file.expires_at),
        "deleted_at": None if file.deleted_at is None else moment_text(file.deleted_at),
    }


def moment_text(moment: datetime) -> str:
    """Write a moment in UTC as RFC 3339 has it, to the millisecond."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
