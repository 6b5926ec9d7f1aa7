"""What the clients have in common, and how each of them makes a call."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from trellis._credentials import Credentials, StrPath
from trellis._errors import Error
from trellis._iterate import AsyncListing, AsyncStream, AsyncTrials, Listing, Stream, Trials, in_thread
from trellis._message import Message
from trellis._transport import Cancel, Request, Transport

if TYPE_CHECKING:
    from typing_extensions import Self

P = ParamSpec("P")
T = TypeVar("T")
M = TypeVar("M", bound=Message)


class Base:
    def __init__(
        self,
        address: str | None = None,
        *,
        token: str | None = None,
        token_file: StrPath | None = None,
        authority: StrPath | None = None,
        certificate: StrPath | None = None,
        key: StrPath | None = None,
        insecure: bool | None = None,
        timeout: float = 30.0,
        wait: float = 10.0,
    ) -> None:
        credentials = Credentials(
            os.environ,
            token=token,
            token_file=token_file,
            authority=authority,
            certificate=certificate,
            key=key,
            insecure=insecure,
        )
        address = address or os.environ.get("TRELLIS_HTTP")
        if not address:
            raise Error(
                f"no address: call {type(self).__name__}(address), or set TRELLIS_HTTP, with the address that the "
                "coordinator prints as its web page, such as http://localhost:8080"
            )
        self._transport = Transport(address, credentials, timeout=timeout, wait=wait)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._transport.address)!r})"


class SyncClient(Base):
    """Calls that block."""

    def _call(self, request: Request, kind: type[M], member: str = "") -> M:
        answer = self._transport.call(request)
        return kind.from_json(answer.get(member, {}) if member else answer)

    def _run(self, do: Callable[Concatenate[Transport, Cancel, P], T], *arguments: P.args, **named: P.kwargs) -> T:
        return do(self._transport, Cancel(), *arguments, **named)

    def _list(self, request: Request, name: str, kind: type[M]) -> Listing[M]:
        return Listing(self._transport, request, name, kind)

    def _list_trials(self, request: Request) -> Trials:
        return Trials(self._transport, request)

    def _stream(self, source: Callable[[Transport, Cancel], Iterator[T]]) -> Stream[T]:
        return Stream(self._transport, source)

    def close(self) -> None:
        """Close all connections. Calls that wait end with an error, and streams end."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncioClient(Base):
    """Calls that are awaited. Each has a thread while it waits, and ends when its task is canceled."""

    async def _call(self, request: Request, kind: type[M], member: str = "") -> M:
        cancel = Cancel()
        answer = await in_thread(lambda: self._transport.call(request, cancel), cancel)
        return kind.from_json(answer.get(member, {}) if member else answer)

    async def _run(
        self, do: Callable[Concatenate[Transport, Cancel, P], T], *arguments: P.args, **named: P.kwargs
    ) -> T:
        cancel = Cancel()
        return await in_thread(lambda: do(self._transport, cancel, *arguments, **named), cancel)

    def _list(self, request: Request, name: str, kind: type[M]) -> AsyncListing[M]:
        return AsyncListing(Listing(self._transport, request, name, kind))

    def _list_trials(self, request: Request) -> AsyncTrials:
        return AsyncTrials(Trials(self._transport, request))

    def _stream(self, source: Callable[[Transport, Cancel], Iterator[T]]) -> AsyncStream[T]:
        return AsyncStream(Stream(self._transport, source))

    async def close(self) -> None:
        """Close all connections. Calls that wait end with an error, and streams end."""
        self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
