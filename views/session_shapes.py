"""The shapes of sessions; see `views.schemas`."""

from typing import Literal

from pydantic import Field

from views.schemas import Answer, Shape


class SessionRequest(Shape):
    key: str = Field(max_length=255, description="An API key")


class Session(Answer):
    auth_mode: Literal["open", "keys"]
    signed_in: bool = Field(description="Whether the cookie or the key that came is good")
    name: str | None = Field(description="The key's")
    scopes: list[Literal["read", "write", "delete", "admin"]]
    collection: str | None = Field(description="The only one that the key may touch; any, if null")
    csrf_token: str | None = Field(
        description="X-CSRF-Token of each request that a cookie is to do for and that changes "
        "something; null where there is no cookie"
    )
    max_upload_size: int = Field(description="Bytes")
    version: str
    trash_expires_in: int = Field(description="Seconds that files stay in the trash")
