"""Parameters: a mapping from names to values, with dots for nesting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Value = bool | int | float | str


class Parameters(Mapping[str, Any]):
    """The parameters of a run.

    `parameters.lr` and `parameters["lr"]` are the value of `lr`; `parameters.optimizer.lr`,
    `parameters["optimizer.lr"]` and `parameters["optimizer"]["lr"]` are that of `optimizer.lr`. As a mapping it has
    the full names: `dict(parameters)` is `{"lr": 0.1, "optimizer.lr": 0.1}`. A parameter that has the name of a method
    (`keys`, `values`, `items`, `get`) is `parameters["keys"]`.
    """

    __slots__ = ("_prefix", "_values")
    _values: Mapping[str, Value]
    _prefix: str

    def __init__(self, values: Mapping[str, Value], prefix: str = "") -> None:
        object.__setattr__(self, "_values", dict(values))
        object.__setattr__(self, "_prefix", prefix)

    def _find(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        inside = {key[len(name) + 1 :]: value for key, value in self._values.items() if key.startswith(name + ".")}
        if inside:
            return Parameters(inside, f"{self._prefix}{name}.")
        import difflib  # Programs should start fast: it is only for this.

        message = f"no parameter {self._prefix + name!r}"
        if not self._prefix and name in ("max_epochs", "seed"):
            message += f": it is trellis.{name}"
        elif near := difflib.get_close_matches(name, self._values, 1):
            message += f": did you mean {self._prefix + near[0]!r}?"
        elif self._values:
            message += f": there are {', '.join(self._prefix + key for key in sorted(self._values))}"
        else:
            message += ": there are none"
        raise KeyError(message)

    def __getitem__(self, name: str) -> Any:
        return self._find(name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)  # Copying and pickling ask for methods that there are not.
        try:
            return self._find(name)
        except KeyError as error:
            raise AttributeError(error.args[0]) from None

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("parameters can't be changed: the study says what they are")

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return name in self._values or any(key.startswith(f"{name}.") for key in self._values)

    def __repr__(self) -> str:
        return f"Parameters({dict(self._values)!r})"

    def __reduce__(self) -> tuple[type[Parameters], tuple[dict[str, Value], str]]:
        return Parameters, (dict(self._values), self._prefix)
