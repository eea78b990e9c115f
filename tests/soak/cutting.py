"""An instance that does what it is asked and dies before it answers, as nginx sees it."""

import socket

from tests.support.relay import Listener

_HEAD_ENDS = b"\r\n\r\n"


class Mute(Listener):
    """A port that passes each request on to a real instance, and closes when the answer comes."""

    def __init__(self, behind: int) -> None:
        self.behind = behind
        self.asked = 0
        super().__init__(self._pass_on)

    def _pass_on(self, connection: socket.socket) -> None:
        request = b""
        while not _is_whole(request):
            if not (piece := connection.recv(65_536)):
                return
            request += piece
        self.asked += 1
        with socket.create_connection(("127.0.0.1", self.behind), timeout=30) as instance:
            instance.sendall(request)
            instance.recv(1)


def _is_whole(request: bytes) -> bool:
    head, found, body = request.partition(_HEAD_ENDS)
    if not found:
        return False
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    return len(body) >= int(fields.get(b"content-length", 0))
