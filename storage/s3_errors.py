"""What the error codes of S3 stores mean to us: one table, and one sentence for each.

Knows codes and statuses, not the SDK that delivers them. No sentence holds a secret, a signature
or a URL with a query: places are named by bucket and endpoint.
"""

from typing import Final

from storage.errors import (
    IntegrityError,
    ObjectNotFound,
    StorageError,
    StorageFull,
    StorageUnavailable,
)


class RangeBeyondEnd(StorageError):
    """A range begins at or after the object's end (RFC 9110 §15.5.17)."""


class ObjectChanged(StorageUnavailable):
    """Another object is there than the one that a condition names (RFC 9110 §15.5.13)."""


_CREDENTIALS: Final = "refuses the credentials ({code}): check the access key id and its secret"
_REGION: Final = "wants another region or endpoint ({code}): check both in the URL"
_CHANGED: Final = "received other bytes than were sent ({code})"
_FULL: Final = "has no room left ({code})"
_BUSY: Final = "is overloaded or failing ({code})"

_CODES: Final[dict[str, tuple[type[StorageError], str]]] = {
    "NoSuchKey": (ObjectNotFound, "has no such object"),
    "NoSuchUpload": (ObjectNotFound, "has no such upload"),
    "NoSuchBucket": (
        StorageUnavailable,
        "has no such bucket: create it, or add create_bucket=true to the URL",
    ),
    "InvalidAccessKeyId": (StorageUnavailable, _CREDENTIALS),
    "SignatureDoesNotMatch": (StorageUnavailable, _CREDENTIALS),
    "InvalidToken": (StorageUnavailable, _CREDENTIALS),
    "ExpiredToken": (StorageUnavailable, _CREDENTIALS),
    "AccessDenied": (StorageUnavailable, "denies access: the credentials lack a permission"),
    "AllAccessDisabled": (StorageUnavailable, "denies all access"),
    "RequestTimeTooSkewed": (
        StorageUnavailable,
        "says that our clock differs from its own by too much: set the clocks right",
    ),
    "AuthorizationHeaderMalformed": (StorageUnavailable, _REGION),
    "PermanentRedirect": (StorageUnavailable, _REGION),
    "TemporaryRedirect": (StorageUnavailable, _REGION),
    "IllegalLocationConstraintException": (StorageUnavailable, _REGION),
    "InvalidLocationConstraint": (StorageUnavailable, _REGION),
    "SlowDown": (StorageUnavailable, _BUSY),
    "SlowDownRead": (StorageUnavailable, _BUSY),
    "SlowDownWrite": (StorageUnavailable, _BUSY),
    "RequestTimeout": (StorageUnavailable, _BUSY),
    "InternalError": (StorageUnavailable, _BUSY),
    "ServiceUnavailable": (StorageUnavailable, _BUSY),
    "OperationAborted": (StorageUnavailable, _BUSY),
    "BadDigest": (IntegrityError, _CHANGED),
    "InvalidDigest": (IntegrityError, _CHANGED),
    "XAmzContentSHA256Mismatch": (IntegrityError, _CHANGED),
    "InvalidPart": (IntegrityError, "holds another part than the one that was sent ({code})"),
    "InvalidPartOrder": (IntegrityError, "does not take the parts in their order ({code})"),
    "InsufficientStorage": (StorageFull, _FULL),
    "QuotaExceeded": (StorageFull, _FULL),
    "XMinioStorageFull": (StorageFull, _FULL),
    "XMinioAdminBucketQuotaExceeded": (StorageFull, _FULL),
    "XRGWQuotaExceeded": (StorageFull, _FULL),
    "EntityTooLarge": (StorageError, "takes no object or part of that size ({code})"),
    "InvalidRange": (RangeBeyondEnd, "has no bytes in that range"),
    "PreconditionFailed": (ObjectChanged, "has another object there than a moment ago"),
}

_STATUSES: Final[dict[int, tuple[type[StorageError], str]]] = {
    403: _CODES["AccessDenied"],
    404: _CODES["NoSuchKey"],
    412: _CODES["PreconditionFailed"],
    416: _CODES["InvalidRange"],
    429: (StorageUnavailable, _BUSY),
    507: (StorageFull, _FULL),
}


def storage_error(code: str, status: int, place: str) -> StorageError:
    """Return the error for a store's answer; `place` says which store it is.

    An answer to HEAD has no body, so its code is only the status; those are in a table of their
    own. Any other 3xx is a wrong address, any other 5xx a failing store.
    """
    kind, sentence = _CODES.get(code) or _STATUSES.get(status) or _by_class(status)
    return kind(f"{place} {sentence.format(code=code)}")


def _by_class(status: int) -> tuple[type[StorageError], str]:
    if 300 <= status < 400:
        return StorageUnavailable, _REGION
    if status >= 500:
        return StorageUnavailable, _BUSY
    return StorageError, "refuses the request ({code})"
