"""Collections: what can be asked of them, who may ask, and that none goes while it is in use."""

from datetime import timedelta
from typing import Any, cast

import pytest
from sqlalchemy import func, select, update

from app import Holdall
from models import ApiKey, Collection, now
from services import policy
from services.caller import ANONYMOUS, EVERYONE, SCOPES, Caller
from services.errors import (
    CollectionNotFound,
    Conflict,
    InvalidField,
    NotPermitted,
    NotSignedIn,
)
from services.intake import Declaration
from storage.base import Storage
from tests.conftest import parts
from tests.services.uploading import database_of, expires_at

READER = Caller("k", frozenset({"read"}))
BOUND = Caller("k", SCOPES, collection="pics")
LONG_NAME = "a" * 63

WRONG: tuple[tuple[str, Any], ...] = (
    ("visibility", "secret"),
    ("visibility", None),
    ("on_mismatch", "record"),
    ("delivery", "pigeon"),
    *(("allowed_types", value) for value in ([], "image/*", ["image"], ["*/png"], ["a/b;c"], [1])),
    ("allowed_types", ["image/*"] * 101),
    *((limit, value) for limit in ("max_size", "max_files") for value in (0, -1, 1.5, True, "9")),
    ("max_bytes", 2**53),
    ("expires_in", 0),
    ("expires_in", 2**40),
    ("cache_max_age", -1),
    ("cache_max_age", None),
    ("backend", "nowhere"),
    ("backend", 1),
    ("created_at", "now"),
)


def names(app: Holdall) -> list[str]:
    with database_of(app).read() as session:
        return list(session.scalars(select(Collection.name).order_by(Collection.name)))


def store(app: Holdall, name: str, caller: Caller = EVERYONE) -> str:
    """Put a file into a collection and return its id."""
    with parts(app).ingest.admit(caller, Declaration("a.txt", collection=name)) as intake:
        intake.feed(b"text")
        intake.inspect()
        return parts(app).publishing.publish([intake])[0].id


def test_default_is_there_and_stays(app: Holdall) -> None:
    collections = parts(app).collections
    assert [each.name for each in collections.all(EVERYONE)] == ["default"]
    with pytest.raises(Conflict):
        collections.delete(EVERYONE, "default")
    collections.set(EVERYONE, "default", {"max_size": 10})
    assert collections.get(EVERYONE, "default").max_size == 10


def test_only_what_is_given_changes(app: Holdall) -> None:
    collections = parts(app).collections
    made, new = collections.set(EVERYONE, "pics", {"allowed_types": ["Image/*"], "max_files": 3})
    assert (new, made.allowed_types, made.max_files) == (True, ["image/*"], 3)
    changed, new = collections.set(EVERYONE, "pics", {"max_files": None, "visibility": "private"})
    assert (new, changed.allowed_types, changed.max_files) == (False, ["image/*"], None)
    assert (changed.visibility, changed.created_at) == ("private", made.created_at)
    assert changed.updated_at > made.updated_at
    assert collections.change(EVERYONE, "pics", {}).visibility == "private"
    replaced, new = collections.put(EVERYONE, "pics", {"max_files": 5})
    assert (new, replaced.visibility, replaced.allowed_types) == (False, "public", None)
    assert collections.get(EVERYONE, "pics") == replaced


def test_what_is_not_limited_is_null_in_the_database(app: Holdall) -> None:
    parts(app).collections.put(EVERYONE, "pics", {})
    limited = (Collection.name == "pics", Collection.allowed_types.is_(None))
    with database_of(app).read() as session:
        assert session.scalar(select(func.count()).select_from(Collection).where(*limited)) == 1


@pytest.mark.parametrize(("field", "value"), WRONG)
def test_what_cannot_be_asked_is_refused_with_the_fields_name(
    local_app: Holdall, field: str, value: Any
) -> None:
    for ask in (parts(local_app).collections.set, parts(local_app).collections.put):
        with pytest.raises(InvalidField) as refused:
            ask(EVERYONE, "pics", {field: value})
        assert str(refused.value).startswith(field)
    assert names(local_app) == ["default"]


@pytest.mark.parametrize("name", ("", "-a", "_a", "A", "ä", "a b", "a/b", "a\n", "a\0", "a" * 64))
def test_no_collection_is_called_so(local_app: Holdall, name: str) -> None:
    collections = parts(local_app).collections
    with pytest.raises(InvalidField, match="name"):
        collections.set(EVERYONE, name, {})
    with pytest.raises(CollectionNotFound):
        collections.get(EVERYONE, name)
    with pytest.raises(CollectionNotFound):
        collections.change(EVERYONE, name, {})
    with pytest.raises(CollectionNotFound):
        collections.delete(EVERYONE, name)


def test_names_may_be_so(local_app: Holdall) -> None:
    for name in ("0", "a-b_c", LONG_NAME):
        assert parts(local_app).collections.set(EVERYONE, name, {})[0].name == name


def test_who_may_change_and_who_may_see(local_app: Holdall) -> None:
    collections = parts(local_app).collections
    for name in ("pics", "docs"):
        collections.set(EVERYONE, name, {})
    for caller in (READER, BOUND):
        for act in (collections.set, collections.put, collections.change):
            with pytest.raises(NotPermitted):
                act(caller, "pics", {"max_files": 1})
        with pytest.raises(NotPermitted):
            collections.delete(caller, "pics")
    with pytest.raises(NotSignedIn):
        collections.all(ANONYMOUS)
    assert [each.name for each in collections.all(READER)] == ["default", "docs", "pics"]
    assert [each.name for each in collections.all(BOUND)] == ["pics"]
    with pytest.raises(CollectionNotFound):
        collections.get(BOUND, "docs")


def test_a_collection_with_files_is_not_deleted(app: Holdall) -> None:
    collections = parts(app).collections
    collections.set(EVERYONE, "pics", {})
    file_id = store(app, "pics")
    with pytest.raises(Conflict, match="files"):
        collections.delete(EVERYONE, "pics")
    parts(app).files.delete(EVERYONE, file_id)
    collections.delete(EVERYONE, "pics")
    assert names(app) == ["default"]
    with pytest.raises(CollectionNotFound):
        collections.delete(EVERYONE, "pics")


def test_a_collection_with_uploads_is_not_deleted(app: Holdall) -> None:
    collections, uploads = parts(app).collections, parts(app).uploads
    collections.set(EVERYONE, "pics", {"max_files": 1})
    declared = Declaration("a.bin", size=10, collection="pics")
    upload = uploads.create(EVERYONE, declared, protocol="tus").id
    with pytest.raises(Conflict, match="uploads"):
        collections.delete(EVERYONE, "pics")
    expires_at(app, upload, now() - timedelta(seconds=1))
    parts(app).expiry.run()
    with parts(app).ingest.admit(EVERYONE, declared), pytest.raises(Conflict, match="uploads"):
        collections.delete(EVERYONE, "pics")
    collections.delete(EVERYONE, "pics")
    assert names(app) == ["default"]


def test_a_collection_with_keys_is_not_deleted(app: Holdall) -> None:
    collections, keys = parts(app).collections, parts(app).keys
    collections.set(EVERYONE, "pics", {})
    keys.create(EVERYONE, name="all", scopes=["admin"])
    key = keys.create(EVERYONE, name="pics", scopes=["read"], collection="pics").info
    with pytest.raises(Conflict, match="keys"):
        collections.delete(EVERYONE, "pics")
    keys.revoke(EVERYONE, key.id)
    collections.delete(EVERYONE, "pics")
    with database_of(app).read() as session:
        found = session.execute(select(ApiKey.revoked_at).where(ApiKey.id == key.id)).one()
    assert found.revoked_at is not None


def test_a_file_whose_collection_went_meanwhile_is_refused(app: Holdall) -> None:
    collections = parts(app).collections
    collections.set(EVERYONE, "pics", {})
    declared = Declaration("a.bin", size=4, collection="pics")
    with parts(app).ingest.admit(EVERYONE, declared) as intake:
        intake.feed(b"text")
        intake.inspect()
        collections.delete(EVERYONE, "pics")
        with pytest.raises(CollectionNotFound):
            parts(app).publishing.publish([intake])
    with pytest.raises(CollectionNotFound):
        parts(app).uploads.create(EVERYONE, declared, protocol="tus")
    assert list(_stored(app)) == []


def test_usage_is_told_by_key_and_by_collection(app: Holdall) -> None:
    collections, usages, keys = parts(app).collections, parts(app).usages, parts(app).keys
    collections.set(EVERYONE, "pics", {"max_files": 9, "max_bytes": 900})
    ids = [keys.create(EVERYONE, name="k", scopes=["write"]).info.id for _ in range(2)]
    callers = [Caller(each, frozenset({"write"})) for each in ids]
    store(app, "pics", callers[0])
    store(app, "pics", callers[0])
    store(app, "pics", callers[1])
    store(app, "default", callers[1])
    declared = Declaration("a.bin", size=100, collection="pics")
    parts(app).uploads.create(callers[1], declared, protocol="tus")
    mine = usages.of_caller(callers[0])
    assert [(each.collection, each.files, each.bytes) for each in mine] == [("pics", 2, 8)]
    assert (mine[0].max_files, mine[0].max_bytes, mine[0].reserved_files) == (9, 900, 0)
    theirs = usages.of_key(EVERYONE, ids[1])
    assert [each.collection for each in theirs] == ["default", "pics"]
    assert (theirs[1].files, theirs[1].reserved_files, theirs[1].reserved_bytes) == (1, 1, 100)
    every = usages.of_collection(EVERYONE, "pics")
    assert (every.files, every.bytes) == (3, 12)
    assert (every.reserved_files, every.reserved_bytes) == (1, 100)
    assert usages.of_caller(EVERYONE) == []


def test_who_may_ask_for_whose_usage(local_app: Holdall) -> None:
    usages = parts(local_app).usages
    parts(local_app).collections.set(EVERYONE, "pics", {})
    with pytest.raises(NotSignedIn):
        usages.of_caller(ANONYMOUS)
    for caller in (READER, BOUND):
        with pytest.raises(NotPermitted):
            usages.of_key(caller, "k")
    with pytest.raises(NotPermitted):
        usages.of_collection(READER, "default")
    with pytest.raises(CollectionNotFound):
        usages.of_collection(BOUND, "default")
    assert usages.of_collection(BOUND, "pics").files == 0


def test_a_change_of_backend_leaves_uploads_under_way_where_they_are(
    local_app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "KNOWN_FOR", -1.0)
    uploads = parts(local_app).uploads
    declared = Declaration("a.bin", size=0)
    upload = uploads.create(EVERYONE, declared, protocol="tus").id
    storages = cast(dict[str, Storage], parts(local_app).storages)
    storages["other"] = storages["local"]
    with database_of(local_app).write() as session:
        session.execute(update(Collection).values(backend="other"))
    file_id = uploads.get(EVERYONE, upload).file_id
    assert file_id is not None
    stored = parts(local_app).files.for_delivery(file_id)
    assert stored is not None and stored.backend == "local"
    assert parts(local_app).ingest.judge(EVERYONE, declared)[1].backend == "other"


def _stored(app: Holdall) -> list[str]:
    settings = parts(app).settings
    return [info.key for info in parts(app).storages[settings.storage_backend].scan()]
