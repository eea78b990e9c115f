"""Who is measured in which case, by name. It starts nothing.

A subject is a column of its own; an opponent may bring several, by the doors that it has.
"""

from collections.abc import Sequence
from typing import Final

OPPONENTS: Final = (
    "nginx",
    "seaweedfs",
    "rclone",
    "copyparty",
    "tus-server",
    "starlette",
    "naive",
    "boto3",
)
_SMALL: Final = ("small-get", "spread-get", "not-modified", "small-upload")
_LARGE: Final = ("get", "ranges", "put")
_EDGES: Final = ("ranges-start", "ranges-end")
_LOADED: Final = ("loaded-get", "loaded-upload")
_TUS: Final = ("tus-put", "tus", "tus-many")
_S3: Final = ("s3-put", "s3-get", "s3-small-upload", "s3-small-get")

PARTS: Final = {
    "holdall": (*_SMALL, *_LARGE, "post", *_EDGES, *_TUS, *_LOADED),
    "holdall-fsync": ("put", "post", "small-upload", *_TUS),
    "holdall-s3": ("tus-sparse", *_S3),
    "nginx": (*_SMALL, *_LARGE, "post", *_LOADED),
    "seaweedfs": (*_SMALL, *_LARGE, "post"),
    "seaweedfs-s3": (*_SMALL, *_LARGE),
    "rclone-http": ("small-get", "spread-get", "not-modified", "get", "ranges"),
    "rclone-webdav": (*_SMALL, *_LARGE),
    "rclone-s3": (*_SMALL, *_LARGE),
    "copyparty": (*_SMALL, *_LARGE, "post", *_LOADED),
    "tus-server": ("small-upload", "get", "tus", "tus-many"),
    "starlette": ("small-get", "spread-get", "small-upload", *_LARGE, "post", *_LOADED),
    "naive": (*_SMALL, "get", "ranges", "post"),
    "naive-raw": ("put",),
    "naive-2x8": _LOADED,
    "boto3": _S3,
}
"""The cases that each subject takes part in."""
BRINGS: Final = {
    "seaweedfs": ("seaweedfs", "seaweedfs-s3"),
    "rclone": ("rclone-http", "rclone-webdav", "rclone-s3"),
    "naive": ("naive", "naive-raw", "naive-2x8"),
    "boto3": ("boto3", "holdall-s3"),
}
"""The subjects of an opponent that has another than the one of its own name."""
OURS: Final = ("holdall", "holdall-fsync")


def takes_part(subject: str, case: str) -> bool:
    """Say whether the subject is measured in the case."""
    return case in PARTS[subject]


def chosen_subjects(against: Sequence[str], cases: Sequence[str]) -> list[str]:
    """Return who takes part in any of `cases` against the named opponents, Holdall first."""
    brought = (name for opponent in OPPONENTS if opponent in against for name in _of(opponent))
    names = dict.fromkeys([*OURS, *brought])
    return [name for name in names if any(takes_part(name, case) for case in cases)]


def _of(opponent: str) -> tuple[str, ...]:
    return BRINGS.get(opponent, (opponent,))


def cases_against(against: Sequence[str]) -> list[str]:
    """Return the cases in which Holdall meets one of the opponents, or its own other figures."""
    met = {case for opponent in against for name in _of(opponent) for case in PARTS[name]}
    for alone, beside in ((_EDGES, "ranges"), (("tus-put",), "tus"), (("tus-sparse",), "s3-put")):
        met |= set(alone) if beside in met else set()
    return list(met)
