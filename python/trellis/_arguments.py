"""What a program that runs by hand is given: defaults in code and arguments such as --lr=1e-3."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from trellis._errors import Error
from trellis._parameters import Value


class Arguments:
    """The arguments of the form --name=value."""

    def __init__(self) -> None:
        # Of parameters, max_epochs and seed, as they were typed.
        self.texts: dict[str, str] = {}
        # --resume-from and --keep-checkpoints. Their hyphen keeps them apart from parameters.
        self.resume_from: str | None = None
        self.keep_checkpoints: str | None = None


def parse(arguments: Iterable[str]) -> Arguments:
    """Pick out the arguments --name=value. Others are the program's own; so is all that follows --."""
    parsed = Arguments()
    for argument in arguments:
        if argument == "--":
            break
        name, equals, text = argument.partition("=")
        if not equals or not name.startswith("--"):
            continue
        name = name[2:]
        if name == "resume-from":
            parsed.resume_from = text
        elif name == "keep-checkpoints":
            parsed.keep_checkpoints = text
        else:
            parsed.texts[name.replace("-", "_")] = text
    return parsed


def value_of(name: str, text: str, default: Value | None) -> Value:
    """Return the value of an argument, of the default's type if there is one."""
    guess: Any = text
    if text in ("true", "false"):
        guess = text == "true"
    else:
        try:
            number = json.loads(text, parse_constant=str)
            if isinstance(number, (int, float)) and math.isfinite(number):
                guess = number
        except ValueError:
            pass
    if default is None:
        return guess  # type: ignore[no-any-return]
    if isinstance(default, str):
        return text
    if isinstance(default, bool):
        if isinstance(guess, bool):
            return guess
        raise Error(f"invalid --{name}={text}: must be true or false")
    if isinstance(guess, bool) or not isinstance(guess, (int, float)):
        raise Error(f"invalid --{name}={text}: must be a number like {default}")
    if isinstance(default, float):
        return float(guess)
    if guess != int(guess):
        raise Error(f"invalid --{name}={text}: must be an integer like {default}")
    return int(guess)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Value]:
    """Give the values of nested mappings dotted names."""
    flat: dict[str, Value] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{name}."))
        elif isinstance(value, (bool, int, float, str)):
            flat[prefix + name] = value
        else:
            raise TypeError(
                f"default of {prefix + name!r} must be a number, an integer, a text or a boolean, "
                f"not {type(value).__name__}"
            )
    return flat


def apply(texts: Mapping[str, str], defaults: Mapping[str, Value] | None) -> dict[str, Value]:
    """Return the defaults, with what the arguments say instead. Without defaults, any name is a parameter."""
    known = {"max_epochs": 1, "seed": 1, **(defaults or {})}
    for name in texts:
        if defaults is None or name in known:
            continue
        import difflib  # Programs should start fast: it is only for this.

        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean --{near[0]}?" if near else f"there are {', '.join('--' + key for key in sorted(known))}"
        raise Error(f"unknown parameter --{name}: {hint}")
    return {**(defaults or {}), **{name: value_of(name, text, known.get(name)) for name, text in texts.items()}}
