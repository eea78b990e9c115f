"""Read a request's body as it comes from the socket, and notice when it does not come whole.

gunicorn sets `wsgi.input_terminated` and answers a read after the client hung up with an end of
file, so a body that was cut short looks finished; here the count of bytes is held against
Content-Length, and any failed read ends the upload. Where the bytes of a body of known length
can be taken from gunicorn's socket straight into a buffer of ours, they are: that saves two
copies of each byte.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from flask import Flask, Request, Response, request
from gunicorn.http.body import ChunkedReader, LengthReader
from gunicorn.http.errors import ChunkMissingTerminator, NoMoreData, ParseException

from services.digests import RunningDigests
from services.errors import (
    LengthRequired,
    MalformedBody,
    StalledBody,
    Stopping,
    TruncatedBody,
    UnsupportedBody,
)
from views.receiving import FIRST, Piece, Receiver, WholePieces, is_plain, whole_pieces
from views.waiting import patient

FROM_STREAM: Final = 256 * 1024

GIVES_WAY: Final = 0.5
"""How much of a stopping worker's time a body may take that can be gone on with later."""

GIVEN_UP: Final = 0.8
"""The same for one that cannot; the rest is for removing what came, and for the answer."""

_READING: Final = "holdall.reading"


class RequestBody:
    """The body of one request, read once.

    `length` is its declared size in bytes, None when it comes in chunks. `timeout` is how many
    seconds may pass without a byte. A request that tells no length has no body (RFC 9112 §6.3),
    which is an error unless it `may_be_absent`.
    """

    def __init__(self, asked: Request, *, timeout: float, may_be_absent: bool = False) -> None:
        self._environ = asked.environ
        self.length = _declared_length(asked, may_be_absent)
        socket = self._environ.get("gunicorn.socket")
        self._timeout = timeout
        self._ending: Callable[[], float] = self._environ.get("holdall.ending", float)
        if socket is not None:
            socket.settimeout(timeout)

    def chunks(
        self, idle: Callable[[], None] | None = None, digests: RunningDigests | None = None
    ) -> Iterator[Piece]:
        """Yield the body in pieces, which `digests` are fed along the way.

        Each stays as it is until `services.digests.BEHIND` more were asked for.

        `idle` is called now and then, also while nothing comes; what it raises ends the body.
        Raises TruncatedBody, MalformedBody, StalledBody, and Stopping: earlier with `idle`, since
        what came is then kept.
        """
        pieces = self._followed(idle, digests)
        self._environ[_READING] = pieces
        return pieces

    def _followed(
        self, idle: Callable[[], None] | None, digests: RunningDigests | None
    ) -> Iterator[Piece]:
        for piece in self._waited_for(idle):
            if digests is not None:
                digests.update(piece)
            yield piece

    def _waited_for(self, idle: Callable[[], None] | None) -> Iterator[Piece]:
        socket = self._environ.get("gunicorn.socket")
        if idle is None or socket is None:
            yield from self._checked(self._pieces(socket))
            return
        look_up = partial(self._idle, idle)
        with patient(self._environ, socket, look_up, self._timeout) as waiting:
            yield from self._checked(self._pieces(waiting))

    def _idle(self, idle: Callable[[], None]) -> None:
        if self._ending() > GIVES_WAY:
            raise Stopping
        idle()

    def _checked(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        """Turn what can go wrong on the way into errors for the client."""
        try:
            for piece in pieces:
                if self._ending() > GIVEN_UP:
                    raise Stopping
                yield piece
        except TimeoutError as error:
            raise StalledBody("The body did not arrive in time") from error
        except (NoMoreData, ConnectionError) as error:
            raise TruncatedBody("The connection ended before the body did") from error
        except ParseException as error:
            if isinstance(error, ChunkMissingTerminator) and not error.term:
                raise TruncatedBody("The body ended before its last chunk") from error
            raise MalformedBody("The chunks of the body are malformed") from error

    def _pieces(self, source: Any) -> Iterator[Piece]:
        if self.length is None:
            yield from _from_chunks(self._environ["wsgi.input"])
            return
        left = self.length
        for piece in self._known_length(source):
            left -= len(piece)
            yield piece
        if left:
            raise TruncatedBody(f"The body ended {left} bytes before its Content-Length")

    def _known_length(self, source: Any) -> Iterator[Piece]:
        """Read a body of known length; `source` is the client's socket, or stands before it."""
        stream = self._environ["wsgi.input"]
        reader = getattr(stream, "reader", None)
        if source is None or not isinstance(reader, LengthReader):
            yield from _from_stream(stream, self.length or 0)
            return
        if early := _early(reader):
            yield early
        connection = self._environ["gunicorn.socket"]
        if reader.length < FIRST or not is_plain(connection):
            with Receiver(source) as receive:
                yield from _received(reader, receive)
            return
        with whole_pieces(connection), WholePieces(source, self._timeout) as receive:
            yield from _received(reader, receive)


def register(app: Flask) -> None:
    """Have connections closed whose request was answered before its body was read."""
    app.after_request(_close_unless_read)


def _close_unless_read(response: Response) -> Response:
    close_unless_read(request.environ)
    return response


def close_unless_read(environ: dict[str, Any]) -> None:
    """Say `Connection: close`: where the next request would begin is not known.

    Who broke off reading may still hold on to the pieces; the socket is given back all the same.
    """
    if (reading := environ.pop(_READING, None)) is not None:
        reading.close()
    close = environ.get("holdall.close_connection")
    reader = getattr(environ["wsgi.input"], "reader", None)
    left = getattr(reader, "length", None) or getattr(reader, "parser", None)
    if left and close is not None:
        close()


def _declared_length(asked: Request, may_be_absent: bool) -> int | None:
    """Return the Content-Length, or None for a chunked body.

    Raises LengthRequired when there is neither, UnsupportedBody for a coded body (RFC 9110 §8.4).
    """
    if asked.headers.get("Content-Encoding", "identity").lower() not in ("", "identity"):
        raise UnsupportedBody("Content-Encoding is not supported: send the file as it is")
    coding = asked.headers.get("Transfer-Encoding", "").strip().lower()
    if coding == "chunked":
        return None
    if coding:
        raise UnsupportedBody("Transfer-Encoding is supported as chunked alone")
    length = asked.content_length
    if length is None and may_be_absent:
        return 0
    if length is None:
        raise LengthRequired("Send a Content-Length, or the body in chunks")
    return length


def _from_chunks(stream: Any) -> Iterator[bytes]:
    """Read a chunked body as it comes: gunicorn's own `read` waits until it has what is asked."""
    reader = getattr(stream, "reader", None)
    if not isinstance(reader, ChunkedReader):
        yield from iter(lambda: stream.read(FROM_STREAM), b"")
        return
    while first := reader.read(1):
        yield first + reader.read(reader.buf.tell())


def _from_stream(stream: Any, left: int) -> Iterator[bytes]:
    while left and (piece := stream.read(min(FROM_STREAM, left))):
        left -= len(piece)
        yield piece


def _early(reader: LengthReader) -> bytes:
    """Take what gunicorn has read of a body already; it keeps what belongs to the next request."""
    early: bytes = reader.unreader.take_buffered()
    body, next_request = early[: reader.length], early[reader.length :]
    reader.unreader.unread(next_request)
    reader.length -= len(body)
    return body


def _received(reader: LengthReader, receive: Receiver) -> Iterator[Piece]:
    """Read the rest of a body past gunicorn's reader, whose own count is kept right."""
    while reader.length and (piece := receive(reader.length)):
        reader.length -= len(piece)
        yield piece
