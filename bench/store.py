"""An S3 store that a server under test keeps its objects in, and a look at what it keeps.

It knows the bucket by the store's own protocol, and not who writes to it.
"""

from dataclasses import dataclass
from urllib.parse import urlencode

import boto3
from botocore.config import Config

from bench.clients import ClientFailed

BUCKET = "bench"
REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class Store:
    """A running store and its keys."""

    endpoint: str
    access_key_id: str
    secret_access_key: str

    def settings(self) -> dict[str, str]:
        """Return the settings that make Holdall store here."""
        query = urlencode({"endpoint": self.endpoint, "create_bucket": "true"})
        return {
            "STORAGE_BACKEND": "s3",
            "STORAGE_S3_URL": f"s3://{BUCKET}/?{query}",
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
        }

    def parts(self, size: int) -> int:
        """Return how many parts the one object of `size` bytes was put together from.

        The entity tag of such an object ends in their number. Raises ClientFailed.
        """
        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            config=Config(s3={"addressing_style": "path"}),
        )
        try:
            found = client.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        finally:
            client.close()
        tags = [each["ETag"].strip('"') for each in found if each["Size"] == size]
        if len(tags) != 1 or "-" not in tags[0]:
            raise ClientFailed(f"no single object of {size} bytes in parts: {tags}")
        return int(tags[0].rpartition("-")[2])
