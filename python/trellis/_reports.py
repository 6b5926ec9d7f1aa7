"""Where reports go: the worker's file, or standard output for a program that runs by hand."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, SupportsFloat

# What workers accept.
_MOST_METRICS = 100
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]{0,62}")
# What else a report has.
_RESERVED = frozenset({"epoch", "checkpoint"})


class Reports(Protocol):
    """Takes the reports of one attempt."""

    def folder(self, epoch: int) -> Path:
        """Make an empty folder for a checkpoint."""
        ...

    def write(self, epoch: int, metrics: Mapping[str, float], checkpoint: Path | None) -> None:
        """Write one report, at once."""


def numbers(metrics: Mapping[str, SupportsFloat]) -> dict[str, float]:
    """Check the metrics of a report, and make numbers of them."""
    if len(metrics) > _MOST_METRICS:
        raise ValueError(f"{len(metrics)} metrics: a report can have at most {_MOST_METRICS}")
    checked = {}
    for name, value in metrics.items():
        if not isinstance(name, str):
            raise TypeError(f"name of a metric must be a text, not {type(name).__name__}")
        if name in _RESERVED:
            raise ValueError(f"a metric can't be named {name!r}: reports have that field themselves")
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"invalid name of a metric, {name!r}: must have at most 63 letters, digits and characters of _ . / -, and "
                "begin with a letter or _"
            )
        checked[name] = _number(name, value)
    return checked


def _number(name: str, value: SupportsFloat) -> float:
    what = type(value).__name__
    shape = getattr(value, "shape", None)
    if shape is not None:
        what += f" of shape {tuple(shape)}"
    if value is None:
        raise TypeError(f"metric {name!r} must be a number, not None: leave out what was not measured in this epoch")
    if isinstance(value, (str, bytes, bytearray)):
        raise TypeError(f"metric {name!r} must be a number, not {what} {value!r}")
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:  # PyTorch raises RuntimeError for tensors of many elements.
        raise TypeError(f"metric {name!r} must be a number, not {what}: {error}") from error
    except OverflowError:
        return math.copysign(math.inf, 1 if value > 0 else -1)  # type: ignore[operator]  # A huge int.


class ReportFile:
    """The file that a worker reads: one line of JSON for each report."""

    def __init__(self, path: Path, attempt_folder: Path) -> None:
        self._path = path
        self._attempt_folder = attempt_folder
        self._descriptor = -1

    def folder(self, epoch: int) -> Path:
        return _new_folder(self._attempt_folder / "trellis-checkpoints", epoch)

    def write(self, epoch: int, metrics: Mapping[str, float], checkpoint: Path | None) -> None:
        line: dict[str, object] = {"epoch": epoch}
        # JSON has no word for these.
        line.update({name: value if math.isfinite(value) else _word(value) for name, value in metrics.items()})
        if checkpoint is not None:
            line["checkpoint"] = os.path.relpath(checkpoint, self._attempt_folder)
        if self._descriptor < 0:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        # One write, without a buffer: the worker sees whole lines, and what is reported survives a crash of the program.
        data = (json.dumps(line, allow_nan=False) + "\n").encode()
        while data:
            data = data[os.write(self._descriptor, data) :]


class Printed:
    """Reports on standard output, of a program that runs by hand."""

    def __init__(self, last_epoch: int, keep: str | None) -> None:
        self._last_epoch = last_epoch
        self._root = Path(keep).absolute() if keep else None
        self._temporary = keep is None

    def folder(self, epoch: int) -> Path:
        if self._root is None:
            import shutil
            import tempfile
            import weakref

            self._root = Path(tempfile.mkdtemp(prefix="trellis-"))
            weakref.finalize(self, shutil.rmtree, self._root, ignore_errors=True)
        return _new_folder(self._root, epoch)

    def write(self, epoch: int, metrics: Mapping[str, float], checkpoint: Path | None) -> None:
        line = f"epoch {epoch}/{self._last_epoch}"
        line += "".join(f" {name}={value:.6g}" for name, value in metrics.items())
        if checkpoint is not None and not self._temporary:
            line += f" checkpoint={os.path.relpath(checkpoint)}"
        print(line, flush=True)


def _word(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _new_folder(parent: Path, epoch: int) -> Path:
    folder = parent / f"epoch-{epoch}"
    if folder.exists():
        import shutil

        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder
