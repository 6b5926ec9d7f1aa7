"""Trellis in Python: train one run of a study in a program, or talk to a coordinator.

A client submits studies, watches them and reads their results: see `Client` and, for asyncio, `AsyncClient`.

    with trellis.Client("http://localhost:8080") as client:
        study = client.submit("study.yaml")
        client.wait(study)
        frame = client.trials(study).to_pandas()

A program trains one run of a study:

    import trellis

    parameters = trellis.defaults(lr=1e-3, optimizer="adam", max_epochs=10)
    model = Model(parameters.lr, parameters.optimizer, seed=trellis.seed)
    if trellis.resume_folder:
        model.load(trellis.resume_folder / "model.pt")
    for epoch in trellis.epochs():
        model.train()
        model.save(trellis.checkpoint() / "model.pt")
        trellis.report(val_acc=model.accuracy())

A worker of Trellis starts the program once for each run, with the parameters of one point of the grid, and reads its
reports. Without a worker the same program runs by hand: parameters come from `defaults` and from arguments such as
`--lr=1e-2`, and reports are printed.

What is read of the run:

- `parameters`: the parameters, by attribute (`parameters.lr`) or name (`parameters["optimizer.lr"]`).
- `seed`: the seed of the run, an integer. By hand: `--seed=1`, default 1.
- `max_epochs`: for how many epochs the trial trains, for example to plan a learning rate. By hand: `--max_epochs=10`.
- `resume_folder`: the folder of the checkpoint to resume from, a `pathlib.Path`, or None. By hand:
  `--resume-from=FOLDER`.
- `stopping`: whether the program has been told to stop (SIGTERM) and ends after this epoch.
- `run`: all of it, and the names of the study and the run: see `Run`.

docs/programs.md of Trellis describes the protocol, and docs/python.md the client.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsFloat

from trellis._attempt import Attempt
from trellis._errors import (
    APIError,
    AuthenticationError,
    Error,
    ExistsError,
    FieldProblem,
    InvalidError,
    NotFoundError,
    PermissionDeniedError,
    StateError,
    UnavailableError,
)
from trellis._parameters import Parameters
from trellis._run import EXIT_AGAIN, Objective, Run

if TYPE_CHECKING:
    from trellis import api
    from trellis._actions import Best, Update
    from trellis._async_client import AsyncClient
    from trellis._client import Client
    from trellis._iterate import AsyncListing, AsyncStream, AsyncTrials, Listing, Stream, Trials

__all__ = [
    "EXIT_AGAIN",
    "APIError",
    "AsyncClient",
    "AsyncListing",
    "AsyncStream",
    "AsyncTrials",
    "AuthenticationError",
    "Best",
    "Client",
    "Error",
    "ExistsError",
    "FieldProblem",
    "InvalidError",
    "Listing",
    "NotFoundError",
    "Objective",
    "Parameters",
    "PermissionDeniedError",
    "Run",
    "StateError",
    "Stream",
    "Trials",
    "UnavailableError",
    "Update",
    "api",
    "checkpoint",
    "defaults",
    "epochs",
    "max_epochs",
    "parameters",
    "report",
    "resume_folder",
    "run",
    "seed",
    "stopping",
]

# These are read when they are first used, by __getattr__, so that defaults can be given before.
parameters: Parameters
seed: int
max_epochs: int
resume_folder: Path | None
stopping: bool
run: Run

_attempt: Attempt | None = None


def _current() -> Attempt:
    global _attempt
    if _attempt is None:
        _attempt = Attempt.start(os.environ, sys.argv[1:])
    return _attempt


def defaults(values: Mapping[str, Any] | None = None, /, **more: Any) -> Parameters:
    """Give the parameters that the study's grid, or an argument, does not name. Returns all parameters.

    A nested parameter is a mapping or has a dotted name: `defaults(optimizer={"lr": 0.1})` and
    `defaults({"optimizer.lr": 0.1})` are the same. `max_epochs` and `seed` are what a run by hand has; a worker always
    gives both. A parameter whose default is a float is a float, also if the grid has `1`.

    Call it once, before anything else of this module. By hand, an argument `--name=value` must name one of the defaults
    then, and its value must be of that default's type.
    """
    return _current().set_defaults({**(values or {}), **more})


def epochs() -> Iterator[int]:
    """Return the epochs to train: 1, 2, ... or, where the run resumes, the epoch after its checkpoint and so on.

    A program that was told to stop (SIGTERM) ends by `SystemExit(75)`, which hands the run back: what follows the loop
    is not executed, but `finally` and `with` are. If the program has made a checkpoint, it ends in the loop, once the
    epoch that it trains has been reported; else there is nothing to save and it ends at once. The worker kills it when
    the grace period of the spec is over. A second SIGTERM ends it at once in any case.

    Train all of these epochs. Early stopping is for the worker to decide: see `early_stopping` in a spec.
    """
    return _current().epochs()


def report(
    metrics: Mapping[str, SupportsFloat] | None = None, /, *, epoch: int | None = None, **more: SupportsFloat
) -> None:
    """Report the metrics of one epoch: `report(val_acc=0.91, loss=0.3)`, once for each epoch.

    The epoch is that of the loop over `epochs()`. Without that loop it is the one after the last one reported, or
    `epoch`. A metric is a number or what `float()` makes one of: a scalar of NumPy, PyTorch or JAX. Names that are not
    identifiers go into a mapping: `report({"val/acc": 0.91})`. NaN and infinities are kept as they are, and never
    best.

    An epoch without a report has no metrics, so a program may evaluate every fifth epoch alone. If `checkpoint()` was
    called since the last report, that folder is this epoch's checkpoint.

    Raises TypeError for what is no number, and ValueError for an epoch that was reported already or is not to be
    trained.
    """
    _current().report({**(metrics or {}), **more}, epoch)


def checkpoint(*, epoch: int | None = None) -> Path:
    """Return a new, empty folder for a checkpoint of this epoch: what is needed to resume after it.

    Save into it, then `report()` the epoch, which hands it to the worker. Don't change it after that. Calls between
    two reports return the same folder, so that several files can be saved into it. The epoch is found as for
    `report()`.

    Folders of earlier checkpoints are removed when they are no longer needed. By hand, `--keep-checkpoints=FOLDER`
    keeps all of them there; else they are deleted when the program ends.
    """
    return _current().checkpoint(epoch)


if not TYPE_CHECKING:
    # Programs should start fast, and need no client.
    _LATER = {
        "api": "api",
        "AsyncClient": "_async_client",
        "Client": "_client",
        **dict.fromkeys(("Best", "Update"), "_actions"),
        **dict.fromkeys(("AsyncListing", "AsyncStream", "AsyncTrials", "Listing", "Stream", "Trials"), "_iterate"),
    }

    def __getattr__(name: str) -> object:
        if name in _LATER:
            import importlib

            module = importlib.import_module(f"trellis.{_LATER[name]}")
            return module if name == "api" else getattr(module, name)
        if name in ("parameters", "seed", "max_epochs", "resume_folder", "stopping", "run"):
            return getattr(_current(), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
