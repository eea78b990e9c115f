"""The cases: what is measured, under which name, in which unit, and who is held against whom."""

from collections.abc import Callable
from dataclasses import dataclass

from bench import large, loaded, small
from bench.samples import Fixture, Sample
from bench.subjects import Subject

MIB_A_SECOND = "MiB/s"
REQUESTS_A_SECOND = "req/s"
SHARE = "of the unloaded rate"


@dataclass(frozen=True, slots=True)
class Case:
    """`turn` does the case once; `unit` is that of its figure, and more is better.

    Every figure is told as a ratio to that of `reference`. Cases that are held against each other
    share a `group`: a server does them one after the other. `rounds` is how often it is done at
    most. `reads` tells which stored files it needs, of `big` and `small`; `receives`, whether the
    server is sent what it keeps; one that stands `aside` is no part of an overview.
    """

    name: str
    title: str
    unit: str
    turn: Callable[[Subject, Fixture], Sample]
    reference: str = "nginx"
    group: str = ""
    rounds: int | None = None
    reads: tuple[str, ...] = ()
    receives: bool = False
    aside: bool = False


BIG, SMALL = ("big",), ("small",)
CASES = [
    Case("small-get", "4 KiB GET", REQUESTS_A_SECOND, small.get_one, reads=SMALL),
    Case("spread-get", "4 KiB GETs of 64 files", REQUESTS_A_SECOND, small.get_many, reads=SMALL),
    Case("not-modified", "304", REQUESTS_A_SECOND, small.not_modified, reads=SMALL),
    Case("get", "{size} GET", MIB_A_SECOND, large.get, reads=BIG),
    Case("ranges", "1 MiB ranges, anywhere", REQUESTS_A_SECOND, large.ranges, reads=BIG),
    Case(
        "ranges-start",
        f"1 MiB ranges, first {large.EDGE} MiB",
        REQUESTS_A_SECOND,
        large.ranges_at_start,
        group="edges",
        reads=BIG,
        aside=True,
    ),
    Case(
        "ranges-end",
        f"1 MiB ranges, last {large.EDGE} MiB",
        REQUESTS_A_SECOND,
        large.ranges_at_end,
        group="edges",
        reads=BIG,
        aside=True,
    ),
    Case("small-upload", "4 KiB upload", REQUESTS_A_SECOND, small.upload, receives=True),
    Case("put", "{size} raw PUT", MIB_A_SECOND, large.put, receives=True),
    Case("post", "{size} multipart POST", MIB_A_SECOND, large.post, receives=True),
    Case(
        "tus-put",
        "{size} raw PUT by the tus client",
        MIB_A_SECOND,
        large.tus_put,
        receives=True,
        reference="tus-server",
        group="tus",
        rounds=2,
        aside=True,
    ),
    Case(
        "tus",
        "{size} tus, 64 MiB patches",
        MIB_A_SECOND,
        large.tus,
        receives=True,
        reference="tus-server",
        group="tus",
        rounds=2,
    ),
    Case(
        "tus-many",
        f"{large.MANY} tus uploads of 10 MiB at once",
        MIB_A_SECOND,
        large.tus_many,
        receives=True,
        reference="tus-server",
        rounds=2,
    ),
    Case(
        "tus-sparse",
        "5 GiB of zeros by tus to S3",
        MIB_A_SECOND,
        large.tus_sparse,
        receives=True,
        reference="boto3",
        rounds=1,
        aside=True,
    ),
    Case("s3-put", "{size} to S3", MIB_A_SECOND, large.put, receives=True, reference="boto3"),
    Case("s3-get", "{size} from S3", MIB_A_SECOND, large.get, reference="boto3", reads=BIG),
    Case(
        "s3-small-upload",
        "4 KiB to S3",
        REQUESTS_A_SECOND,
        small.upload,
        receives=True,
        reference="boto3",
    ),
    Case(
        "s3-small-get",
        "4 KiB GETs of 64 files from S3",
        REQUESTS_A_SECOND,
        small.get_many,
        reference="boto3",
        reads=SMALL,
    ),
    Case(
        "loaded-get",
        "4 KiB GETs with 1,000 slow clients",
        SHARE,
        loaded.get,
        reads=("big", "small"),
        rounds=2,
    ),
    Case(
        "loaded-upload",
        "4 KiB uploads with 1,000 slow clients",
        SHARE,
        loaded.upload,
        reads=("big", "small"),
        rounds=2,
    ),
]
