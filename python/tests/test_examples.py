"""The programs of examples/programs, under the worker's side of the protocol."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from typing import Any

import worker

EXAMPLES = worker.PACKAGE.parent / "examples" / "programs"


class Example:
    """One example: its spec, as far as it is needed here."""

    def __init__(self, name: str) -> None:
        self.folder = EXAMPLES / name
        spec = (self.folder / "spec.yaml").read_text()
        command = re.search(r"^  command: \[(.*?)\](?: *#.*)?$", spec, re.MULTILINE)
        assert command is not None
        self.command = next(csv.reader([command[1]], skipinitialspace=True))
        pattern = re.search(r"^  reports: \{pattern: '(.*)'\}$", spec, re.MULTILINE)
        self.pattern = re.compile(pattern[1]) if pattern else None

    def train(self, attempt: worker.Attempt) -> list[dict[str, Any]]:
        """Train in an attempt's folder. Returns what is reported."""
        shutil.copytree(self.folder, attempt.work, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        run = attempt.run
        texts = {name: json.dumps(v) if not isinstance(v, str) else v for name, v in run["parameters"].items()}
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TRELLIS_")},
            **attempt.environment(),
            **{f"TRELLIS_PARAM_{name.upper()}": text for name, text in texts.items()},
            "TRELLIS_FIRST_EPOCH": str(run["first_epoch"]),
            "TRELLIS_LAST_EPOCH": str(run["last_epoch"]),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(worker.PACKAGE),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        if run["resume"]:
            environment["TRELLIS_RESUME"] = run["resume"]
        texts.update(seed=str(run["seed"]), max_epochs=str(run["max_epochs"]))
        command = [re.sub(r"\{(\w+)\}", lambda name: texts[name[1]], argument) for argument in self.command]
        if command[0] == "python3":
            command[0] = sys.executable
        ended = subprocess.run(
            command, cwd=attempt.work, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        if ended.returncode != 0:
            raise AssertionError(f"{command}: exit code {ended.returncode}\n{ended.stdout}{ended.stderr}")
        if self.pattern is None:
            return attempt.lines()
        matches = [match for line in ended.stdout.splitlines() if (match := self.pattern.search(line))]
        return [{name: float(text) for name, text in match.groupdict().items()} for match in matches]


class Examples(worker.Case):
    def resumes(self, example: Example, metric: str, maximize: bool, **parameters: Any) -> None:
        """A run that resumes after its second epoch reports the same, bit for bit, as one that was never interrupted."""
        whole = example.train(self.attempt(parameters=parameters))
        self.assertEqual([line["epoch"] for line in whole], [1, 2, 3, 4])
        values = [line[metric] for line in whole]
        self.assertGreater(max(values) if maximize else -min(values), values[0] if maximize else -values[0])

        first = self.attempt(parameters=parameters, last_epoch=2)
        lines = example.train(first)
        resume = self.root / "resume"
        shutil.copytree(first.work / lines[-1]["checkpoint"], resume)
        second = self.attempt(parameters=parameters, first_epoch=3, resume=str(resume))
        without = [{key: v for key, v in line.items() if key != "checkpoint"} for line in whole]
        resumed = [{key: v for key, v in line.items() if key != "checkpoint"} for line in lines + example.train(second)]
        self.assertEqual(resumed, without)

    def needs(self, *modules: str) -> None:
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        if missing:
            self.skipTest(f"not installed: {', '.join(missing)}")

    def test_python(self) -> None:
        lines = Example("python").train(self.attempt(parameters={"lr": 0.1, "degree": 2}))
        self.assertEqual([line["epoch"] for line in lines], [1, 2, 3, 4])
        self.assertGreater(lines[-1]["val_acc"], 0.9)

    def test_command(self) -> None:
        lines = Example("command").train(self.attempt(parameters={"lr": 0.01, "frequencies": 3}))
        self.assertEqual([line["epoch"] for line in lines], [1, 2, 3, 4])
        self.assertLess(lines[-1]["loss"], lines[0]["loss"])

    def test_shell(self) -> None:
        self.resumes(Example("shell"), "loss", False, rate=0.1, momentum=0.5)

    def test_compiled(self) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            self.skipTest("no C compiler (cc)")
        # As spec.yaml says, but beside the sources.
        build = self.root / "build"
        shutil.copytree(EXAMPLES / "compiled", build)
        flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-o", "train", "train.c", "-lm"]
        subprocess.run([compiler, *flags], cwd=build, check=True)
        example = Example("compiled")
        example.folder = build
        self.resumes(example, "val_loss", False, rate=0.03, units=16)

    def test_sklearn(self) -> None:
        self.needs("sklearn", "joblib")
        self.resumes(Example("sklearn"), "val_loss", False, lr=0.001, units=16, activation="relu")

    def test_xgboost(self) -> None:
        self.needs("sklearn", "xgboost")
        lines = Example("xgboost").train(self.attempt(parameters={"eta": 0.3, "max_depth": 3, "subsample": 1.0}))
        self.assertEqual([line["epoch"] for line in lines], [1, 2, 3, 4])
        self.assertLess(lines[-1]["val_loss"], lines[0]["val_loss"])

    def test_torch(self) -> None:
        self.needs("torch", "sklearn")
        self.resumes(Example("torch"), "val_acc", True, lr=0.01, optimizer="adam", amp=False)
