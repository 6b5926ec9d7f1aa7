"""What a client returns that is read bit by bit: listings, streams, and what asyncio makes of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import unquote

from trellis._errors import APIError, Error, NotFoundError, StateError
from trellis._frames import columns
from trellis._message import Message
from trellis._transport import Cancel, Closed, Query, Request, Transport
from trellis.api import Trial

if TYPE_CHECKING:
    import pandas
    import polars

T = TypeVar("T")
M = TypeVar("M", bound=Message)

# How many items a page has.
PAGE = 1000
_END: Any = object()


class Listing(Generic[M]):
    """A list that comes in pages. Each iteration asks for them anew, one after the other as they are needed."""

    def __init__(self, transport: Transport, request: Request, name: str, kind: type[M]) -> None:
        self._transport = transport
        self._request = request
        self._name = name
        self._kind = kind

    def __iter__(self) -> Iterator[M]:
        for page in self._pages():
            for item in page:
                yield self._kind.from_json(item)

    def _pages(self, cancel: Cancel | None = None) -> Iterator[list[dict[str, Any]]]:
        """Return the items of each page as they are in JSON."""
        query = {"page_size": PAGE, **self._request.query}
        while True:
            answer = self._transport.call(self._request._replace(query=query), cancel)
            yield answer.get(self._name, [])
            token = answer.get("next_page_token")
            if not token:
                return
            query["page_token"] = token


class Trials(Listing[Trial]):
    """The trials of a study: iterate over them, or have them as a table.

    Each trial comes once, whatever happens to the study meanwhile. If trials move in the order that was asked for, as those
    of a running study do, the pages may miss some: these come at the end, by index. A study that is deleted meanwhile is
    a NotFoundError, and one that is replaced by another of its name a StateError.

    The table has the columns `index`, `state`, one for each parameter, `max_epochs`, `seed`, `objective`, `best_epoch`,
    `epochs`, `test_loss` and the other metrics if there are any, `run` and `error`. A parameter or metric that has the
    name of another column has `parameter.` or `metric.` before it, again if that name is taken too.
    """

    def to_pandas(self) -> pandas.DataFrame:
        """Return the trials as a frame of pandas, which must be installed. What is unset is NaN or None."""
        return to_pandas(self._columns)

    def to_polars(self) -> polars.DataFrame:
        """Return the trials as a frame of polars, which must be installed. What is unset is null."""
        return to_polars(self._columns)

    def __init__(self, transport: Transport, request: Request) -> None:
        super().__init__(transport, request, "trials", Trial)

    def _pages(self, cancel: Cancel | None = None) -> Iterator[list[dict[str, Any]]]:
        order = str(self._request.query.get("order_by") or "index")
        if order.removeprefix("-") == "index":
            for answer in self._answers({}, None, cancel):
                yield answer.get(self._name, [])
            return
        seen: set[str] = set()
        first: dict[str, Any] | None = None
        changed = False
        # Those that the pages of a changing order have missed come by index.
        for again in (False, True):
            if again and not changed:
                return
            for answer in self._answers({"order_by": None} if again else {}, first, cancel):
                first = first or answer
                changed = changed or answer.get("modify_index") != first.get("modify_index")
                page = [trial for trial in answer.get(self._name, []) if trial.get("index", "0") not in seen]
                seen.update(trial.get("index", "0") for trial in page)
                yield page

    def _answers(
        self, query: Query, first: dict[str, Any] | None, cancel: Cancel | None
    ) -> Iterator[dict[str, Any]]:
        """Return the pages of one study. first is one of those before, if there were any."""
        query = {"page_size": PAGE, **self._request.query, **query}
        study = unquote(self._request.path.split("/")[2])
        while True:
            try:
                answer = self._transport.call(self._request._replace(query=query), cancel)
            except NotFoundError as error:
                if first is None:
                    raise
                text = f'study "{study}" was deleted while its trials were read'
                raise NotFoundError(text, status=error.status, code=error.code) from error
            except APIError as error:
                if error.code != "ABORTED":
                    raise
                raise _replaced(study) from error
            first = first or answer
            if answer.get("create_index") != first.get("create_index"):
                raise _replaced(study)
            yield answer
            token = answer.get("next_page_token")
            if not token:
                return
            query = {**query, "page_token": token}

    def _columns(self, cancel: Cancel | None = None) -> dict[str, list[Any]]:
        return columns(self._pages(cancel))


def _replaced(study: str) -> StateError:
    return StateError(
        f'study "{study}" was deleted and created again while its trials were read', status=409, code="ABORTED"
    )


def to_pandas(read: Callable[[], Mapping[str, list[Any]]]) -> pandas.DataFrame:
    try:
        import pandas
    except ModuleNotFoundError as error:
        raise _missing("pandas", error) from error

    frame: pandas.DataFrame = pandas.DataFrame(read())
    return frame


class _MissingError(Error, ModuleNotFoundError):
    """A package that a table needs is not there."""


def _missing(name: str, error: ModuleNotFoundError) -> Exception:
    return _MissingError(f"tables need {name}: pip install {name}", name=name) if error.name == name else error


def to_polars(read: Callable[[], Mapping[str, list[Any]]]) -> polars.DataFrame:
    try:
        import polars
    except ModuleNotFoundError as error:
        raise _missing("polars", error) from error

    return polars.DataFrame(read(), schema_overrides={"error": polars.String}, strict=False, infer_schema_length=None)


class Stream(Generic[T]):
    """What a coordinator sends as it happens: iterate over it. It ends when there is no more to come, or by `close`.

    It is a context manager, which closes it. Another thread may close it too.
    """

    def __init__(self, transport: Transport, source: Callable[[Transport, Cancel], Iterator[T]]) -> None:
        self._transport = transport
        self._cancel = Cancel()
        self._source = source
        self._items: Iterator[T] | None = None
        self._ended = False

    def __iter__(self) -> Stream[T]:
        return self

    def __next__(self) -> T:
        if self._ended:
            raise StopIteration
        if self._items is None:
            self._transport.begin(self._cancel)
            self._items = self._source(self._transport, self._cancel)
        try:
            return next(self._items)
        except Closed:
            self._end()
            raise StopIteration from None
        except BaseException:
            self._end()
            raise

    def _end(self) -> None:
        self._ended = True
        self._transport.end(self._cancel)

    def close(self) -> None:
        """End the stream, and what waits for it."""
        self._cancel.now()
        if self._items is None:
            self._ended = True
            return
        try:
            self._items.close()  # type: ignore[attr-defined]
        except ValueError:
            return  # Another thread waits for it, and ends it.
        self._end()

    def __del__(self) -> None:
        # One that nobody iterates over any more: its generator closes the connection.
        self._transport.end(self._cancel)

    def __enter__(self) -> Stream[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


async def in_thread(do: Callable[[], T], cancel: Cancel) -> T:
    """Do what blocks in a thread of its own. If the task is canceled, that ends too."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def tell(result: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = do()
        except StopIteration:
            result = _END  # A future can't have this.
        except BaseException as raised:  # noqa: BLE001
            error = raised
        try:
            loop.call_soon_threadsafe(tell, result, error)
        except RuntimeError:
            pass  # The loop was closed: nobody waits.

    # A daemon: a program may end while it waits for a coordinator.
    thread = threading.Thread(target=run, name="trellis-client", daemon=True)
    thread.start()
    try:
        return await future
    except asyncio.CancelledError:
        cancel.now()
        raise


class AsyncListing(Generic[M]):
    """A list that comes in pages, for `async for`. Each iteration asks for them anew, as they are needed."""

    def __init__(self, listing: Listing[M]) -> None:
        self._listing = listing

    async def __aiter__(self) -> AsyncIterator[M]:
        cancel = Cancel()
        pages = self._listing._pages(cancel)
        while (page := await in_thread(lambda: next(pages), cancel)) is not _END:
            for item in page:
                yield self._listing._kind.from_json(item)


class AsyncTrials(AsyncListing[Trial]):
    """The trials of a study: iterate over them with `async for`, or have them as a table. See `Trials`."""

    _listing: Trials

    async def to_pandas(self) -> pandas.DataFrame:
        """Return the trials as a frame of pandas, which must be installed. What is unset is NaN or None."""
        cancel = Cancel()
        return await in_thread(lambda: to_pandas(lambda: self._listing._columns(cancel)), cancel)

    async def to_polars(self) -> polars.DataFrame:
        """Return the trials as a frame of polars, which must be installed. What is unset is null."""
        cancel = Cancel()
        return await in_thread(lambda: to_polars(lambda: self._listing._columns(cancel)), cancel)


class AsyncStream(Generic[T]):
    """What a coordinator sends as it happens, for `async for`. It ends when there is no more to come, or by `aclose`.

    It is an asynchronous context manager, which closes it. A task that is canceled while it waits closes it too.
    """

    def __init__(self, stream: Stream[T]) -> None:
        self._stream = stream

    def __aiter__(self) -> AsyncStream[T]:
        return self

    async def __anext__(self) -> T:
        item = await in_thread(lambda: next(self._stream), self._stream._cancel)
        if item is _END:
            raise StopAsyncIteration
        return item

    async def aclose(self) -> None:
        """End the stream, and what waits for it."""
        self._stream.close()

    async def __aenter__(self) -> AsyncStream[T]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
