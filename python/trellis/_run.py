"""The run that a program trains: what the worker says of it in the file that TRELLIS_RUN names."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from trellis._errors import Error
from trellis._parameters import Parameters

# By this exit code a program hands its run back unfinished: it goes on elsewhere, from its last checkpoint. It is
# EX_TEMPFAIL of sysexits.h.
EXIT_AGAIN = 75


class Objective(NamedTuple):
    """What trials are ranked by."""

    metric: str
    # "minimize" or "maximize".
    direction: str


class Run(NamedTuple):
    """One run, as a worker gives it to a program."""

    # Names for logs and dashboards: a study, a run of it, and which attempt at the run this is. Empty and 0 by hand.
    study: str
    id: str
    attempt: int
    parameters: Parameters
    seed: int
    # For how many epochs the trial trains; without `prefix: true` this is last_epoch.
    max_epochs: int
    # The epochs to train, both included, counted from 1.
    first_epoch: int
    last_epoch: int
    # The folder of the checkpoint after epoch first_epoch - 1, if the run resumes.
    resume_folder: Path | None = None
    # None by hand.
    objective: Objective | None = None


def read_run(environment: Mapping[str, str]) -> tuple[Run, Path]:
    """Read the file that TRELLIS_RUN names. Returns the run and the file that reports go to."""
    path = environment["TRELLIS_RUN"]
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        return _decode(content), Path(environment.get("TRELLIS_REPORTS") or content["reports"])
    except OSError as error:
        raise Error(f"can't read the run that TRELLIS_RUN names: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise Error(
            f"{path}, which TRELLIS_RUN names, is no run of a worker: {type(error).__name__}: {error}"
        ) from error


def _decode(content: Any) -> Run:
    if not isinstance(content, dict):
        raise TypeError(f"must be an object, not {type(content).__name__}")
    # Fields of newer workers are ignored.
    objective = content.get("objective") or None
    resume = content.get("resume") or None
    return Run(
        study=str(content["study"]),
        id=str(content["run"]),
        attempt=int(content["attempt"]),
        parameters=Parameters(content["parameters"]),
        seed=int(content["seed"]),
        max_epochs=int(content["max_epochs"]),
        first_epoch=int(content["first_epoch"]),
        last_epoch=int(content["last_epoch"]),
        resume_folder=Path(os.path.abspath(resume)) if resume else None,
        objective=Objective(str(objective["metric"]), str(objective["direction"])) if objective else None,
    )
