"""The errors of the package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Error(Exception):
    """What was given can't be used, or a call has failed. The text says why.

    A program gets it for a run that a worker gave, or for an argument; a client for an address, a file, a connection or
    an answer of a coordinator.
    """


class FieldProblem(NamedTuple):
    """What is wrong with one field of a request, or at one place of a spec."""

    # Its path in the request: spec.grid[0].axes["lr"]. "text" is the text of a spec.
    field: str
    # What is wrong, and what would be right.
    detail: str
    # Where it is in the text, counted from 1. 0: unknown.
    line: int = 0
    column: int = 0


class APIError(Error):
    """A coordinator has refused a call, in its words: what is wrong, and what would be right."""

    # The HTTP status, and the name of the gRPC code: "NOT_FOUND". "" if what answered is no coordinator.
    status: int
    code: str
    # What is wrong with which field, or at which line of a spec.
    problems: Sequence[FieldProblem]

    def __init__(self, detail: str, *, status: int = 0, code: str = "", problems: Sequence[FieldProblem] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.code = code
        self.problems = tuple(problems)


class InvalidError(APIError):
    """The request is wrong: a spec, a filter, a name of an axis. `problems` say where."""


class StateError(APIError):
    """The study, or what else the call is about, is in a state that does not allow it: a study that has ended can't be paused."""


class NotFoundError(APIError):
    """There is no such study, trial or checkpoint."""


class ExistsError(APIError):
    """There is a study of that name."""


class AuthenticationError(APIError):
    """The coordinator does not know who calls: there is no token, or none that it knows."""


class PermissionDeniedError(APIError):
    """The role of the token or certificate may not make this call."""


class UnavailableError(APIError):
    """No coordinator answers, or it has too much to do. A later call may succeed. It may be that the call took effect."""

    # After how many seconds the coordinator wants to be asked again. 0: it does not say.
    retry_after: float = 0.0


_BY_CODE: Mapping[str, type[APIError]] = {
    "INVALID_ARGUMENT": InvalidError,
    "OUT_OF_RANGE": InvalidError,
    "FAILED_PRECONDITION": StateError,
    "NOT_FOUND": NotFoundError,
    "ALREADY_EXISTS": ExistsError,
    "UNAUTHENTICATED": AuthenticationError,
    "PERMISSION_DENIED": PermissionDeniedError,
    "UNAVAILABLE": UnavailableError,
    "RESOURCE_EXHAUSTED": UnavailableError,
}


def error_of(problem: Mapping[str, Any]) -> APIError:
    """Return the error that problem details (RFC 9457) describe."""
    code = str(problem.get("code", ""))
    problems = [
        FieldProblem(
            str(one.get("field", "")), str(one.get("detail", "")), int(one.get("line", 0)), int(one.get("column", 0))
        )
        for one in problem.get("errors", [])
    ]
    detail = str(problem.get("detail") or problem.get("title") or "the coordinator has refused the call")
    status = int(problem.get("status", 0))
    kind = _BY_CODE.get(code, UnavailableError if status in (429, 503) else APIError)
    return kind(detail, status=status, code=code, problems=problems)
