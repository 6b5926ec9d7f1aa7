"""One attempt at a run, from the program's side: its epochs, reports, checkpoints, and how it is told to stop."""

from __future__ import annotations

import operator
import os
import re
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, SupportsFloat

from trellis import _arguments
from trellis._errors import Error
from trellis._parameters import Parameters, Value
from trellis._reports import Printed, ReportFile, Reports, numbers
from trellis._run import EXIT_AGAIN, Run, read_run

# The worker starts a program in its attempt's folder. The program may go elsewhere after this.
_started_in = Path.cwd()


class Attempt:
    """One attempt at a run. Given by a worker or, if `arguments` is set, started by hand."""

    def __init__(self, given: tuple[Run, Path] | None, arguments: _arguments.Arguments, folder: Path) -> None:
        self._given = given
        self._arguments = arguments
        self._folder = folder
        self._run: Run | None = None
        self._reports: Reports | None = None
        self._defaults: dict[str, Value] | None = None

        self._iterated = False
        # The epoch of the loop, if there is one.
        self._epoch: int | None = None
        # The last epoch that was reported.
        self._reported: int | None = None
        # The folder of the next report's checkpoint.
        self._checkpoint: Path | None = None
        self._checkpoint_epoch = 0
        # Those that were reported, oldest first.
        self._saved: list[Path] = []
        self.stopping = False

    @classmethod
    def start(cls, environment: Mapping[str, str], arguments: Sequence[str], folder: Path = _started_in) -> Attempt:
        """Return the attempt of this process."""
        if environment.get("TRELLIS_RUN"):
            return cls(read_run(environment), _arguments.Arguments(), folder)
        return cls(None, _arguments.parse(arguments), folder)

    def set_defaults(self, values: Mapping[str, Any]) -> Parameters:
        if self._run is not None or self._defaults is not None:
            raise RuntimeError("call trellis.defaults() once, before anything else of trellis")
        self._defaults = _arguments.flatten(values)
        return self.parameters

    @property
    def parameters(self) -> Parameters:
        return self.run.parameters

    @property
    def seed(self) -> int:
        return self.run.seed

    @property
    def max_epochs(self) -> int:
        return self._counted().max_epochs

    @property
    def resume_folder(self) -> Path | None:
        return self.run.resume_folder

    @property
    def run(self) -> Run:
        if self._run is None:
            self._run = self._of_worker(self._given[0]) if self._given else self._by_hand()
        return self._run

    def _of_worker(self, run: Run) -> Run:
        defaults = {key: value for key, value in (self._defaults or {}).items() if key not in ("max_epochs", "seed")}
        values = {**defaults, **run.parameters}
        for name, default in defaults.items():
            # JSON does not tell 1 from 1.0.
            if isinstance(default, float) and type(values[name]) is int:
                values[name] = float(values[name])
        return run._replace(parameters=Parameters(values))

    def _by_hand(self) -> Run:
        values = _arguments.apply(self._arguments.texts, self._defaults)
        seed, max_epochs = values.pop("seed", 1), values.pop("max_epochs", 0)
        if not isinstance(seed, int) or not isinstance(max_epochs, int):
            raise Error("seed and max_epochs must be integers")
        first, resume = 1, None
        if self._arguments.resume_from is not None:
            resume = Path(self._arguments.resume_from).absolute()
            epoch = re.fullmatch(r"epoch-(\d+)", resume.name)
            if epoch is None or not resume.is_dir():
                raise Error(
                    f"invalid --resume-from={self._arguments.resume_from}: must be a checkpoint's folder, epoch-NUMBER"
                )
            first = int(epoch[1]) + 1
        return Run("", "", 0, Parameters(values), seed, max_epochs, first, max_epochs, resume)

    def _counted(self) -> Run:
        """Return the run, which must know how many epochs it has."""
        if self.run.max_epochs < 1:
            raise Error(
                "how many epochs? No worker has started this program: run it with --max_epochs=10, "
                "or give a default, trellis.defaults(max_epochs=10)"
            )
        return self.run

    def epochs(self) -> Iterator[int]:
        run = self._counted()
        if self._iterated:
            raise RuntimeError("trellis.epochs() was called before: a program trains one run")
        self._iterated = True
        self._obey_signals()
        return self._each(run)

    def _each(self, run: Run) -> Iterator[int]:
        for epoch in range(run.first_epoch, run.last_epoch + 1):
            if self.stopping:
                raise SystemExit(EXIT_AGAIN)
            self._epoch = epoch
            yield epoch
            self._skip_to(epoch + 1)
        self._epoch = None

    def _obey_signals(self) -> None:
        # Python hands out signals in its main thread only. A handler of the program's own stays.
        if threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
            return
        signal.signal(signal.SIGTERM, self._on_sigterm)
        _end_forked_processes_by_sigterm()

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self.stopping = True
        if self._checkpoint is None and not self._saved and self._reported != self.run.last_epoch:
            raise SystemExit(EXIT_AGAIN)

    def report(self, metrics: Mapping[str, SupportsFloat], epoch: int | None) -> None:
        epoch = self._place(epoch)
        checked = numbers(metrics)
        folder = self._checkpoint
        if folder is not None and not any(folder.iterdir()):
            raise ValueError("the folder of trellis.checkpoint() is empty: save into it before trellis.report()")
        if folder is not None and self._checkpoint_epoch != epoch:
            raise ValueError(f"report of epoch {epoch}, but trellis.checkpoint() is of epoch {self._checkpoint_epoch}")
        self._skip_to(epoch)
        self._output().write(epoch, checked, folder)
        self._reported, self._checkpoint = epoch, None
        if folder is not None:
            self._saved.append(folder)
            if not self._arguments.keep_checkpoints:
                self._remove_old()

    def _remove_old(self) -> None:
        # The worker is done with a checkpoint when it has read the next one's report, and it may lag a little. It is
        # renamed first, so that the worker never finds half of it.
        import shutil

        for old in self._saved[:-2]:
            removed = old.with_name(f".removed-{old.name}")
            old.rename(removed)
            shutil.rmtree(removed, ignore_errors=True)
        del self._saved[:-2]

    def _skip_to(self, epoch: int) -> None:
        """Report the epochs before this one that were not: they have no metrics, but the worker counts them."""
        run = self.run
        for skipped in range(run.first_epoch if self._reported is None else self._reported + 1, epoch):
            self._output().write(skipped, {}, None)
            self._reported = skipped

    def _place(self, epoch: int | None) -> int:
        """Return the epoch that a report or checkpoint is of."""
        run = self._counted()
        if epoch is None:
            epoch = self._epoch
        if epoch is None:
            epoch = run.first_epoch if self._reported is None else self._reported + 1
        if isinstance(epoch, bool):
            raise TypeError("epoch must be an integer, not bool")
        epoch = operator.index(epoch)
        if self._reported is not None and epoch <= self._reported:
            raise ValueError(f"epoch {epoch} after epoch {self._reported}: report each epoch once, in order")
        if not run.first_epoch <= epoch <= run.last_epoch:
            raise ValueError(f"no epoch {epoch}: this run has epochs {run.first_epoch} to {run.last_epoch}")
        return epoch

    def checkpoint(self, epoch: int | None) -> Path:
        if self._checkpoint is None:
            self._checkpoint_epoch = self._place(epoch)
            self._checkpoint = self._output().folder(self._checkpoint_epoch)
        elif epoch is not None and epoch != self._checkpoint_epoch:
            raise ValueError(f"report epoch {self._checkpoint_epoch} before a checkpoint of epoch {epoch}")
        return self._checkpoint

    def _output(self) -> Reports:
        if self._reports is None:
            if self._given:
                self._reports = ReportFile(self._given[1], self._folder)
            else:
                self._reports = Printed(self.run.last_epoch, self._arguments.keep_checkpoints)
        return self._reports


def _end_forked_processes_by_sigterm() -> None:
    """Let SIGTERM end the processes that this one forks: pools and data loaders end theirs by it.

    Python drops a signal that reaches the new process before its handlers are in order, so it is blocked until then.
    """
    if not hasattr(os, "register_at_fork"):
        return
    before = threading.local()

    def block() -> None:
        before.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def restore() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before.mask)

    def restore_in_child() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        restore()

    os.register_at_fork(before=block, after_in_parent=restore, after_in_child=restore_in_child)
