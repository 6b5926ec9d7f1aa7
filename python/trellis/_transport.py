"""Calls of the API over HTTP, with the standard library: connections that are kept, repetition, events."""

from __future__ import annotations

import http.client
import json
import random
import select
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from trellis._credentials import Credentials
from trellis._errors import APIError, Error, UnavailableError, error_of

# How many connections are kept that do nothing.
IDLE = 8
# A stream is silent for 15 seconds at most: after three times that, the connection is lost.
SILENCE = 45.0
# The pause before a call is repeated: it doubles from the first to the last, in seconds.
PAUSES = (0.1, 2.0)
# How much of a response is read at once, in bytes.
PIECE = 1 << 16

Query = Mapping[str, "str | int | float | bool | list[str] | None"]
_NONE: Mapping[str, str] = MappingProxyType({})


class Request(NamedTuple):
    """One call."""

    verb: str
    # Below /api/v1, with what is in it quoted.
    path: str
    query: Query = _NONE
    # What is sent: JSON, or a file's bytes.
    body: Any = None
    # Whether the call changes nothing, or the same when it is repeated.
    repeatable: bool = False
    # How long to wait for the answer, in seconds. 0: as long as the client waits.
    timeout: float = 0.0


def path(*parts: str | int, verb: str = "") -> str:
    """Return the path of parts, quoted, and of a word that says what to do."""
    return "".join("/" + quote(str(part), safe="") for part in parts) + (f":{verb}" if verb else "")


class Closed(Exception):
    """Somebody has ended what was going on."""


class Cancel:
    """Ends a call or a stream, from another thread."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def use(self, connection: socket.socket) -> None:
        """Name the connection that is waited for."""
        with self._lock:
            self._socket = connection
        self.check()

    def leave(self) -> None:
        """Forget the connection: others may use it."""
        with self._lock:
            self._socket = None

    def check(self) -> None:
        if self._event.is_set():
            raise Closed

    def pause(self, seconds: float) -> None:
        self._event.wait(seconds)
        self.check()

    def now(self) -> None:
        self._event.set()
        with self._lock:
            if self._socket is not None:
                try:
                    # Of the class above, also for TLS: this thread must not touch its state.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
                except OSError:
                    pass  # It has ended.


class Patience:
    """How long a call that can be repeated is repeated."""

    def __init__(self, wait: float, cancel: Cancel) -> None:
        self._wait = wait
        self._cancel = cancel
        self.reset()

    def reset(self) -> None:
        """Begin anew: the last attempt has succeeded."""
        self._since: float | None = None
        self._pause = PAUSES[0]

    def again(self, at_least: float = 0.0) -> bool:
        """Wait, and say whether there is time for another attempt."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        left = self._since + self._wait - now
        pause = max(at_least, self._pause * random.uniform(0.8, 1.2))
        if left < pause:
            return False
        self._cancel.pause(pause)
        self._pause = min(self._pause * 2, PAUSES[1])
        return True


class Answer:
    """A response that has begun."""

    def __init__(
        self,
        transport: Transport,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        cancel: Cancel,
    ) -> None:
        self._transport = transport
        self._connection: http.client.HTTPConnection | None = connection
        self._response = response
        self._cancel = cancel
        self.status = response.status

    def header(self, name: str) -> str:
        return self._response.headers.get(name, "")

    def read(self) -> bytes:
        """Return the whole content. The connection is kept for the next call."""
        data = self._response.read()
        if self.header("Content-Encoding").lower() == "gzip":
            data = zlib.decompress(data, 16 + zlib.MAX_WBITS)
        self._release(keep=not self._response.will_close)
        return data

    def pieces(self) -> Iterator[bytes]:
        """Return the content as it arrives."""
        while piece := self._response.read1(PIECE):
            yield piece
        if self._response.length:
            raise http.client.IncompleteRead(b"", self._response.length)

    def retry_after(self) -> float:
        text = self.header("Retry-After")
        # Other alphabets have digits too, which are no numbers.
        return float(text) if text.isascii() and text.isdigit() else 0.0

    def close(self) -> None:
        self._release(keep=False)

    def _release(self, keep: bool) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        self._cancel.leave()
        self._response.close()
        self._transport.give_back(connection, keep)


class Transport:
    """Connections to one address. Threads may share it."""

    def __init__(self, address: str, credentials: Credentials, *, timeout: float, wait: float) -> None:
        self.address = credentials.locate(address)
        self._credentials = credentials
        self._tls = credentials.tls() if self.address.encrypted else None
        self.timeout = timeout
        self.wait = wait
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []
        self._ongoing: set[Cancel] = set()
        self._closed = False

    def close(self) -> None:
        """End what is going on, and close all connections."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            ongoing = list(self._ongoing)
        for cancel in ongoing:
            cancel.now()
        for connection in idle:
            connection.close()

    def begin(self, cancel: Cancel) -> None:
        """Have cancel end when the transport is closed, until end."""
        with self._lock:
            if self._closed:
                raise Error("the client is closed")
            self._ongoing.add(cancel)

    def end(self, cancel: Cancel) -> None:
        with self._lock:
            self._ongoing.discard(cancel)

    def give_back(self, connection: http.client.HTTPConnection, keep: bool) -> None:
        with self._lock:
            if keep and not self._closed and len(self._idle) < IDLE and connection.sock is not None:
                self._idle.append(connection)
                return
        connection.close()

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        """Return a connection that was kept and is still there, or else a new one."""
        while True:
            with self._lock:
                if self._closed:
                    raise Error("the client is closed")
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                break
            if not _has_ended(connection.sock):
                connection.sock.settimeout(timeout)
                return connection
            connection.close()
        where = self.address
        if self._tls is not None:
            connection = http.client.HTTPSConnection(where.host, where.port, timeout=timeout, context=self._tls)
        else:
            connection = http.client.HTTPConnection(where.host, where.port, timeout=timeout)
        try:
            connection.connect()
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            connection.close()
            raise
        return connection

    def open(self, request: Request, cancel: Cancel, headers: Mapping[str, str] = _NONE) -> Answer:
        """Make a call once. Returns its answer, unless that is an error."""
        timeout = request.timeout or self.timeout
        all_headers = {
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "User-Agent": "trellis-python",
            **headers,
        }
        body = request.body
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body, allow_nan=False, separators=(",", ":")).encode()
            all_headers["Content-Type"] = "application/json"
        elif body is not None:
            all_headers["Content-Type"] = "application/octet-stream"
        if token := self._credentials.token():
            all_headers["Authorization"] = f"Bearer {token}"
        target = f"{self.address.prefix}/api/v1{request.path}{_query(request.query)}"
        try:
            connection = self._connect(timeout)
        except ssl.SSLError as error:
            raise Error(f"can't connect to {self.address}: {_explain(error)}") from error
        except OSError as error:
            raise _NotSentError(error) from error
        try:
            cancel.use(connection.sock)
            connection.request(request.verb, target, body, all_headers)
            answer = Answer(self, connection, connection.getresponse(), cancel)
        except BaseException:
            connection.close()
            raise
        if answer.status < 400:
            return answer
        try:
            raise _refusal(self, answer)
        finally:
            answer.close()

    def call(self, request: Request, cancel: Cancel | None = None) -> Any:
        """Make a call, again if that is safe. Returns what the JSON of its answer says."""
        return self._parse(self.fetch(request, lambda answer: answer.read(), cancel))

    def _parse(self, data: bytes | str) -> Any:
        try:
            return json.loads(data)
        except ValueError as error:
            raise Error(f"{self.address} has answered without JSON: {self._hint()}") from error

    def fetch(
        self,
        request: Request,
        read: Callable[[Answer], Any],
        cancel: Cancel | None = None,
        headers: Mapping[str, str] = _NONE,
    ) -> Any:
        """Make a call, again if that is safe. Returns what read makes of its answer, from its beginning each time."""
        cancel = cancel or Cancel()
        self.begin(cancel)
        patience = Patience(self.wait, cancel)
        try:
            while True:
                try:
                    answer = self.open(request, cancel, headers)
                    try:
                        return read(answer)
                    finally:
                        answer.close()
                except Exception as error:
                    cancel.check()
                    known = self.failure(error)
                    if known is None:
                        raise
                    if not (known.repeatable or request.repeatable) or not patience.again(known.retry_after):
                        raise known.error from error
        except Closed:
            raise Error("the client is closed") from None
        finally:
            self.end(cancel)

    def failure(self, error: Exception) -> Failure | None:
        """Return what to do about an error that may pass, or None if it will not."""
        if isinstance(error, _NotSentError):
            return Failure(UnavailableError(f"no coordinator answers at {self.address}: {_explain(error.cause)}"), True)
        if isinstance(error, UnavailableError):
            # 429: nothing was done. 503: what changes something may have been done.
            return Failure(error, error.status == 429, error.retry_after)
        if isinstance(error, (http.client.HTTPException, OSError, zlib.error)):
            text = f"the connection to {self.address} was lost before the answer: {_explain(error)}"
            if isinstance(error, http.client.BadStatusLine) and not isinstance(error, http.client.RemoteDisconnected):
                text = f"{self.address} does not speak HTTP: {self._hint()}"
            elif isinstance(error, TimeoutError):
                text = f"{self.address} has not answered in time"
            return Failure(UnavailableError(text), False)
        return None

    def _hint(self) -> str:
        return "address must be the one that the coordinator prints as its web page"

    def events(self, request: Request, cancel: Cancel) -> Iterator[Any]:
        """Return what the events of a stream say, until its end. If the connection is lost, it goes on where it was."""
        last = ""
        patience = Patience(self.wait, cancel)
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        request = request._replace(timeout=SILENCE)
        while True:
            try:
                answer = self.open(request, cancel, {**headers, "Last-Event-ID": last} if last else headers)
                try:
                    for event in parse_events(answer.pieces()):
                        if event.name == "end":
                            return
                        if event.name == "problem":
                            raise _problem(event.data) or Error(
                                f"{self.address} has ended the stream: {event.data[:200] or self._hint()}"
                            )
                        last = event.id or last
                        patience.reset()
                        yield self._parse(event.data)
                        cancel.check()
                finally:
                    answer.close()
                raise http.client.RemoteDisconnected("the stream has ended early")
            except Exception as error:
                cancel.check()
                known = self.failure(error)
                if known is None:
                    raise
                if not patience.again(known.retry_after):
                    raise known.error from error


class Failure(NamedTuple):
    """What to do about an error."""

    error: APIError
    # Whether nothing has been done, so that any call may be repeated.
    repeatable: bool
    # How long to wait first, in seconds.
    retry_after: float = 0.0


class Event(NamedTuple):
    """One server-sent event."""

    name: str
    id: str
    data: str


def parse_events(pieces: Iterator[bytes]) -> Iterator[Event]:
    """Return the events of a stream. One that has not been ended is none."""
    name, identity = "", ""
    data: list[str] = []
    for line in _lines(pieces):
        if not line:
            if data:
                yield Event(name, identity, "\n".join(data))
            name, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "id":
            identity = value
        elif field == "data":
            data.append(value)


def _lines(pieces: Iterator[bytes]) -> Iterator[str]:
    parts: list[bytes] = []
    for piece in pieces:
        *whole, rest = piece.split(b"\n")
        for line in whole:
            parts.append(line)
            yield b"".join(parts).decode()
            parts.clear()
        parts.append(rest)


class _NotSentError(Exception):
    """There is no connection: the call was not sent."""

    def __init__(self, cause: OSError) -> None:
        self.cause = cause


def _refusal(transport: Transport, answer: Answer) -> APIError:
    """Return the error of an answer."""
    data = answer.read()
    is_problem = answer.header("Content-Type").startswith("application/problem+json")
    error = _problem(data) if is_problem else None
    if error is not None:
        error.status = answer.status
    else:
        text = data.decode(errors="replace").strip()
        error = error_of(
            {
                "status": answer.status,
                "detail": f"{transport.address} has answered with status "
                f"{answer.status}: {text[:200] or transport._hint()}",
            }
        )
    if isinstance(error, UnavailableError):
        error.retry_after = answer.retry_after()
    return error


def _problem(data: bytes | str) -> APIError | None:
    """Return the error that problem details describe, or None if these are none: what answers may be no coordinator."""
    try:
        return error_of(json.loads(data))
    except (ValueError, TypeError, AttributeError, OverflowError):
        return None


def _query(query: Query) -> str:
    parts: list[tuple[str, str]] = []
    for name, value in query.items():
        if value is None:
            continue
        for one in value if isinstance(value, list) else [value]:
            parts.append((name, str(one).lower() if isinstance(one, bool) else str(one)))
    return "?" + urlencode(parts) if parts else ""


def _has_ended(connection: socket.socket) -> bool:
    """Return whether a connection that does nothing was closed by the other side: there is something to read."""
    try:
        if hasattr(select, "poll"):
            poll = select.poll()
            poll.register(connection, select.POLLIN)
            return bool(poll.poll(0))
        return bool(select.select([connection], [], [], 0)[0])
    except (OSError, ValueError):
        return True


def _explain(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}. Is authority the file of its authority?"
    if isinstance(error, ssl.SSLError) and "WRONG_VERSION_NUMBER" in str(error):
        return "it does not use TLS: use http://"
    if isinstance(error, TimeoutError):
        return "it takes too long"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
