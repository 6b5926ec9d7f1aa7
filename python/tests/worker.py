"""The worker's side of the protocol, as far as the tests of a program need it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import unittest
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent.parent


class Attempt:
    """One attempt's folder, with its run and reports."""

    def __init__(self, root: Path, **run: Any) -> None:
        self.root = root
        self.work = root / "work"
        self.work.mkdir()
        self.reports = root / "reports"
        self.reports.touch()
        self.run = {
            "study": "tests",
            "run": "r1",
            "attempt": 7,
            "parameters": {"lr": 0.001, "optimizer": "adam", "amp": True, "optimizer.beta": 0.9},
            "seed": 3,
            "max_epochs": 4,
            "first_epoch": 1,
            "last_epoch": 4,
            "resume": None,
            "reports": str(self.reports),
            "objective": {"metric": "val_acc", "direction": "maximize"},
            **run,
        }
        (root / "run.json").write_text(json.dumps(self.run))

    def environment(self) -> dict[str, str]:
        return {
            "TRELLIS_RUN": str(self.root / "run.json"),
            "TRELLIS_REPORTS": str(self.reports),
            "TRELLIS_SEED": str(self.run["seed"]),
        }

    def start(self, program: str, *arguments: str, by_hand: bool = False) -> subprocess.Popen[str]:
        """Start a program, its text, in the attempt's folder."""
        return start(program, *arguments, folder=self.work, environment={} if by_hand else self.environment())

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.reports.read_text().splitlines()]


def start(
    program: str, *arguments: str, folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRELLIS_")}
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(PACKAGE), "PYTHONDONTWRITEBYTECODE": "1", **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class Case(unittest.TestCase):
    """A test with a folder of its own."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name).resolve()

    def attempt(self, **run: Any) -> Attempt:
        root = self.root / f"attempt-{len(list(self.root.iterdir()))}"
        root.mkdir()
        return Attempt(root, **run)

    def end(self, process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
        """Wait for a program, which must exit with this code. Returns what it wrote."""
        try:
            output, errors = process.communicate(timeout=60)
        finally:
            process.kill()
        self.assertEqual(process.returncode, code, output + errors)
        return output, errors

    def wait(self, what: Callable[[], object]) -> None:
        until = time.monotonic() + 60
        while not what():
            self.assertLess(time.monotonic(), until, "waited for a minute")
            time.sleep(0.01)
