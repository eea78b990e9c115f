"""Turns of many small requests: GETs, answers without a body, uploads.

A rate is what came back right within the turn's seconds, over 16 connections.
"""

from collections.abc import Sequence

from bench.clients import Load, flush_disk
from bench.meter import metered
from bench.samples import Fixture, Sample
from bench.subjects import CONNECTIONS, Subject, get_request
from bench.wrk import fire


def get_one(subject: Subject, fixture: Fixture) -> Sample:
    """Ask for one small file over and over."""
    return _reads(subject, fixture, fixture.small[subject.name][:1])


def get_many(subject: Subject, fixture: Fixture) -> Sample:
    """Ask for all the small files in turn."""
    return _reads(subject, fixture, fixture.small[subject.name])


def _reads(subject: Subject, fixture: Fixture, paths: Sequence[str]) -> Sample:
    with metered(subject.server) as usage:
        rate = subject.read_rate(paths, fixture.seconds)
    return Sample(rate, max(1.0, rate * fixture.seconds), usage)


def not_modified(subject: Subject, fixture: Fixture) -> Sample:
    """Ask for one small file that the client has."""
    path = fixture.small[subject.name][0]
    load = Load([get_request(path, subject.conditional(path))], [304])
    with metered(subject.server) as usage:
        rate = fire(subject.server, load, CONNECTIONS, fixture.seconds)
    return Sample(rate, max(1.0, rate * fixture.seconds), usage)


def upload(subject: Subject, fixture: Fixture) -> Sample:
    """Upload a small body over and over, to a new file each time."""
    flush_disk()
    body = fixture.small_files[0].read_bytes()
    with metered(subject.server) as usage:
        rate = subject.upload_rate(body, fixture.seconds, fixture.numbers())
    return Sample(rate, max(1.0, rate * fixture.seconds), usage)
