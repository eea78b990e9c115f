"""The shapes of the API, as pydantic models: the OpenAPI document is made of them.

Views render plain dicts in these shapes; requests are validated against them.
"""

from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.filenames import link_path
from services.files import FileInfo
from services.mimetype import same_type

FileId = Annotated[str, Field(pattern="^[a-z2-7]{26}$", examples=["k7q2mzt4x5c3vj6w2h8b9n1d5f"])]


Text = Annotated[str, Field(max_length=255, pattern=r"^[^\x00]*$")]
"""What a database compares with its columns: PostgreSQL's have no NUL."""


class Shape(BaseModel):
    """What requests are validated against. Anything that is not in the shape is refused."""

    model_config = ConfigDict(extra="forbid")

    if not TYPE_CHECKING:

        @classmethod
        @cache
        def model_json_schema(cls, *arguments: Any, **options: Any) -> dict[str, Any]:
            """Make the schema once: the framework asks for it with every request's parameters."""
            return super().model_json_schema(*arguments, **options)


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


class ListQuery(Shape):
    limit: int = Field(50, ge=1, le=1000, description="Most items of a page")
    cursor: str | None = Field(None, max_length=4096, description="`next_cursor` of a page")
    q: str | None = Field(None, max_length=255, description="Part of the name, in any case")
    type: Text | None = Field(None, description="A type: `image/png`, or `image/*` for a family")
    collection: Text | None = Field(None, description="Only this collection's")
    sort: Literal["-created", "created", "name", "-name", "size", "-size"] = Field(
        "-created", description="Order; `-` is descending"
    )


class FileChange(Shape):
    filename: str | None = Field(None, min_length=1, max_length=4096, description="The new name")
    metadata: dict[str, Any] | None = Field(
        None, description="Merged into what is there; null takes a key away (RFC 7396)"
    )


class DeleteMany(Shape):
    ids: list[str] = Field(min_length=1, max_length=1000, description="Ids of files")


class File(BaseModel):
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


class FileList(BaseModel):
    items: list[File]
    total: int
    total_exact: bool = Field(description="False when there are more than `total`")
    next_cursor: str | None


class Uploaded(BaseModel):
    items: list[File]
    total: int


class Deletion(BaseModel):
    id: str
    status: Literal["deleted", "not_found"]


class Deletions(BaseModel):
    items: list[Deletion]
    total: int


class Error(BaseModel):
    error: str = Field(description="A sentence for people")
    code: str = Field(description="A stable name for programs")


class Health(BaseModel):
    status: Literal["healthy"]
    service: Literal["backend"]


class Readiness(BaseModel):
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
        "created_at": _moment(file.created_at),
        "updated_at": _moment(file.updated_at),
        "expires_at": None if file.expires_at is None else _moment(file.expires_at),
    }


def _moment(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
