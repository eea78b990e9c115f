"""What a request's path and query say, validated once against the schemas that are documented.

The framework looks at each field of a schema for every request. Most requests have no query: what
they say is known beforehand, the schema's defaults.
"""

from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

from flask import request
from pydantic import BaseModel, ValidationError

View = Callable[..., Any]


def without_query(
    view: View, whole: View, path: type[BaseModel] | None, query: type[BaseModel] | None
) -> View:
    """Return a view that takes a short way for requests without a query, and `whole`'s for others.

    `whole` validates all, calls `view`, and answers what is wrong.
    """
    if iscoroutinefunction(view) or query is None or any(map(_is_required, _fields(query))):
        return whole
    absent = query()

    @wraps(whole)
    def short(**given: Any) -> Any:
        if request.query_string:
            return whole(**given)
        if path is None:
            return view(query=absent)
        try:
            found = path.model_validate(given)
        except ValidationError:
            return whole(**given)
        return view(path=found, query=absent)

    return short


def _fields(schema: type[BaseModel]) -> list[Any]:
    return [*schema.model_fields.values()]


def _is_required(field: Any) -> bool:
    return bool(field.is_required())
