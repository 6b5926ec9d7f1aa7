"""Messages of the API, and how they are read from its JSON."""

from __future__ import annotations

import base64
import keyword
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from types import MappingProxyType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NoReturn

from trellis._parameters import Parameters, Value

if TYPE_CHECKING:
    from typing_extensions import Self, dataclass_transform
else:

    def dataclass_transform(**_: object) -> Callable[[type], type]:
        return lambda cls: cls


Decode = Callable[[Any], Any]

# The defaults of mappings and of parameters.
NOTHING: Mapping[str, Any] = MappingProxyType({})
NO_PARAMETERS = Parameters({})


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Message:
    """A message of the API: its members are attributes, and can't be changed.

    A member that the coordinator left out has its default: 0, False, an empty text, list or mapping, or None where it
    can be unset.
    """

    # Classes are read when they are first needed: importing all of them must not take long.
    _members_cache: ClassVar[Mapping[str, tuple[str, Decode]] | None] = None

    def __init__(self, **members: Any) -> None:
        known = {name for name, _ in type(self)._members().values()}
        for name in members:
            if name not in known:
                raise TypeError(f"{type(self).__name__} has no member {name!r}")
        self.__dict__.update(members)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} can't be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} can't be changed")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name, _ in self._members().values())

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        members = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())
        return f"{type(self).__name__}({members})"

    def to_dict(self) -> dict[str, Any]:
        """Return the members that are set, with the messages in them as dicts too."""
        return {name: _plain(value) for name, value in self.__dict__.items()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read a message from the API's JSON. Members of a newer coordinator are ignored."""
        members = cls._members()
        message = cls.__new__(cls)
        values = message.__dict__
        for key, value in content.items():
            member = members.get(key)
            if member is not None and value is not None:
                values[member[0]] = member[1](value)
        return message

    @classmethod
    def _members(cls) -> Mapping[str, tuple[str, Decode]]:
        """Return the attribute and the decoder of each member, by its name in JSON."""
        if "_members_cache" not in cls.__dict__:
            hints = typing.get_type_hints(cls, include_extras=True)
            cls._members_cache = {
                in_json(name): (name, _decoder(hint)) for name, hint in hints.items() if not name.startswith("_")
            }
        return cls._members_cache or {}


def attribute(name: str) -> str:
    """Return the attribute of a member: its name, or name_ if that is a word of Python."""
    return name + "_" if keyword.iskeyword(name) else name


def in_json(name: str) -> str:
    return name[:-1] if name.endswith("_") and keyword.iskeyword(name[:-1]) else name


class Prefix(str):
    """What the names of an enum's values begin with in JSON: TRIAL_STATE_."""


def _decoder(hint: Any) -> Decode:
    """Return what reads a value of a type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        if isinstance(arguments[1], Prefix):
            return _enum_decoder(arguments[1])
        return arguments[1]  # type: ignore[no-any-return]
    if origin in (UnionType, typing.Union):
        return _decoder(next(one for one in arguments if one is not type(None)))
    if origin is Sequence:
        item = _decoder(arguments[0])
        return lambda values: tuple([item(value) for value in values])
    if origin is Mapping:
        item = _decoder(arguments[1])
        return lambda values: {name: item(value) for name, value in values.items()}
    if hint is Parameters:
        return parameters
    if isinstance(hint, type) and issubclass(hint, Message):
        return hint.from_json
    if hint is datetime:
        return instant
    if hint is bytes:
        return base64.b64decode
    if hint in (int, float, str, bool):
        return hint  # type: ignore[no-any-return]
    raise TypeError(f"no decoder for {hint!r}")


def _enum_decoder(prefix: Prefix) -> Decode:
    def word(name: str) -> str | None:
        short = name.removeprefix(prefix).lower()
        return None if short == "unspecified" else short

    return word


def scalar(content: Mapping[str, Any]) -> Value:
    """Read the value of a parameter."""
    for kind, value in content.items():
        if kind == "number":
            return float(value)
        if kind == "integer":
            return int(value)
        return value  # type: ignore[no-any-return]
    raise ValueError("a value of a parameter is empty")


def parameters(content: Mapping[str, Any]) -> Parameters:
    """Read the parameters of a trial, with max_epochs and seed where they are set."""
    values = {name: scalar(value) for name, value in content.get("values", {}).items()}
    values.update((name, int(content[name])) for name in ("max_epochs", "seed") if name in content)
    return Parameters(values)


# A time as the API writes it: with up to nine digits of a second, and in UTC.
_INSTANT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")


def instant(text: str) -> datetime:
    """Read a time. Python has microseconds: what is shorter is cut off."""
    parts = _INSTANT.fullmatch(text)
    if parts is None:
        raise ValueError(f"{text!r} is no time")
    whole = datetime.fromisoformat(parts[1]).replace(tzinfo=timezone.utc)
    return whole.replace(microsecond=int((parts[2] or "").ljust(6, "0")[:6]))


def seconds(text: str) -> float:
    """Read a duration such as 1.5s."""
    return float(text.removesuffix("s"))


def _plain(value: Any) -> Any:
    if isinstance(value, Message):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value
