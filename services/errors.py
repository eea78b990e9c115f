"""What can go wrong in a use case through no fault of the service. No HTTP here.

    HoldallError
    ├── MalformedBody         the body is not what its headers say it is
    │   ├── TruncatedBody     … it ended before its time
    │   └── NoFileProvided    … it holds no file
    ├── StalledBody           no byte came for too long
    ├── LengthRequired        a length is needed before this can begin
    ├── TooLarge              more bytes, files or fields than are taken
    ├── UnsupportedBody       the body's own form is not taken (its coding, its media type)
    ├── TypeNotAllowed        the file's bytes are of a type that is not taken
    ├── NotAnImage            thumbnails are made of some types of images, and this is another type
    ├── ImageRefused          an image is damaged, or too large to be read
    ├── ThumbnailsBusy        too many thumbnails are being made at the moment
    ├── DigestMismatch        the bytes are not those the client named
    ├── InvalidField          a field, parameter or header has an impossible value
    ├── NotSignedIn           this needs a caller that is known
    │   └── KeyInvalid        … the API key that came is wrong, revoked or expired
    ├── NotPermitted          the caller is known and may not
    ├── TooManyFailures       too many wrong keys came from one address
    ├── LinkInvalid           a signed link is not one of ours, or is for something else
    │   └── LinkExpired       … it has come to its end
    ├── LinkUsed              an upload link has had its one file
    ├── QuotaExceeded         the collection has no room left
    ├── CrossSite             a page of another site has a browser send it
    ├── ForeignHost           it asks for a host that is not ours
    ├── CsrfFailed            a cookie came without the token of its session
    ├── FileNotFound          no such file, or none that the caller may know of
    ├── CollectionNotFound    no collection has that name
    ├── ApiKeyNotFound        no API key has that id
    ├── Conflict              it cannot be done as things stand now
    │   ├── OffsetMismatch    … an append begins where the upload does not end
    │   └── TakenOver         … another request goes on with the same upload
    ├── KeyReused             an Idempotency-Key came with another request than before
    ├── Gone                  an upload that was there has ended or expired
    ├── Locked                another request is still at work on the same upload
    ├── Stopping              the service ends before the body of a request has come
    ├── ChecksumMismatch      the bytes of an append are not those the client named
    └── VersionMismatch       a protocol version that is not spoken here

Each message is one sentence for the person who sent the request. Storage has its own tree,
`storage.errors`; the table that turns both into statuses and codes is `views.errors`.
"""


class HoldallError(Exception):
    """A request that cannot be carried out; the message is for the client."""


class MalformedBody(HoldallError):
    """The body does not follow the syntax that its headers declare."""


class TruncatedBody(MalformedBody):
    """The body ended before its declared length, last chunk or closing boundary."""


class NoFileProvided(MalformedBody):
    """An upload has no file in it."""

    def __init__(self) -> None:
        super().__init__("No file provided")


class StalledBody(HoldallError):
    """The client stopped sending for longer than is waited."""


class LengthRequired(HoldallError):
    """The size has to be known before the bytes come (RFC 9110 §15.5.12)."""


class TooLarge(HoldallError):
    """The body, a part of it, or the number of parts is over a limit."""


class UnsupportedBody(HoldallError):
    """The body's content coding or media type is not taken; `accept` says which types are."""

    def __init__(self, message: str, *, accept: str | None = None) -> None:
        super().__init__(message)
        self.accept = accept


class TypeNotAllowed(HoldallError):
    """The sniffed type is not one that the service or the collection takes."""


class NotAnImage(HoldallError):
    """No thumbnails are made of this type."""

    def __init__(self, content_type: str) -> None:
        super().__init__(f"No thumbnails are made of {content_type}")


class ImageRefused(HoldallError):
    """An image cannot be read, or not within the bounds on pixels, memory and time."""


class ThumbnailsBusy(HoldallError):
    """So many thumbnails are being made that this one would have to wait too long."""

    retry_after = 2

    def __init__(self) -> None:
        super().__init__("Too many thumbnails are being made at the moment")


class DigestMismatch(HoldallError):
    """The received bytes do not have the digest that the client sent with them."""


class InvalidField(HoldallError):
    """A named value is malformed. The message begins with its name."""


class NotSignedIn(HoldallError):
    """No valid credentials came with a request that needs them."""


class KeyInvalid(NotSignedIn):
    """The API key that came is none, or none any more; nobody is told which."""

    def __init__(self) -> None:
        super().__init__("This needs a valid API key")


class NotPermitted(HoldallError):
    """The caller's scopes do not cover the request."""


class TooManyFailures(HoldallError):
    """A client has shown too many wrong keys; `retry_after` is in seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__("Too many wrong keys came from this address")
        self.retry_after = retry_after


class LinkInvalid(HoldallError):
    """A signed link was not made by this service, or for another request."""


class LinkExpired(LinkInvalid):
    """A signed link has come to its end."""


class LinkUsed(HoldallError):
    """A signed upload link has had its one file."""


class QuotaExceeded(HoldallError):
    """A collection has no room left for the file, unfinished uploads counted."""


class CrossSite(HoldallError):
    """A browser sends this for a page of a site that may not have it sent."""

    def __init__(self) -> None:
        super().__init__("Pages of other sites may not do this: see CORS_ORIGINS and PUBLIC_URL")


class ForeignHost(HoldallError):
    """The host that was asked for is not one of this machine's own names."""

    def __init__(self) -> None:
        super().__init__("This service has no such name: use localhost, or set PUBLIC_URL")


class CsrfFailed(HoldallError):
    """A cookie came for a change, and the token of its session did not come with it."""

    def __init__(self) -> None:
        super().__init__("X-CSRF-Token is not that of the session: reload the page")


class FileNotFound(HoldallError):
    """No file has that id, or the caller may not know that one does."""

    def __init__(self) -> None:
        super().__init__("Resource not found")


class CollectionNotFound(HoldallError):
    """No collection has that name."""


class ApiKeyNotFound(HoldallError):
    """No API key has that id."""

    def __init__(self) -> None:
        super().__init__("Resource not found")


class Conflict(HoldallError):
    """The state of things does not allow it at this moment."""


class KeyReused(HoldallError):
    """An Idempotency-Key names a different request than the one it was first used for."""


class OffsetMismatch(Conflict):
    """An append names an offset that is not the upload's; `offset` is the true one, in bytes."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"The upload goes on at offset {offset}")
        self.offset = offset


class TakenOver(Conflict):
    """Another request asked for the upload; what this one brought so far is kept."""

    def __init__(self) -> None:
        super().__init__("Another request goes on with this upload")


class Gone(HoldallError):
    """The upload ended without a file, or expired."""


class Locked(HoldallError):
    """Another request holds the upload and did not let go in time."""


class Stopping(HoldallError):
    """The service is told to end, and the body takes longer than it has."""

    def __init__(self) -> None:
        super().__init__("The service is being restarted: try again in a moment")


class ChecksumMismatch(HoldallError):
    """The bytes of one append do not have the checksum that came with them."""


class VersionMismatch(HoldallError):
    """The client speaks a version of a protocol that the service does not."""
