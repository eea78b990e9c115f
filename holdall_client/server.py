"""The server, as HTTP shows it: requests with the key, and its errors as ClientError."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Self
from urllib.parse import urljoin, urlsplit

import httpx

from holdall_client.errors import ClientError, NotAllowed, NotFound, Unreachable
from holdall_client.profile import Profile
from holdall_client.showing import printable

_TIMEOUT: Final = httpx.Timeout(60, connect=10)
_KINDS: Final[Mapping[int, type[ClientError]]] = {
    401: NotAllowed,
    403: NotAllowed,
    404: NotFound,
    410: NotFound,
}


class Server:
    """A Holdall server. Every method raises ClientError for what the server refuses."""

    def __init__(self, profile: Profile, *, connections: int = 8) -> None:
        if not profile.url:
            raise ClientError("No server is set: holdall login URL, or HOLDALL_URL")
        if urlsplit(profile.url).scheme not in ("http", "https"):
            raise ClientError(f"{profile.url} is no URL: it begins with http:// or https://")
        self.url = profile.url.rstrip("/")
        self._key = profile.key
        limits = httpx.Limits(max_connections=connections)
        self._client = httpx.Client(timeout=_TIMEOUT, limits=limits)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def absolute(self, url: str) -> str:
        """Return a URL that the server gave, which may lack the server's name."""
        return urljoin(self.url + "/", url)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request and return a success. Raises ClientError."""
        answer = self.attempt(method, path, **options)
        require_success(answer)
        return answer

    def attempt(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request and return whatever comes. Raises Unreachable."""
        url = self.absolute(path)
        headers = self._authorised(url) | options.pop("headers", {})
        try:
            return self._client.request(method, url, headers=headers, **options)
        except httpx.TransportError as error:
            raise unreachable(self.url, error) from error

    def json(self, method: str, path: str, **options: Any) -> Any:
        """Send a request and return what its answer says. Raises ClientError."""
        return body_of(self.request(method, path, **options))

    @contextmanager
    def stream(self, path: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """Open a GET whose body is read piece by piece. Raises Unreachable, also meanwhile."""
        url = self.absolute(path)
        asked = self._authorised(url) | dict(headers)
        try:
            with self._client.stream("GET", url, headers=asked, follow_redirects=True) as answer:
                yield answer
        except httpx.TransportError as error:
            raise unreachable(self.url, error) from error

    def _authorised(self, url: str) -> dict[str, str]:
        """Show the key to the server it is for, and to no other."""
        ours = urlsplit(self.url)
        theirs = urlsplit(url)
        same = (ours.scheme, ours.netloc) == (theirs.scheme, theirs.netloc)
        return {"Authorization": f"Bearer {self._key}"} if self._key and same else {}


def require_success(answer: httpx.Response) -> None:
    """Raise the ClientError of an answer that is not a success."""
    if answer.is_success:
        return
    raise _KINDS.get(answer.status_code, ClientError)(_sentence(answer))


def body_of(answer: httpx.Response) -> Any:
    """Return the JSON of an answer. Raises Unreachable where there is none."""
    try:
        return answer.json()
    except ValueError as error:
        raise Unreachable(f"{answer.url.host} does not answer as a Holdall does") from error


def unreachable(url: str, error: Exception) -> Unreachable:
    """Say that a server gave no answer, and why."""
    reason = str(error) or type(error).__name__
    return Unreachable(f"{url} cannot be reached: {reason}")


def _sentence(answer: httpx.Response) -> str:
    """Return what the server says is wrong."""
    try:
        said = answer.json()
    except ValueError:
        said = None
    message = said.get("error") if isinstance(said, dict) else None
    text = printable(str(message or f"The server answers with status {answer.status_code}"))
    return f"{text}: holdall login URL" if answer.status_code == 401 else text
