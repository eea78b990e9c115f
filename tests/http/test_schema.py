"""The OpenAPI document is true: schemathesis makes requests out of it, and holds it to the answers.

For each operation, requests that the document admits and requests that it does not, by an admin,
by a key that may do little, and by nobody. None may be answered with a fault of the server, a
status, a type or a shape that the document does not name. The examples are the same in each run.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import signature
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import schemathesis
from flask.testing import FlaskClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app import Holdall
from routes import ROUTES, Route
from services.caller import EVERYONE
from tests.conftest import SECRET, MakeApp, parts
from views import archive, direct, session

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
UNLIKELY = {"collection", "metadata", "sha256"}
"""Fields of bodies whose made-up values are hardly ever right."""
EXAMPLES = 12
"""For each operation and each kind of request."""


@dataclass(frozen=True, slots=True)
class Known:
    """What makes a request name something that there is, in its URL, its query or its body."""

    path: dict[str, str]
    query: dict[str, str] = field(default_factory=dict)
    body: Any = None


@dataclass(frozen=True, slots=True)
class World:
    """An application with a key of each kind, and what is needed to aim a request."""

    app: Holdall
    client: FlaskClient
    keys: dict[str, str]
    answered: list[int] = field(default_factory=list)

    def ask(self, method: str, url: str, **options: Any) -> Any:
        """Send a request as the admin, and return what its answer says."""
        headers = {"Authorization": f"Bearer {self.keys['admin']}"}
        answer = self.client.open(url, method=method, headers=headers, **options)
        assert answer.status_code < 300, answer.text
        return answer.get_json()

    def send(self, case: Case[Any], caller: str) -> None:
        """Send a request as `caller`, and hold the answer against the document."""
        headers = {"Authorization": f"Bearer {self.keys[caller]}"} if caller in self.keys else {}
        answer = case.call_and_validate(headers=headers, checks=CHECKS)
        self.answered.append(answer.status_code)


@pytest.fixture
def world(app_with: MakeApp) -> World:
    app = app_with(AUTH_MODE="keys", SECRET_KEY=SECRET)
    make = parts(app).keys.create
    keys = {
        "admin": make(EVERYONE, name="admin", scopes=["admin"]).secret,
        "reader": make(EVERYONE, name="reader", scopes=["read"]).secret,
    }
    return World(app, app.test_client(), keys)


def a_file(world: World) -> Known:
    file = world.ask("PUT", "/api/upload/known.txt", data=b"known")
    return Known({"id": file["id"], "filename": "known.txt"})


def a_collection(world: World) -> Known:
    world.ask("PUT", "/api/collections/known", json={})
    return Known({"name": "known"})


def a_key(world: World) -> Known:
    return Known({"id": world.ask("GET", "/api/keys")["items"][0]["id"]})


def an_upload(world: World) -> Known:
    """Return an upload whose bytes have come."""
    known = an_upload_by_put(world)
    sent = world.client.put(
        f"/api/direct/whole/{known.path['id']}", query_string=known.query, data=known.body
    )
    assert sent.status_code == 200
    return Known(known.path)


def an_upload_by_put(world: World) -> Known:
    begun = world.ask("POST", "/api/direct", json={"filename": "known.txt", "size": 5})
    return Known({"id": begun["id"]}, _query(begun["url"]), b"known")


def an_upload_by_form(world: World) -> Known:
    begun = world.ask("GET", "/api/direct/s3/params?filename=known.txt")
    return Known({"id": begun["id"]}, _query(begun["url"]))


def an_upload_by_its_key(world: World) -> Known:
    begun = world.ask("GET", "/api/direct/s3/params?filename=known.txt")
    form = begun["fields"] | {"file": (BytesIO(b"known"), "known.txt")}
    assert world.client.post(begun["url"], data=form).status_code == 201
    return Known({}, body={"key": begun["fields"]["key"]})


def a_multipart(world: World) -> Known:
    begun = world.ask("POST", "/api/direct/s3/multipart", json={"filename": "known.txt"})
    return Known({"id": begun["uploadId"], "number": "1"}, {"key": begun["key"]})


def a_part(world: World, multipart: Known | None = None) -> Known:
    known = multipart or a_multipart(world)
    signed = world.ask(
        "GET",
        f"/api/direct/s3/multipart/{known.path['id']}/1",
        query_string={"key": known.query["key"]},
    )
    return Known(
        {"id": urlsplit(signed["url"]).path.split("/")[-2], "number": "1"}, _query(signed["url"])
    )


def a_multipart_to_complete(world: World) -> Known:
    known = a_multipart(world)
    signed = a_part(world, known)
    where = f"/api/direct/parts/{signed.path['id']}/1"
    sent = world.client.put(where, query_string=signed.query, data=b"known")
    parts_sent = [{"PartNumber": 1, "ETag": sent.headers["ETag"]}]
    return Known(known.path, known.query, {"parts": parts_sent})


def _query(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


def an_archive(world: World) -> Known:
    return Known({}, query={"ids": a_file(world).path["id"]})


def a_secret(world: World) -> Known:
    return Known({}, body={"key": world.keys["reader"]})


AIMS: dict[str, Callable[[World], Known]] = {
    "/api/direct/s3/multipart": a_multipart,
    "/api/direct/parts": a_part,
    "/api/direct": an_upload,
    "/api/collections": a_collection,
    "/api/keys": a_key,
    "/api": a_file,
}


SPECIAL: dict[Callable[..., Any], Callable[[World], Known]] = {
    archive.archive: an_archive,
    session.begin: a_secret,
    direct.put_whole: an_upload_by_put,
    direct.post_whole: an_upload_by_form,
    direct.confirm_key: an_upload_by_its_key,
    direct.complete: a_multipart_to_complete,
}


def aim_of(route: Route) -> Callable[[World], Known]:
    general = next(aim for start, aim in AIMS.items() if route.url.startswith(start))
    return SPECIAL.get(route.view, general)


def operation_of(route: Route, app: Holdall) -> APIOperation[Any, Any, Any, Any]:
    """Return what the document says of a route."""
    schema = schemathesis.openapi.from_wsgi("/api/openapi.json", app)
    url = route.url.replace("<path:", "{").replace("<", "{").replace(">", "}")
    return schema[url][route.method.upper()]


def takes_something(route: Route) -> bool:
    return bool(signature(route.view).parameters or route.extra or "<" in route.url)


KINDS = [
    pytest.param(route, mode, id=f"{mode.value} {route.method} {route.url}")
    for route in ROUTES
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or takes_something(route)
]


@pytest.mark.parametrize(("route", "mode"), KINDS)
def test_every_answer_is_one_that_the_document_names(
    world: World, route: Route, mode: GenerationMode
) -> None:
    operation = operation_of(route, world.app)
    known = aim_of(route)(world)

    @given(
        case=operation.as_strategy(generation_mode=mode),
        aimed=st.sampled_from([True, True, False]),
        caller=st.sampled_from(["admin", "admin", "admin", "reader", "nobody"]),
    )
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def hold(case: Case[Any], aimed: bool, caller: str) -> None:
        if aimed:
            aim(case, known, valid=mode is GenerationMode.POSITIVE)
        world.send(case, caller)

    hold()
    if mode is GenerationMode.POSITIVE:
        assert min(world.answered) < 300, "no request came through"


def aim(case: Case[Any], known: Known, *, valid: bool) -> None:
    """Have a request name what there is, with the right of its sender's key alone."""
    case.path_parameters = {
        name: known.path.get(name, value) for name, value in case.path_parameters.items()
    }
    unlikely = {"link"} | (UNLIKELY | {"q", "type"} if valid and "ids" in known.query else set())
    case.query = {name: text for name, text in case.query.items() if name not in unlikely}
    case.query |= known.query
    if valid and isinstance(case.body, dict):
        case.body = {name: value for name, value in case.body.items() if name not in UNLIKELY}
    if valid and known.body is not None:
        case.body = known.body
