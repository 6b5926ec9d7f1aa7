"""Trials as columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trellis._message import scalar

# The columns before the parameters, between them and the metrics, and after these.
FIRST = ("index", "state")
MIDDLE = ("max_epochs", "seed", "objective", "best_epoch", "epochs", "test_loss")
LAST = ("train_loss", "validation_loss", "run", "error")
FIXED = frozenset({*FIRST, *MIDDLE, *LAST})
_STATE = "TRIAL_STATE_"


class _Column:
    """One column. Trials that have no value have None."""

    def __init__(self, missing: Any = None) -> None:
        self.values: list[Any] = []
        self._missing = missing

    def put(self, at: int, value: Any) -> None:
        self.fill(at)
        self.values.append(value)

    def fill(self, length: int) -> None:
        if len(self.values) < length:
            self.values.extend([self._missing] * (length - len(self.values)))

    def unified(self) -> list[Any]:
        """Return the values of one type: whole numbers among other numbers are written as these."""
        kinds = {type(value) for value in self.values if value is not None}
        if kinds == {int, float}:
            return [value if value is None else float(value) for value in self.values]
        return self.values


def columns(pages: Iterable[list[dict[str, Any]]]) -> dict[str, list[Any]]:
    """Return the columns of trials, which are as in JSON."""
    fixed = {name: _Column() for name in (*FIRST, *MIDDLE, *LAST)}
    # What JSON leaves out where it is 0.
    for name in ("index", "max_epochs", "seed", "best_epoch", "epochs"):
        fixed[name] = _Column(0)
    parameters: dict[str, _Column] = {}
    metrics: dict[str, _Column] = {}
    count = 0
    for page in pages:
        for trial in page:
            _add(trial, count, fixed, parameters, metrics)
            count += 1
    for column in (*fixed.values(), *parameters.values(), *metrics.values()):
        column.fill(count)
    for name in ("test_loss", "train_loss", "validation_loss"):
        if all(value is None for value in fixed[name].values):
            del fixed[name]
    table = {name: fixed[name].values for name in FIRST}
    taken = {*FIXED}
    table.update((_named("parameter", name, taken), parameters[name].unified()) for name in sorted(parameters))
    table.update((name, fixed[name].values) for name in MIDDLE if name in fixed)
    table.update((_named("metric", name, taken), metrics[name].values) for name in sorted(metrics))
    table.update((name, fixed[name].values) for name in LAST if name in fixed)
    return table


def _named(kind: str, name: str, taken: set[str]) -> str:
    """Return the name of a column: with its kind before it as often as it takes for one that is not taken. Then it is."""
    while name in taken:
        name = f"{kind}.{name}"
    taken.add(name)
    return name


def _add(
    trial: Mapping[str, Any],
    at: int,
    fixed: Mapping[str, _Column],
    parameters: dict[str, _Column],
    metrics: dict[str, _Column],
) -> None:
    fixed["index"].put(at, int(trial.get("index", 0)))
    fixed["state"].put(at, trial.get("state", _STATE + "UNSPECIFIED").removeprefix(_STATE).lower())
    point = trial.get("parameters", {})
    for name, value in point.get("values", {}).items():
        parameters.setdefault(name, _Column()).put(at, scalar(value))
    for name in ("max_epochs", "seed"):
        fixed[name].put(at, int(point.get(name, 0)))
    for name in ("best_epoch", "epochs"):
        fixed[name].put(at, int(trial.get(name, 0)))
    for name in ("objective", "test_loss"):
        if name in trial:
            fixed[name].put(at, float(trial[name]))
    for name in ("train_loss", "validation_loss"):
        if name in trial:
            fixed[name].put(at, [float(loss) for loss in trial[name]])
    for prefix, key in (("", "metrics"), ("test_", "test_metrics")):
        for name, value in trial.get(key, {}).items():
            metrics.setdefault(prefix + name, _Column()).put(at, float(value))
    fixed["run"].put(at, trial.get("run", ""))
    if error := trial.get("error"):
        fixed["error"].put(at, error)
