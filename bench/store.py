"""An S3 store that a server under test keeps its objects in, and what boto3 itself does there.

It knows the bucket by the store's own protocol, and not who else writes to it.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from bench.clients import ClientFailed

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = "bench"
REGION = "us-east-1"
CONNECTIONS = 32
READY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Store:
    """A running store and its keys."""

    endpoint: str
    access_key_id: str
    secret_access_key: str

    def settings(self) -> dict[str, str]:
        """Return the settings that make Holdall store here."""
        query = urlencode({"endpoint": self.endpoint})
        return {
            "STORAGE_BACKEND": "s3",
            "STORAGE_S3_URL": f"s3://{BUCKET}/holdall/?{query}",
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
        }

    @contextmanager
    def client(self) -> Iterator["S3Client"]:
        """Lend a client that several threads may use; raise ClientFailed for its errors."""
        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            config=Config(s3={"addressing_style": "path"}, max_pool_connections=CONNECTIONS),
        )
        try:
            yield client
        except (BotoCoreError, ClientError) as failure:
            raise ClientFailed(f"boto3: {failure}") from failure
        finally:
            client.close()

    def make_bucket(self) -> None:
        """Make the bucket and wait until it takes an object: the volumes come after the door."""
        deadline = time.monotonic() + READY_SECONDS
        with self.client() as client:
            while not _takes_an_object(client):
                if time.monotonic() > deadline:
                    raise ClientFailed("the S3 store takes no object")
                time.sleep(0.2)

    def parts(self, size: int) -> int:
        """Return how many parts the one object of `size` bytes was put together from.

        The entity tag of such an object ends in their number. Raises ClientFailed.
        """
        with self.client() as client:
            pages = client.get_paginator("list_objects_v2").paginate(
                Bucket=BUCKET, Prefix="holdall/"
            )
            found = [each for page in pages for each in page.get("Contents", [])]
        tags = [each["ETag"].strip('"') for each in found if each["Size"] == size]
        if len(tags) != 1 or "-" not in tags[0]:
            raise ClientFailed(f"no single object of {size} bytes in parts: {tags}")
        return int(tags[0].rpartition("-")[2])


def _takes_an_object(client: "S3Client") -> bool:
    try:
        with suppress(client.exceptions.BucketAlreadyOwnedByYou):
            client.create_bucket(Bucket=BUCKET)
        client.put_object(Bucket=BUCKET, Key="ready", Body=b"ready")
    except (BotoCoreError, ClientError):
        return False
    return True
