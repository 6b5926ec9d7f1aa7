"""Specs and axes, as people give them to a client."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from trellis._errors import APIError, Error

# A spec: a mapping as a spec file has it, the text of a spec file, or the path of one.
Spec = Mapping[str, Any] | str | os.PathLike[str]

_SUFFIXES = (".yaml", ".yml", ".json")


class SpecText(NamedTuple):
    """The text of a spec, and what messages call it."""

    text: str
    name: str


def read(spec: Spec) -> SpecText:
    """Return the text of a spec. A text of one line that ends in .yaml, .yml or .json is a path."""
    if isinstance(spec, Mapping):
        return SpecText(dumps(spec), "spec")
    if isinstance(spec, str) and ("\n" in spec or not spec.endswith(_SUFFIXES)):
        return SpecText(spec, "spec")
    if not isinstance(spec, (str, os.PathLike)):
        raise TypeError(f"a spec must be a mapping, a text or a path, not {type(spec).__name__}")
    try:
        return SpecText(Path(spec).read_text(encoding="utf-8"), os.fspath(spec))
    except (OSError, UnicodeDecodeError) as error:
        raise Error(f"can't read the spec: {error}") from error


def dumps(value: Any) -> str:
    """Return a mapping as JSON, which is YAML. Numbers of NumPy are numbers, and its arrays lists."""
    try:
        return json.dumps(value, default=_plain, allow_nan=False, indent=2)
    except ValueError as error:
        raise Error(f"a spec can't have NaN, an infinity, or itself in it: {error}") from error


def _plain(value: Any) -> Any:
    for name in ("tolist", "item"):
        if hasattr(value, name):
            return getattr(value, name)()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (Sequence, set, frozenset, range)):
        return list(value)
    raise TypeError(f"a spec can't have a {type(value).__name__}: {value!r:.100}")


def named(error: APIError, name: str) -> APIError:
    """Return an error about the text of a spec with the name that its user knows."""
    detail = re.sub(r"^spec(?=:\d+:)", lambda _: name, error.detail, flags=re.MULTILINE)
    return type(error)(detail, status=error.status, code=error.code, problems=error.problems)


def axis(values: Any) -> dict[str, Any]:
    """Return an axis as the API has it: of a list, or of a range such as {"log10": {"from": 1e-4, "to": 1e-2, "count": 3}}."""
    values = json.loads(dumps(values))
    if isinstance(values, dict):
        return values
    if not isinstance(values, list):
        values = [values]
    kinds = {type(value) for value in values}
    if kinds == {bool}:
        return {"booleans": values}
    if kinds == {str}:
        return {"texts": values}
    if kinds == {int}:
        return {"integers": values}
    if kinds <= {int, float}:
        return {"numbers": values}
    raise TypeError(f"the values of an axis must be all numbers, all texts or all booleans: {values!r:.100}")


def budget(parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return a budget as the API has it. Its time is a number of seconds, or a text such as 8h, 90m or 1h30m."""
    its: dict[str, Any] = json.loads(dumps(parts))
    if "time" in its:
        its["time"] = f"{_seconds(its['time'])}s"
    return its


def extension(
    axes: Mapping[str, Any], seeds: Sequence[int], more: Mapping[str, Any] | None, drop_budget: bool
) -> dict[str, Any]:
    """Return what an extension adds as the API has it."""
    body: dict[str, Any] = {"axes": {name: axis(values) for name, values in axes.items()}}
    if len(seeds) > 0:
        body["seeds"] = axis(seeds)
    if more is not None:
        body["budget"] = budget(more)
    if drop_budget:
        body["drop_budget"] = True
    return body


_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[hms])+")


def _seconds(time: Any) -> str:
    if isinstance(time, (int, float)) and not isinstance(time, bool):
        return f"{time:.9f}".rstrip("0").rstrip(".")
    if not isinstance(time, str) or not _DURATION.fullmatch(time):
        raise Error(f"invalid time {time!r} of a budget: must be a number of seconds, or a text such as 8h or 1h30m")
    total = sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)([hms])", time))
    return _seconds(total)
