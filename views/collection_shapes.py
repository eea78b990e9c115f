"""The shapes of collections and of what is used of them; see `views.schemas`."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from services.collection_fields import LARGEST, LONGEST_CACHED, LONGEST_LIFE, MOST_TYPES, NAME
from views.schemas import Answer, Shape

Limit = Annotated[int, Field(strict=True, ge=1, le=LARGEST)]
Visibility = Literal["public", "private"]
OnMismatch = Literal["correct", "reject"]
Delivery = Literal["proxy", "redirect", "x-accel"]


class CollectionPath(Shape):
    name: str = Field(
        description="The collection's name", json_schema_extra={"pattern": f"^{NAME.pattern}$"}
    )


class CollectionFields(Shape):
    visibility: Visibility = Field(
        "public", description="Whether anybody with the link may read new files"
    )
    allowed_types: Annotated[list[str], Field(min_length=1, max_length=MOST_TYPES)] | None = Field(
        None, description="Types that are taken, by content: `image/*`, `application/pdf`"
    )
    on_mismatch: OnMismatch = Field(
        "correct", description="What becomes of a file that is not what it is declared to be"
    )
    max_size: Limit | None = Field(None, description="Most bytes of a file")
    max_files: Limit | None = Field(None, description="Most files, unfinished uploads counted")
    max_bytes: Limit | None = Field(
        None, description="Most bytes of all files, unfinished uploads counted"
    )
    expires_in: Annotated[int, Field(strict=True, ge=1, le=LONGEST_LIFE)] | None = Field(
        None, description="Seconds that a new file lives"
    )
    backend: str | None = Field(
        None, max_length=255, description="Where new files are kept; the service's own if null"
    )
    delivery: Delivery = Field("proxy", description="Who sends the bytes")
    cache_max_age: Annotated[int, Field(strict=True, ge=0, le=LONGEST_CACHED)] = Field(
        3600, description="Seconds that caches may keep what a link leads to"
    )


class Collection(Answer):
    name: str
    visibility: Visibility
    allowed_types: list[str] | None
    on_mismatch: OnMismatch
    max_size: int | None
    max_files: int | None
    max_bytes: int | None
    expires_in: int | None
    backend: str | None
    delivery: Delivery
    cache_max_age: int
    created_at: datetime
    updated_at: datetime


class CollectionList(Answer):
    items: list[Collection]
    total: int


class Usage(Answer):
    collection: str
    files: int = Field(description="Files, those in the trash counted")
    bytes: int
    trashed_files: int = Field(description="Those of them that are in the trash")
    trashed_bytes: int
    reserved_files: int = Field(description="Files that unfinished uploads have room for")
    reserved_bytes: int = Field(description="Bytes that unfinished uploads have room for")
    max_files: int | None = Field(description="The collection's limit, for the files of all")
    max_bytes: int | None = Field(description="The collection's limit, for the files of all")


class UsageList(Answer):
    items: list[Usage]
    total: int
