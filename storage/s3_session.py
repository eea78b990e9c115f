"""Sessions of the SDK that share its description of S3: reading that takes a tenth of a second of
a processor, and each session would read it for itself.
"""

from functools import cache

import boto3.session
import botocore.loaders
import botocore.session


def new_session(
    access_key_id: str | None = None, secret_access_key: str | None = None
) -> boto3.session.Session:
    """Return a session with these credentials, or with those that the SDK's own chain finds."""
    core = botocore.session.get_session()
    session = boto3.session.Session(access_key_id, secret_access_key, botocore_session=core)
    # Afterwards: a session adds a folder to the paths of the loader that it finds.
    core.register_component("data_loader", _loader())
    return session


@cache
def _loader() -> botocore.loaders.Loader:
    return botocore.loaders.create_loader()
