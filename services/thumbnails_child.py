"""A process that reads images for its parent, one job at a time, until the parent is gone.

It is started by `services.thumbnails_pool` with the number of its end of a socket, the bytes of
memory that it may have, and nothing of the parent's environment. A job is a line of JSON with an
open file beside it; the answer is the length of a line of JSON, the line, and the thumbnail's
bytes. It writes no file and opens no other.
"""

import json
import os
import resource
import socket
import struct
import sys
from typing import Any, BinaryIO, Final

HEADER: Final = struct.Struct("!II")
"""Before each answer: the length of its JSON, and of the bytes behind that."""
LONGEST_JOB: Final = 4096
READY: Final = b"\x01"

UNREADABLE: Final = "The image cannot be read: its bytes are damaged, cut short, or of another type"
TOO_MUCH: Final = "The image takes more memory than thumbnails may"


def main() -> None:
    """Answer jobs."""
    parent = socket.socket(fileno=int(sys.argv[1]))
    _bound(memory=int(sys.argv[2]))
    # Only now: what is loaded from here on is bounded.
    from services import imaging

    imaging.prepare()
    parent.sendall(READY)
    while True:
        message, files, _, _ = socket.recv_fds(parent, LONGEST_JOB, 1)
        if not message or not files:
            return
        with os.fdopen(files[0], "rb") as source:
            answer, made = _answered(json.loads(message), source)
        told = json.dumps(answer).encode()
        parent.sendall(HEADER.pack(len(told), len(made)) + told)
        parent.sendall(made)


def _bound(*, memory: int) -> None:
    """Give up what a job has no need of. Some systems know no such bounds."""
    for kind, limit in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        try:
            resource.setrlimit(kind, (limit, limit))
        except (OSError, ValueError):
            continue


def _answered(job: dict[str, Any], source: BinaryIO) -> tuple[dict[str, Any], bytes]:
    """Do a job; what it is refused for is a sentence for the client."""
    from services.imaging import Refused

    _end_by_itself_after(job["seconds"])
    try:
        source.seek(0)
        return _done(job, source)
    except Refused as error:
        return {"refused": str(error)}, b""
    except MemoryError:
        return {"refused": TOO_MUCH}, b""
    except Exception as error:
        # Decoders raise whatever comes to them, for bytes that are not as they should be.
        return {"refused": UNREADABLE, "reason": f"{type(error).__name__}: {error}"[:200]}, b""


def _done(job: dict[str, Any], source: BinaryIO) -> tuple[dict[str, Any], bytes]:
    from services import imaging

    content_type, most = job["content_type"], job["max_pixels"]
    if job["box"] is None:
        shape, made = imaging.measure(source, content_type, max_pixels=most), b""
    else:
        box = imaging.Box(**job["box"])
        shape, made = imaging.make(source, content_type, box, max_pixels=most)
    measured = {"width": shape.width, "height": shape.height, "orientation": shape.orientation}
    return {"media": measured}, made


def _end_by_itself_after(seconds: float) -> None:
    """Have the system end a job that goes on after whoever waited for it is dead."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime + seconds) + 2
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (most, hard))


if __name__ == "__main__":
    main()
