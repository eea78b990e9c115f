"""A film for the tests: frames that a browser draws, put into WebM here.

A frame of VP8 is what a lossy WebP picture holds (RFC 9649 §2.5), so that no encoder is needed.
WebM is EBML (RFC 8794): elements of an id, a length and a content.
"""

import base64
import struct
from typing import Final

from playwright.sync_api import Page

WIDTH: Final = 640
HEIGHT: Final = 360
_DRAW: Final = """([width, height, count]) => {
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const context = canvas.getContext("2d");
    const noise = context.createImageData(width, height);
    return Array.from({ length: count }, (_, frame) => {
        for (let at = 0; at < noise.data.length; at += 4) {
            const grain = ((at * 2654435761) >>> (frame + 8)) & 63;
            noise.data.set([grain + frame * 20, 110 + grain, 160 - frame * 10, 255], at);
        }
        context.putImageData(noise, 0, 0);
        return canvas.toDataURL("image/webp", 0.9).split(",")[1];
    });
}"""


def film(page: Page, *, seconds: int) -> bytes:
    """Return a film of one frame a second, each of which can be sought."""
    drawn = page.evaluate(_DRAW, [WIDTH, HEIGHT, 6])
    frames = [_vp8_of(base64.b64decode(picture)) for picture in drawn]
    clusters = [_cluster(second, frames[second % len(frames)]) for second in range(seconds)]
    head = _info(seconds) + _tracks()
    first = len(head) + len(_cues([0] * seconds))
    places = [first + sum(map(len, clusters[:number])) for number in range(seconds)]
    segment = head + _cues(places) + b"".join(clusters)
    return _header() + _element(0x18538067, segment)


def _vp8_of(picture: bytes) -> bytes:
    """Return the frame in a WebP picture: the content of its chunk `VP8 `."""
    at = 12
    while at < len(picture):
        name, length = struct.unpack_from("<4sI", picture, at)
        if name == b"VP8 ":
            return picture[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
    raise ValueError("the browser wrote no lossy WebP")


def _header() -> bytes:
    return _element(0x1A45DFA3, _element(0x4282, b"webm") + _number(0x4287, 2) + _number(0x4285, 2))


def _info(seconds: int) -> bytes:
    names = _element(0x4D80, b"tests") + _element(0x5741, b"tests")
    length = _element(0x4489, struct.pack(">d", seconds * 1000))
    return _element(0x1549A966, _number(0x2AD7B1, 1_000_000) + length + names)


def _tracks() -> bytes:
    video = _element(0xE0, _number(0xB0, WIDTH) + _number(0xBA, HEIGHT))
    track = _number(0xD7, 1) + _number(0x73C5, 1) + _number(0x83, 1)
    return _element(0x1654AE6B, _element(0xAE, track + _element(0x86, b"V_VP8") + video))


def _cues(places: list[int]) -> bytes:
    points = (
        _element(
            0xBB,
            _number(0xB3, second * 1000) + _element(0xB7, _number(0xF7, 1) + _number(0xF1, place)),
        )
        for second, place in enumerate(places)
    )
    return _element(0x1C53BB6B, b"".join(points))


def _cluster(second: int, frame: bytes) -> bytes:
    block = _element(0xA3, b"\x81\x00\x00\x80" + frame)
    return _element(0x1F43B675, _number(0xE7, second * 1000) + block)


def _number(name: int, value: int) -> bytes:
    return _element(name, value.to_bytes(8, "big"))


def _element(name: int, content: bytes) -> bytes:
    identity = name.to_bytes((name.bit_length() + 7) // 8, "big")
    short = len(content) < 127
    length = bytes([0x80 | len(content)]) if short else (len(content) | 1 << 56).to_bytes(8, "big")
    return identity + length + content
