"""What the OpenAPI document says beyond the shapes: bodies that stream, and every error."""

from typing import Any, Final

from pydantic import BaseModel

from views.schemas import Error

_STATUSES: Final = ("400", "401", "403", "404", "409", "503")
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


def answers(status: int, shape: type[BaseModel] | None = None) -> dict[str, Any]:
    """Return the answers of an operation: its own, and the errors that any may give."""
    return {str(status): shape} | {each: Error for each in _STATUSES}
