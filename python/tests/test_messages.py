"""Messages of the API, tables of trials, and specs as a client reads them."""

from __future__ import annotations

import copy
import inspect
import json
import math
import pickle
import subprocess
import sys
import tempfile
import unittest
from datetime import datetime, timezone
from pathlib import Path
from unittest import mock

import worker

import trellis
from trellis import _folder, _frames, _iterate, _message, _spec, api

TRIAL = {
    "index": "18446744073709551615",
    "state": "TRIAL_STATE_DIVERGED",
    "objective": "NaN",
    "parameters": {
        "max_epochs": 3,
        "seed": 1,
        "values": {
            "lr": {"number": "Infinity"},
            "n": {"integer": "-7"},
            "opt": {"text": ""},
            "amp": {"boolean": False},
        },
    },
    "train_loss": [1, "-Infinity"],
    "metrics": {"acc": 0.5, "state": 1},
    "of a newer coordinator": {},
}


class Messages(unittest.TestCase):
    def test_a_trial(self) -> None:
        trial = api.Trial.from_json(TRIAL)
        self.assertEqual((trial.index, trial.state, trial.best_epoch, trial.error), (2**64 - 1, "diverged", 0, ""))
        self.assertTrue(trial.objective is not None and math.isnan(trial.objective))
        self.assertIsNone(trial.test_loss)
        self.assertEqual(
            dict(trial.parameters),
            {"lr": math.inf, "n": -7, "opt": "", "amp": False, "max_epochs": 3, "seed": 1},
        )
        self.assertIs(trial.parameters.amp, False)
        self.assertEqual(trial.train_loss, (1.0, -math.inf))
        self.assertEqual(api.Trial().parameters, trellis.Parameters({}))

    def test_other_kinds(self) -> None:
        study = api.Study.from_json(
            {"create_time": "2026-11-28T20:51:58.287123456Z", "state": "STUDY_STATE_UNSPECIFIED"}
        )
        self.assertEqual(study.create_time, datetime(2026, 11, 28, 20, 51, 58, 287123, timezone.utc))
        self.assertIsNone(study.state)
        half = api.Study.from_json({"end_time": "2026-11-28T20:51:58.5Z"}).end_time
        self.assertEqual(half and half.microsecond, 500000)
        self.assertEqual(api.Budget.from_json({"time": "1.5s"}).time, 1.5)
        self.assertEqual(api.Range.from_json({"from": 1}).from_, 1.0)
        self.assertEqual(api.GetOutputResponse.from_json({"data": "aGk="}).data, b"hi")

    def test_they_are_values(self) -> None:
        trial = api.Trial(index=3, metrics={"acc": 0.5})
        self.assertEqual(trial, api.Trial.from_json({"index": "3", "metrics": {"acc": 0.5}}))
        self.assertNotEqual(trial, api.Trial(index=3))
        self.assertEqual(pickle.loads(pickle.dumps(trial)), trial)
        self.assertEqual(copy.deepcopy(trial), trial)
        self.assertEqual(trial.to_dict(), {"index": 3, "metrics": {"acc": 0.5}})
        self.assertEqual(repr(api.Trial(index=3)), "Trial(index=3)")
        with self.assertRaises(AttributeError):
            trial.index = 4  # type: ignore[misc]
        with self.assertRaisesRegex(TypeError, "no member 'indx'"):
            api.Trial(indx=3)  # type: ignore[call-arg]

    def test_all_can_be_read(self) -> None:
        read = 0
        for name in api.__all__:
            kind = getattr(api, name)
            if inspect.isclass(kind) and issubclass(kind, _message.Message) and kind is not _message.Message:
                self.assertEqual(kind.from_json({}), kind())
                read += 1
        self.assertGreater(read, 100)

    def test_both_clients_have_the_same_calls(self) -> None:
        for name, method in inspect.getmembers(trellis.Client, inspect.isfunction):
            if name.startswith("_") or name == "close":
                continue
            other = getattr(trellis.AsyncClient, name)
            self.assertEqual(inspect.signature(method).parameters, inspect.signature(other).parameters, name)
            self.assertEqual(method.__doc__, other.__doc__, name)
            waits = "Listing" in str(method.__annotations__["return"]) or method.__annotations__["return"].startswith(
                ("Stream", "Trials")
            )
            self.assertEqual(inspect.iscoroutinefunction(other), not waits, name)

    def test_programs_start_without_the_client(self) -> None:
        text = (
            "import sys, trellis; sys.exit(str([m for m in ('http.client', 'ssl', 'trellis.api') if m in sys.modules]))"
        )
        with tempfile.TemporaryDirectory() as folder:
            program = worker.start(text, folder=Path(folder))
            self.assertEqual(program.communicate(timeout=60)[1], "[]\n")


class Tables(unittest.TestCase):
    def test_a_table_needs_its_package_before_it_reads(self) -> None:
        for name, make in {"pandas": _iterate.to_pandas, "polars": _iterate.to_polars}.items():
            with mock.patch.dict(sys.modules, {name: None}), self.assertRaises(ModuleNotFoundError) as raised:
                make(lambda: self.fail("read"))
            self.assertIsInstance(raised.exception, trellis.Error)
            self.assertIn(f"pip install {name}", str(raised.exception))

    def test_columns(self) -> None:
        other = {
            "parameters": {"values": {"lr": {"integer": "1"}}},
            "objective": 2,
            "error": "x",
            "test_metrics": {"acc": 1},
        }
        table = _frames.columns([[TRIAL], [other]])
        self.assertEqual(
            list(table),
            ["index", "state", "amp", "lr", "n", "opt", "max_epochs", "seed", "objective", "best_epoch", "epochs"]
            + ["acc", "metric.state", "test_acc", "train_loss", "run", "error"],
        )
        self.assertEqual(table["state"], ["diverged", "unspecified"])
        self.assertEqual(table["lr"], [math.inf, 1.0])
        self.assertIsInstance(table["lr"][1], float)
        self.assertEqual(table["n"], [-7, None])
        self.assertEqual(table["seed"], [1, 0])
        self.assertEqual(table["test_acc"], [None, 1.0])
        self.assertEqual(table["error"], [None, "x"])
        self.assertEqual({len(column) for column in table.values()}, {2})

    def test_none(self) -> None:
        self.assertEqual(
            set(_frames.columns([]).keys()), _frames.FIXED - {"test_loss", "train_loss", "validation_loss"}
        )

    def test_a_parameter_with_the_name_of_a_column(self) -> None:
        # All columns are there, whatever they are called.
        values = {"v": {"number": 1}, "metric.v": {"number": 2}, "metric.state": {"number": 3}}
        metrics = {"v": 4, "state": 5, "metric.state": 6, "metric.metric.v": 7}
        table = _frames.columns([[{"parameters": {"values": values}, "metrics": metrics}]])
        found = sorted(column[0] for name, column in table.items() if name == "v" or "metric." in name)
        self.assertEqual(found, [1, 2, 3, 4, 5, 6, 7])
        table = _frames.columns([[{"parameters": {"values": {"state": {"text": "x"}}}, "metrics": {"index": 1}}]])
        self.assertEqual((table["parameter.state"], table["metric.index"]), (["x"], [1.0]))


class Specs(unittest.TestCase):
    def test_axes(self) -> None:
        for given, want in (
            ([1, 2], {"integers": [1, 2]}),
            ((1, 0.5), {"numbers": [1, 0.5]}),
            (range(2), {"integers": [0, 1]}),
            ([True], {"booleans": [True]}),
            ("adam", {"texts": ["adam"]}),
            ({"log2": {"from": 4, "to": 8, "count": 2}}, {"log2": {"from": 4, "to": 8, "count": 2}}),
        ):
            self.assertEqual(_spec.axis(given), want)
        for wrong in ([1, "a"], [True, 1], [None]):
            with self.assertRaises(TypeError):
                _spec.axis(wrong)
        with self.assertRaisesRegex(trellis.Error, "NaN"):
            _spec.axis([math.nan])

    def test_budgets(self) -> None:
        self.assertEqual(_spec.budget({"trials": 5, "time": "1h30m"}), {"trials": 5, "time": "5400s"})
        self.assertEqual(_spec.budget({"time": 0.5}), {"time": "0.5s"})
        for wrong in ("8 hours", "", True):
            with self.assertRaisesRegex(trellis.Error, "invalid time"):
                _spec.budget({"time": wrong})

    def test_texts_and_paths(self) -> None:
        self.assertEqual(_spec.read("{name: x}"), ("{name: x}", "spec"))
        self.assertEqual(json.loads(_spec.read({"grid": {"lr": (1, 2)}}).text), {"grid": {"lr": [1, 2]}})
        for missing in ("not-there.yaml", Path("not-there")):
            with self.assertRaisesRegex(trellis.Error, "can't read the spec: .*not-there"):
                _spec.read(missing)


class Folders(worker.Case):
    def test_what_is_left_out(self) -> None:
        (self.root / ".trellisignore").write_text("# no data\ndata/\n/top.txt\n*.log\n!keep.log\na/**/z\n[xy].tmp\n")
        ignored = _folder.ignore(self.root)
        for name, is_folder, want in (
            ("data", True, True),
            ("data", False, False),
            ("deep/data", True, True),
            ("top.txt", False, True),
            ("deep/top.txt", False, False),
            ("deep/a.log", False, True),
            ("keep.log", False, False),
            ("a/z", False, True),
            ("a/b/c/z", False, True),
            ("x.tmp", False, True),
            ("z.tmp", False, False),
            ("__pycache__", True, True),
            ("train.py", False, False),
            ("train.pyc", False, True),
        ):
            self.assertEqual(ignored(name, is_folder), want, name)

    def test_the_same_content_gives_the_same_bytes(self) -> None:
        (self.root / "sub").mkdir()
        (self.root / "sub" / "train.sh").write_text("#!/bin/sh\n")
        (self.root / "sub" / "train.sh").chmod(0o755)
        (self.root / "big").write_bytes(bytes(300_000))
        packed, count = _folder.pack(self.root)
        (self.root / "big").touch()
        self.assertEqual((_folder.pack(self.root)[0], count), (packed, 2))
        (self.root / "outside").symlink_to("/etc")
        with self.assertRaisesRegex(trellis.Error, "leads outside"):
            _folder.pack(self.root)

    def test_unpacks_what_was_packed(self) -> None:
        (self.root / "in").mkdir()
        (self.root / "in" / "sub").mkdir()
        (self.root / "in" / "sub" / "weights").write_bytes(bytes(range(256)) * 1000)
        packed, _ = _folder.pack(self.root / "in")
        (self.root / "packed").write_bytes(packed)
        try:
            _folder.unpack(self.root / "packed", self.root / "out")
        except trellis.Error as error:
            self.assertRegex(str(error), "pip install backports.zstd")
            self.skipTest("no module reads zstd: Python 3.14 has one")
        self.assertEqual((self.root / "out" / "sub" / "weights").read_bytes(), bytes(range(256)) * 1000)


class Generated(worker.Case):
    def test_modules_are_current(self) -> None:
        subprocess.run([sys.executable, worker.PACKAGE / "generate.py", self.root], check=True, timeout=60)
        for name in ("api.py", "_async_client.py"):
            self.assertEqual((self.root / name).read_text(), (worker.PACKAGE / "trellis" / name).read_text(), name)
