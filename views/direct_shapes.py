"""The shapes of direct uploads: ours, and those that `@uppy/aws-s3` 6 reads and sends."""

from typing import Any, Final, Literal

from pydantic import ConfigDict, Field, RootModel

from views.schemas import Answer, File, Shape

LONGEST_KEY: Final = 1024

FORM_OF_ONE: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "key": {"type": "string"},
                        "file": {"type": "string", "format": "binary"},
                    },
                }
            }
        },
    }
}
"""The form that local disk takes: as FORM is for uploads, no parameter of its view."""


class LinkQuery(Shape):
    link: str | None = Field(
        None, description="The token of a signed upload link, which counts in place of a key"
    )


class DirectPath(Shape):
    id: str = Field(description="The upload's id")


class PartPath(DirectPath):
    number: int = Field(description="The part's number, from 1 to 10,000")


class KeyQuery(LinkQuery):
    key: str = Field(max_length=128, description="The upload's key")


class ParamsQuery(LinkQuery):
    """`metadata[name]=value` may come along."""

    model_config = ConfigDict(extra="allow")

    filename: str = Field(min_length=1, max_length=4096, description="What the file is called")
    type: str | None = Field(None, max_length=255, description="What the client says it is")


class SignedQuery(Shape):
    expires: str | None = Field(None, description="When the signature ends, seconds since 1970")
    signature: str | None = Field(None, description="What makes it a signed URL")


class DirectBegin(Shape):
    filename: str = Field(min_length=1, max_length=4096, description="What the file is called")
    size: int = Field(ge=0, le=2**63 - 1, description="Bytes")
    content_type: str | None = Field(None, max_length=255, description="What it is said to be")
    collection: str | None = Field(None, description="Where it goes; else the key's, or `default`")
    metadata: dict[str, Any] = Field(default_factory=dict, description="Kept with the file")


class DirectKey(Shape):
    key: str = Field(max_length=LONGEST_KEY, description="The form's field `key`")


class MultipartBegin(Shape):
    filename: str = Field(min_length=1, max_length=4096, description="What the file is called")
    type: str | None = Field(None, max_length=255, description="What it is said to be")
    metadata: dict[str, Any] | None = Field(
        None, description="Kept with the file; `collection` and `size` in it count as such"
    )


class PartNamed(Answer):
    model_config = ConfigDict(extra="ignore")

    PartNumber: int = Field(ge=1, le=10_000)
    ETag: str = Field(max_length=256, description="With quotes or without")


class MultipartEnd(Shape):
    parts: list[PartNamed] = Field(max_length=10_000, description="In ascending order")


class DirectUpload(Answer):
    id: str
    key: str
    method: Literal["PUT"]
    url: str = Field(description="Where the bytes are sent")
    headers: dict[str, str] = Field(description="What they are sent with")
    expires_at: str = Field(description="When the URL ends")
    confirm_url: str = Field(description="What is posted to afterwards")


class FormUpload(Answer):
    method: Literal["POST"]
    url: str
    fields: dict[str, str] = Field(description="Sent before the field `file`")
    expires: int = Field(description="Seconds that the form holds")
    id: str
    confirm_url: str


class MultipartUpload(Answer):
    key: str
    uploadId: str
    bucket: str


class PartUpload(Answer):
    url: str
    expires: int = Field(description="Seconds that the URL holds")


class PartStored(Answer):
    PartNumber: int
    Size: int
    ETag: str


class PartsStored(RootModel[list[PartStored]]):
    pass


class Completed(File):
    location: str = Field(description="The file's link")
    key: str
    bucket: str


class Nothing(Answer):
    pass
