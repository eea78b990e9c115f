"""One upload by tuspy: `tuspy_upload.py JSON`. The last line it prints is the upload's URL.

{endpoint, path, storage, stop_at, uploader}: the service, the file, where to keep URLs, the byte at
which to stop, and whatever arguments of tuspy's Uploader there are.

A process of its own, since tuspy leaves files open and resuming is for processes that ended.
"""

import json
import sys

from tusclient.client import TusClient
from tusclient.storage.filestorage import FileStorage


def main() -> None:
    wanted = json.loads(sys.argv[1])
    client = TusClient(wanted["endpoint"])
    arguments = wanted.get("uploader", {})
    if "storage" in wanted:
        storage = FileStorage(wanted["storage"])  # type: ignore[no-untyped-call]
        arguments |= {"store_url": True, "url_storage": storage}
    uploader = client.uploader(wanted["path"], retry_delay=0.1, upload_checksum=True, **arguments)
    begun_at = uploader.offset
    uploader.upload(stop_at=wanted.get("stop_at"))
    print(json.dumps({"url": uploader.url, "begun_at": begun_at, "offset": uploader.offset}))


if __name__ == "__main__":
    main()
