"""An HTTP proxy in front of a real server that injects, on request, what a real one rarely does.

    with FaultProxy(server.port) as proxy:
        proxy.inject(Status(503), method="PUT", skip=1)     # the second PUT
        proxy.inject(LostAnswer(), target="uploadId=")      # done, but nobody hears of it
        proxy.stop()                                        # connections are refused

It speaks plain HTTP/1.1 and knows nothing of S3 beyond the shape of its error document. A rule
holds for `times` matching requests after the first `skip`; the earliest fitting rule wins, and a
request that no rule fits is passed on unchanged. `requests` lists all that arrived.
"""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

from tests.support.relay import Listener

_PIECE = 64 * 1024


class Request(NamedTuple):
    """What a request's first line said."""

    method: str
    target: str


@dataclass(frozen=True, slots=True)
class Status:
    """Answer with an error status and never pass the request on."""

    status: int
    code: str = "InternalError"


@dataclass(frozen=True, slots=True)
class ErrorIn200:
    """Answer 200 with an error document; `act` passes the request on before."""

    code: str = "InternalError"
    act: bool = False


@dataclass(frozen=True, slots=True)
class Hang:
    """Take the request and say nothing until the client gives up or `release` is called."""


@dataclass(frozen=True, slots=True)
class LostAnswer:
    """Pass the request on, and break the connection instead of passing the answer back."""


@dataclass(frozen=True, slots=True)
class CutBody:
    """Break the connection after `after` bytes of the answer's body."""

    after: int


@dataclass(frozen=True, slots=True)
class CutRequest:
    """Reset the connection once `after` bytes of the request's body came; none is passed on."""

    after: int


@dataclass(frozen=True, slots=True)
class Slow:
    """Pass everything on, and wait so many `seconds` before the answer."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Pass the answer back with its body changed by `change`."""

    change: Callable[[bytes], bytes]


Fault = Status | ErrorIn200 | Hang | LostAnswer | CutBody | CutRequest | Slow | Rewrite


@dataclass(slots=True)
class _Rule:
    fault: Fault
    method: str
    target: str
    skip: int
    times: int

    def takes(self, request: Request) -> bool:
        """Say whether the rule applies, and count the request when it matches."""
        if self.method not in ("", request.method) or self.target not in request.target:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return self.times >= 0


@dataclass(slots=True)
class _Message:
    """The head of a request or an answer, and how its body ends."""

    lines: list[bytes]
    has_body: bool = True
    headers: dict[bytes, bytes] = field(init=False)

    def __post_init__(self) -> None:
        pairs = (line.partition(b":") for line in self.lines[1:])
        self.headers = {name.strip().lower(): value.strip() for name, _, value in pairs}

    def head(self, *, without: frozenset[bytes] = frozenset(), extra: bytes = b"") -> bytes:
        kept = [
            line for line in self.lines if line.partition(b":")[0].strip().lower() not in without
        ]
        return b"\r\n".join([*kept, *([extra] if extra else []), b"", b""])

    def body(self, stream: BinaryIO) -> Iterator[bytes]:
        """Yield the raw body, chunk framing included, in pieces."""
        if not self.has_body:
            return
        if self.headers.get(b"transfer-encoding", b"").lower() == b"chunked":
            yield from _raw_chunks(stream)
            return
        left = int(self.headers.get(b"content-length", b"0"))
        while left:
            piece = stream.read(min(left, _PIECE))
            if not piece:
                raise ConnectionResetError("the body ended early")
            left -= len(piece)
            yield piece


class FaultProxy:
    """The proxy; `port` and `endpoint` are where clients connect."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._lock = threading.Lock()
        self._rules: list[_Rule] = []
        self._released = threading.Event()
        self.requests: list[Request] = []
        self._listener = Listener(self._serve)

    @property
    def port(self) -> int:
        return self._listener.port

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def inject(
        self,
        fault: Fault,
        *,
        method: str = "",
        target: str = "",
        skip: int = 0,
        times: int = 1,
    ) -> None:
        """Add a rule for requests of `method` whose target contains `target`."""
        with self._lock:
            self._rules.append(_Rule(fault, method, target, skip, times))

    def release(self) -> None:
        """Forget every rule, and end the connections that hang."""
        with self._lock:
            self._rules.clear()
        self._released.set()
        self._released = threading.Event()

    def stop(self) -> None:
        """Refuse connections from now on, and break the open ones."""
        self.release()
        self._listener.stop()

    def start(self) -> None:
        """Accept connections again, on the same port."""
        self._listener.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _serve(self, client: socket.socket) -> None:
        client.settimeout(60)
        with (
            socket.create_connection(("127.0.0.1", self._target_port), timeout=60) as upstream,
            client.makefile("rb") as from_client,
            upstream.makefile("rb") as from_upstream,
        ):
            upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            exchange = _Exchange(client, from_client, upstream, from_upstream)
            while (message := _read_message(from_client)) is not None:
                if not self._answer(exchange, message):
                    return

    def _answer(self, exchange: "_Exchange", message: _Message) -> bool:
        """Deal with one request and say whether the connection goes on."""
        method, target = message.lines[0].decode("latin-1").split(" ")[:2]
        request = Request(method, target)
        match self._fault_for(request):
            case None:
                exchange.pass_on(message)
                return exchange.pass_back(request)
            case Status(status, code):
                exchange.drain(message)
                return exchange.reply(status, code, request)
            case ErrorIn200(code, act):
                if act:
                    exchange.pass_on(message)
                    exchange.take_answer(request)
                else:
                    exchange.drain(message)
                return exchange.reply(200, code, request)
            case Hang():
                self._released.wait(60)
                return False
            case LostAnswer():
                exchange.pass_on(message)
                exchange.take_answer(request)
                return False
            case CutBody(after):
                exchange.pass_on(message)
                return exchange.pass_back(request, at_most=after)
            case CutRequest(after):
                exchange.take_and_reset(message, after)
                return False
            case Slow(seconds):
                exchange.pass_on(message)
                self._released.wait(seconds)
                return exchange.pass_back(request)
            case Rewrite(change):
                exchange.pass_on(message)
                return exchange.pass_back_changed(request, change)

    def _fault_for(self, request: Request) -> Fault | None:
        with self._lock:
            self.requests.append(request)
            return next((rule.fault for rule in self._rules if rule.takes(request)), None)


@dataclass(frozen=True, slots=True)
class _Exchange:
    """One client connection and the upstream connection that stands behind it."""

    client: socket.socket
    from_client: BinaryIO
    upstream: socket.socket
    from_upstream: BinaryIO

    def pass_on(self, message: _Message) -> None:
        """Send a request upstream; the proxy itself says 100 Continue when that is asked for."""
        self.upstream.sendall(message.head(without=frozenset({b"expect"})))
        for piece in self._incoming(message):
            self.upstream.sendall(piece)

    def drain(self, message: _Message) -> None:
        for _ in self._incoming(message):
            pass

    def take_and_reset(self, message: _Message, after: int) -> None:
        """Take some of a request's body, and end the connection by a reset."""
        taken = 0
        for piece in self._incoming(message):
            taken += len(piece)
            if taken >= after:
                break
        # No time to linger: closing then resets (RFC 9293 §3.6).
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _incoming(self, message: _Message) -> Iterator[bytes]:
        if message.headers.get(b"expect", b"").lower() == b"100-continue":
            self.client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        return message.body(self.from_client)

    def reply(self, status: int, code: str, request: Request) -> bool:
        document = (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code>'
            "<Message>injected</Message></Error>"
        ).encode()
        head = (
            f"HTTP/1.1 {status} Injected\r\nContent-Type: application/xml\r\n"
            f"Content-Length: {len(document)}\r\n\r\n"
        ).encode()
        self.client.sendall(head + (b"" if request.method == "HEAD" else document))
        return True

    def pass_back(self, request: Request, *, at_most: int | None = None) -> bool:
        answer = self._answer_head(request)
        self.client.sendall(answer.head())
        left = at_most
        for piece in answer.body(self.from_upstream):
            if left is not None:
                if len(piece) >= left:
                    self.client.sendall(piece[:left])
                    return False
                left -= len(piece)
            self.client.sendall(piece)
        return True

    def pass_back_changed(self, request: Request, change: Callable[[bytes], bytes]) -> bool:
        answer = self._answer_head(request)
        body = change(b"".join(answer.body(self.from_upstream)))
        length = b"Content-Length: %d" % len(body)
        self.client.sendall(answer.head(without=frozenset({b"content-length"}), extra=length))
        self.client.sendall(body)
        return True

    def take_answer(self, request: Request) -> None:
        for _ in self._answer_head(request).body(self.from_upstream):
            pass

    def _answer_head(self, request: Request) -> _Message:
        answer = _read_message(self.from_upstream)
        if answer is None:
            raise ConnectionResetError("the server behind the proxy closed the connection")
        status = int(answer.lines[0].split()[1])
        answer.has_body = request.method != "HEAD" and status not in (204, 304)
        return answer


def _read_message(stream: BinaryIO) -> _Message | None:
    """Read a head up to its empty line; None at the end of the stream."""
    lines: list[bytes] = []
    while line := stream.readline(65_536):
        if line == b"\r\n":
            return _Message(lines)
        lines.append(line.rstrip(b"\r\n"))
    return None


def _raw_chunks(stream: BinaryIO) -> Iterator[bytes]:
    """Yield a chunked body as it stands on the wire (RFC 9112 §7.1), its trailers included."""
    while line := stream.readline(65_536):
        yield line
        size = int(line.split(b";")[0], 16)
        if size == 0:
            break
        yield stream.read(size + 2)
    while line := stream.readline(65_536):
        yield line
        if line == b"\r\n":
            return
