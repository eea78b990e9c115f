"""What the OpenAPI document says beyond the shapes: bodies that stream, and every error."""

from collections.abc import Callable
from inspect import signature
from typing import Any, Final

from flask_openapi3.models.security_scheme import SecurityScheme
from pydantic import BaseModel

from views.schemas import Error

_BINARY: Final = {"type": "string", "format": "binary"}

# The bodies of uploads are described here and not as parameters of their views: the framework
# would parse them first, and so write every byte twice.
FORM: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "array", "items": _BINARY},
                        "sha256": {"type": "string", "pattern": "^[0-9a-fA-F]{64}$"},
                        "collection": {"type": "string"},
                    },
                    "additionalProperties": {"type": "string"},
                }
            }
        },
    }
}
BODY: Final[dict[str, Any]] = {
    "requestBody": {"required": True, "content": {"application/octet-stream": {"schema": _BINARY}}}
}


_ARCHIVE: Final = {"application/zip": {"schema": _BINARY}}
ZIP: Final[dict[str, Any]] = {
    "200": {"description": "The archive", "content": _ARCHIVE},
    "206": {"description": "A range of it", "content": _ARCHIVE},
    "304": {"description": "It is the one that the client has"},
    "404": Error,
    "412": Error,
    "416": Error,
}

SECURITY: Final[dict[str, SecurityScheme | dict[str, Any]]] = {
    "key": {"type": "http", "scheme": "bearer", "description": "An API key"}
}
KEY: Final[list[dict[str, list[str]]]] = [{"key": []}]
KEY_OR_LINK: Final[list[dict[str, list[str]]]] = [*KEY, {}]

_FOREIGN: Final = {403}
_OF_CALLERS: Final = {400, 401, 403, 429, 503}
_OF_THINGS: Final = {400, 404, 503}
_OF_CHANGES: Final = {409, 507}
_OF_BODIES: Final = {400, 408, 411, 413, 415}
_OF_FILES: Final = {404, 410, 422, 423}


def answers(status: int, shape: type[BaseModel] | None = None, *more: int) -> dict[str, Any]:
    """Return the answer of an operation that goes well, and errors that it alone may give."""
    return {str(status): shape} | {str(each): Error for each in more}


def errors(
    method: str, url: str, view: Callable[..., Any], *, keyed: bool, takes_file: bool
) -> dict[str, Any]:
    """Return the errors that an operation may give, for what it is.

    `keyed` says whether it asks who calls, `takes_file` whether files come by it.
    """
    statuses = set(_FOREIGN)
    if keyed:
        statuses |= _OF_CALLERS
    if "<" in url:
        statuses |= _OF_THINGS
    if method != "get":
        statuses |= _OF_CHANGES
    if takes_file:
        statuses |= _OF_FILES
    if takes_file or "body" in signature(view).parameters:
        statuses |= _OF_BODIES | ({404} if keyed else set())
    return {str(status): Error for status in sorted(statuses)}
