"""The commands of `holdall`, one function each: read the options, do it, show what came of it."""

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

from holdall_client import downloading, profile, showing, uploading
from holdall_client.errors import FAILED, ClientError, NotAllowed, NotFound, Unreachable
from holdall_client.profile import Profile
from holdall_client.server import Server
from holdall_client.uploading import Outgoing

JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
PARALLEL = click.option(
    "--parallel",
    type=click.IntRange(1, 32),
    default=4,
    show_default=True,
    help="Files that are under way at a time.",
)


def _version() -> str:
    try:
        return version("holdall")
    except PackageNotFoundError:
        return "not installed"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--url", envvar="HOLDALL_URL", help="The server; HOLDALL_URL.")
@click.option(
    "--key",
    envvar="HOLDALL_KEY",
    help="An API key; better HOLDALL_KEY, since others may see what a command is called with.",
)
@click.version_option(_version(), prog_name="holdall")
@click.pass_context
def main(context: click.Context, url: str | None, key: str | None) -> None:
    """Put files on a Holdall server, and get them back.

    Ends with 0 when all was done, 1 when something failed, 2 when the command is not written
    right, 3 without the right key, 4 when there is no such file, 5 when the server is not reached.
    """
    kept = Profile() if url and key is not None else profile.load()
    # The key that was kept is for the server it was kept with.
    same = url is None or url.rstrip("/") == kept.url
    context.obj = Profile(url or kept.url, key if key is not None else kept.key if same else "")


@main.command()
@click.argument("url")
@click.option("--key-file", type=click.File(), help="Where the key stands; - is standard input.")
def login(url: str, key_file: Any) -> None:
    """Keep the URL of a server and an API key for it."""
    url = url.rstrip("/")
    with Server(Profile(url)) as server:
        health = server.json("GET", "/api/health")
        if not isinstance(health, dict) or health.get("status") != "healthy":
            raise Unreachable(f"{url} does not answer as a Holdall does")
        is_open = server.attempt("GET", "/api/usage").is_success
    key = ""
    if key_file is not None:
        key = key_file.read().strip()
    elif not is_open:
        key = click.prompt("API key", hide_input=True, err=True).strip()
    if not key and not is_open:
        raise NotAllowed("This server asks for an API key")
    with Server(Profile(url, key)) as server:
        server.request("GET", "/api/usage")
    path = profile.save(Profile(url, key))
    click.echo(f"Kept in {path}", err=True)


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(allow_dash=True))
@click.option("--collection", help="Where they go; the key's collection, or `default`.")
@click.option("--name", help="What a single file is called; standard input needs one.")
@click.option("--meta", multiple=True, metavar="KEY=TEXT", help="Kept with each; repeatable.")
@PARALLEL
@JSON
@click.pass_obj
def put(
    kept: Profile,
    files: tuple[str, ...],
    collection: str | None,
    name: str | None,
    meta: tuple[str, ...],
    parallel: int,
    as_json: bool,
) -> None:
    """Upload FILES, folders with all that is in them, or standard input (-).

    The same command again goes on with large files that did not arrive whole. Prints a link a line.
    """
    outgoing = list(_outgoing(files, collection, name, _metadata(meta)))
    made: list[dict[str, Any]] = []
    failed: list[tuple[str, ClientError]] = []
    total = sum(each.path.stat().st_size for each in outgoing)
    with (
        Server(kept, connections=parallel) as server,
        showing.bars(total=total, several=len(outgoing) > 1, quiet=as_json) as bars,
    ):
        if "-" in files:
            made.append(_put_stdin(server, name, collection, bars))
        with ThreadPoolExecutor(parallel) as threads:
            sending = {threads.submit(_put_one, server, each, bars): each for each in outgoing}
            try:
                for done in as_completed(sending):
                    _sort_out(done, str(sending[done].path), made, failed)
                    if not as_json and made and done.exception() is None:
                        showing.show_line(server.absolute(made[-1]["url"]))
            except BaseException:
                threads.shutdown(cancel_futures=True)
                raise
        if "-" in files and not as_json:
            showing.show_line(server.absolute(made[0]["url"]))
    _conclude(made, failed, as_json=as_json)


def _put_one(server: Server, outgoing: Outgoing, bars: showing.Bars) -> dict[str, Any]:
    task = bars.begin(outgoing.filename, outgoing.path.stat().st_size)
    try:
        return uploading.send(server, outgoing, lambda done: bars.move(task, done))
    finally:
        bars.end(task)


def _put_stdin(
    server: Server, name: str | None, collection: str | None, bars: showing.Bars
) -> dict[str, Any]:
    assert name is not None
    task = bars.begin(name, None)
    source = sys.stdin.buffer
    return uploading.send_stream(
        server, source, name, collection, lambda done: bars.move(task, done)
    )


def _outgoing(
    files: Sequence[str], collection: str | None, name: str | None, metadata: dict[str, str]
) -> Iterator[Outgoing]:
    """Yield what to send. Raises UsageError for what cannot be."""
    if "-" in files and name is None:
        raise click.UsageError("standard input needs --name")
    if name is not None and (len(files) > 1 or Path(files[0]).is_dir()):
        raise click.UsageError("--name is for a single file")
    if metadata and "-" in files:
        raise click.UsageError("--meta is for files, not for standard input")
    for file in files:
        if file == "-":
            continue
        path = Path(file)
        if path.is_dir():
            for each in sorted(path.rglob("*")):
                if each.is_file():
                    yield Outgoing(each, each.name, collection, metadata)
        elif path.is_file():
            yield Outgoing(path, name or path.name, collection, metadata)
        else:
            raise click.UsageError(f"{file} is no file")


def _metadata(pairs: Sequence[str]) -> dict[str, str]:
    split = [pair.partition("=") for pair in pairs]
    if not all(key and sign and " " not in key and "," not in key for key, sign, _ in split):
        raise click.UsageError("--meta is KEY=TEXT, the key without blanks and commas")
    return {key: text for key, _, text in split}


@main.command()
@click.argument("files", nargs=-1, required=True)
@click.option("-o", "--output", help="The file to write; - is standard output. For a single one.")
@click.option(
    "-d",
    "--directory",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    default=Path(),
    help="The folder to write into.",
)
@click.option("--force", is_flag=True, help="Replace files that are there already.")
@PARALLEL
@JSON
@click.pass_obj
def get(
    kept: Profile,
    files: tuple[str, ...],
    output: str | None,
    directory: Path,
    force: bool,
    parallel: int,
    as_json: bool,
) -> None:
    """Download FILES: ids or links. A download that broke off goes on. Prints a path a line."""
    if output is not None and len(files) > 1:
        raise click.UsageError("--output is for a single file")
    got: list[dict[str, Any]] = []
    failed: list[tuple[str, ClientError]] = []
    with (
        Server(kept, connections=parallel) as server,
        showing.bars(several=len(files) > 1, quiet=as_json) as bars,
    ):
        if output == "-":
            task = bars.begin(files[0], None)
            downloading.fetch_into(
                server, files[0], sys.stdout.buffer, lambda *done: bars.move(task, *done)
            )
            return

        def one(named: str) -> dict[str, Any]:
            task = bars.begin(named, None)
            try:
                path = downloading.fetch(
                    server,
                    named,
                    lambda name: directory / name if output is None else Path(output),
                    lambda *done: bars.move(task, *done),
                    force=force,
                )
            finally:
                bars.end(task)
            return {"file": named, "path": os.fspath(path)}

        with ThreadPoolExecutor(parallel) as threads:
            fetching = {threads.submit(one, named): named for named in dict.fromkeys(files)}
            for done in as_completed(fetching):
                _sort_out(done, fetching[done], got, failed)
                if not as_json and done.exception() is None:
                    click.echo(got[-1]["path"])
    _conclude(got, failed, as_json=as_json)


@main.command("ls")
@click.option("-q", "--search", help="Part of the name.")
@click.option("--type", "content_type", help="A type: image/png, or image/*.")
@click.option("--collection", help="Only this collection's.")
@click.option(
    "--sort", default="-created", show_default=True, help="created, name, size, or -size …"
)
@click.option("-n", "--limit", type=click.IntRange(1), default=50, show_default=True)
@click.option("--all", "everything", is_flag=True, help="All, whatever the limit.")
@JSON
@click.pass_obj
def list_files(
    kept: Profile,
    search: str | None,
    content_type: str | None,
    collection: str | None,
    sort: str,
    limit: int,
    everything: bool,
    as_json: bool,
) -> None:
    """List files: a table on a terminal, else a line each: id, size, created, type, name."""
    asked = {"q": search, "type": content_type, "collection": collection, "sort": sort}
    params = {name: text for name, text in asked.items() if text is not None}
    items: list[dict[str, Any]] = []
    with Server(kept) as server:
        cursor: dict[str, str] = {}
        while True:
            wanted = 1000 if everything else min(limit - len(items), 1000)
            page = server.json("GET", "/api/files", params=params | cursor | {"limit": str(wanted)})
            items += page["items"]
            if page["next_cursor"] is None or (not everything and len(items) >= limit):
                break
            cursor = {"cursor": page["next_cursor"]}
    if as_json:
        showing.show_json({"items": items, "total": page["total"]})
        return
    showing.show_files(items)
    if page["next_cursor"] is not None:
        more = "" if page["total_exact"] else "at least "
        click.echo(f"{len(items)} of {more}{page['total']:,}: --all shows the rest", err=True)


@main.command()
@click.argument("files", nargs=-1, required=True)
@click.option("--trash", is_flag=True, help="Into the trash, from where they can be restored.")
@JSON
@click.pass_obj
def rm(kept: Profile, files: tuple[str, ...], trash: bool, as_json: bool) -> None:
    """Delete FILES: ids or links."""
    ids = list(dict.fromkeys(downloading.id_of(each) for each in files))
    path = "/api/files/trash" if trash else "/api/files/delete"
    items: list[dict[str, Any]] = []
    with Server(kept) as server:
        for start in range(0, len(ids), 1000):
            answer = server.json("POST", path, json={"ids": ids[start : start + 1000]})
            items += answer["items"]
    missing = [item["id"] for item in items if item["status"] == "not_found"]
    if as_json:
        showing.show_json({"items": items, "total": len(items) - len(missing)})
    for each in missing:
        showing.complain(each, "there is no such file")
    if missing:
        sys.exit(NotFound.exit_code)


@main.command()
@click.argument("file")
@click.option("--expires-in", default="1h", show_default=True, help="30s, 10m, 1h, 7d …")
@click.option("--download", is_flag=True, help="Browsers save it and do not show it.")
@JSON
@click.pass_obj
def link(kept: Profile, file: str, expires_in: str, download: bool, as_json: bool) -> None:
    """Print a signed link to FILE, which works without a key until it expires."""
    wanted = {
        "expires_in": _seconds(expires_in),
        "disposition": "attachment" if download else "inline",
    }
    with Server(kept) as server:
        made = server.json("POST", f"/api/files/{downloading.id_of(file)}/link", json=wanted)
        made["url"] = server.absolute(made["url"])
    if as_json:
        showing.show_json(made)
    else:
        showing.show_line(made["url"])


def _seconds(text: str) -> int:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
    number, unit = (text[:-1], text[-1]) if text and text[-1] in units else (text, "s")
    if not number.isdecimal() or not number.isascii():
        raise click.UsageError(f"{text!r} is no time: 30s, 10m, 1h, 7d or 2w")
    return int(number) * units[unit]


def _sort_out(
    done: Any, name: str, made: list[dict[str, Any]], failed: list[tuple[str, ClientError]]
) -> None:
    """Put what came of one of several where it belongs. Raises what is no ClientError."""
    try:
        made.append(done.result())
    except ClientError as error:
        failed.append((name, error))
        showing.complain(name, error.message)


def _conclude(
    made: Sequence[dict[str, Any]], failed: Sequence[tuple[str, ClientError]], *, as_json: bool
) -> None:
    """End the command: with the reason's own status, where all that failed has the same."""
    if as_json:
        problems = [{"file": name, "error": error.message} for name, error in failed]
        showing.show_json({"items": list(made), "total": len(made), "failed": problems})
    if failed:
        codes = {error.exit_code for _, error in failed}
        sys.exit(codes.pop() if len(codes) == 1 else FAILED)
