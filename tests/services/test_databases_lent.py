"""A database that one test after the other gets is, each time, as if it were new."""

from urllib.parse import urlsplit

import pytest

from tests.support.databases import MOST_GROWTH, Databases
from tests.support.servers import PostgresServer

WRITTEN = """
INSERT INTO counters (collection, owner, files, bytes) VALUES ('not-there', 'anyone', 1, 1);
DELETE FROM collections;
SELECT setval(pg_get_serial_sequence('files', 'number'), 700);
"""
CHANGED = (
    "ALTER TABLE files ADD COLUMN more text",
    "CREATE INDEX more ON files (size)",
    "CREATE TABLE more (id integer)",
    "INSERT INTO counters (collection, owner, files, bytes) VALUES ('one', 'a', 1, 1);"
    " ANALYZE counters",
    "INSERT INTO counters (collection, owner, files, bytes)"
    f" SELECT 'one', md5(n::text), 1, 1 FROM generate_series(1, {MOST_GROWTH // 64}) AS n",
)


@pytest.fixture
def lender(postgres_server: PostgresServer, upgraded_database: str) -> Databases:
    return Databases(postgres_server, upgraded_database)


def write(server: PostgresServer, url: str, statements: str) -> None:
    with server.connected(name_in(url)) as connection, connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute(statements.encode())


def name_in(url: str) -> str:
    return urlsplit(url).path.lstrip("/")


def test_what_was_written_is_gone_and_what_was_there_is_back(
    postgres_server: PostgresServer, upgraded_database: str, lender: Databases
) -> None:
    url = lender.lend()
    write(postgres_server, url, WRITTEN)
    lender.give_back(url)
    assert lender.lend() == url
    found = []
    for name in (name_in(url), upgraded_database):
        with postgres_server.connected(name) as connection:
            found.append(
                [
                    connection.execute(query).fetchall()
                    for query in (
                        b"SELECT * FROM collections ORDER BY name",
                        b"SELECT * FROM counters",
                        b"SELECT last_value FROM files_number_seq",
                        b"SELECT * FROM alembic_version",
                    )
                ]
            )
    assert found[0] == found[1]


@pytest.mark.parametrize("changed", CHANGED)
def test_one_that_is_no_longer_as_it_was_made_is_not_lent_again(
    postgres_server: PostgresServer, lender: Databases, changed: str
) -> None:
    url = lender.lend()
    write(postgres_server, url, changed)
    lender.give_back(url)
    assert lender.lend() != url


def test_one_that_someone_is_still_connected_to_is_not_lent_again(
    postgres_server: PostgresServer, lender: Databases
) -> None:
    url = lender.lend()
    lender.give_back(url)
    with postgres_server.connected(name_in(url)):
        assert lender.lend() != url
