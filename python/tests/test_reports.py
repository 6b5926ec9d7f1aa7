"""Epochs, reports and checkpoints, within one process."""

from __future__ import annotations

import decimal
import math
import os
from pathlib import Path
from typing import Any

import worker

from trellis._attempt import Attempt


class Scalar:
    """A scalar of NumPy or PyTorch, as far as reports can see."""

    def __init__(self, value: float, shape: tuple[int, ...] = ()) -> None:
        self.value, self.shape = value, shape

    def __float__(self) -> float:
        if self.shape:
            raise RuntimeError("a Tensor with 3 elements cannot be converted to Scalar")
        return self.value


class OfReports(worker.Case):
    def setUp(self) -> None:
        super().setUp()
        self.given = self.attempt()
        self.program = Attempt.start(self.given.environment(), [], self.given.work)

    def report(self, epoch: int | None = None, **metrics: Any) -> None:
        self.program.report(metrics, epoch)

    def test_max_epochs_and_seed_are_no_parameters(self) -> None:
        for name in ("max_epochs", "seed"):
            with self.assertRaisesRegex(AttributeError, f"it is trellis.{name}"):
                getattr(self.program.parameters, name)

    def test_a_report_is_a_line_of_its_loops_epoch(self) -> None:
        for epoch in self.program.epochs():
            self.report(val_acc=epoch / 8, loss=Scalar(1 / 3))
            self.assertTrue(self.given.reports.read_text().endswith("}\n"))  # At once, not at the end.
        self.assertEqual(
            self.given.lines(), [{"epoch": epoch, "val_acc": epoch / 8, "loss": 1 / 3} for epoch in range(1, 5)]
        )

    def test_without_a_loop_epochs_follow_one_another(self) -> None:
        self.report(loss=1)
        self.report(loss=2)
        self.report(loss=4, epoch=4)
        self.assertEqual(
            self.given.lines(),
            [{"epoch": 1, "loss": 1}, {"epoch": 2, "loss": 2}, {"epoch": 3}, {"epoch": 4, "loss": 4}],
        )

    def test_epochs_that_are_not_evaluated_are_reported_without_metrics(self) -> None:
        for epoch in self.program.epochs():
            if epoch % 3 == 0:
                self.report(loss=epoch)
        self.assertEqual(self.given.lines(), [{"epoch": 1}, {"epoch": 2}, {"epoch": 3, "loss": 3}, {"epoch": 4}])

    def test_numbers_are_exact_and_json(self) -> None:
        values = {"a": 0.1 + 0.2, "b": math.nan, "c": -math.inf, "d": 10**400, "e": -(10**400), "f": 5e-324, "g": True}
        self.program.report({**values, "h": decimal.Decimal("0.5")}, None)
        self.assertNotIn("NaN,", self.given.reports.read_text())
        self.assertEqual(
            self.given.lines()[0],
            {
                "epoch": 1,
                "a": 0.30000000000000004,
                "b": "NaN",
                "c": "-Infinity",
                "d": "Infinity",
                "e": "-Infinity",
                "f": 5e-324,
                "g": 1,
                "h": 0.5,
            },
        )

    def test_what_is_no_number_is_refused(self) -> None:
        for value, want in (
            ("0.5", "metric 'loss' must be a number, not str '0.5'"),
            (None, "metric 'loss' must be a number, not None: leave out what was not measured in this epoch"),
            ([1.0], "metric 'loss' must be a number, not list"),
            (1j, "metric 'loss' must be a number, not complex"),
            (Scalar(1, (3,)), r"metric 'loss' must be a number, not Scalar of shape \(3,\): a Tensor with 3 elements"),
        ):
            with self.subTest(value), self.assertRaisesRegex(TypeError, want):
                self.report(loss=value)
        self.assertEqual(self.given.lines(), [])

    def test_names_are_checked(self) -> None:
        for name in ("epoch", "checkpoint", "", "val acc", "x" * 64, "é", "a\n", "a\x7f", "1st", "top@5"):
            with self.subTest(name), self.assertRaises(ValueError):
                self.program.report({name: 1}, None)
        with self.assertRaises(TypeError):
            self.program.report({5: 1}, None)  # type: ignore[dict-item]
        with self.assertRaisesRegex(ValueError, "101 metrics: a report can have at most 100"):
            self.program.report({f"m{i}": i for i in range(101)}, None)
        self.program.report({"val/acc": 1, "_" + "x" * 62: 2}, None)
        self.assertEqual(self.given.lines(), [{"epoch": 1, "val/acc": 1, "_" + "x" * 62: 2}])

    def test_epochs_are_checked(self) -> None:
        self.report(loss=1, epoch=2)
        for epoch, error, want in (
            (2, ValueError, "epoch 2 after epoch 2: report each epoch once, in order"),
            (1, ValueError, "epoch 1 after epoch 2"),
            (5, ValueError, "no epoch 5: this run has epochs 1 to 4"),
            (2.5, TypeError, "float"),
            (True, TypeError, "not bool"),
        ):
            with self.subTest(epoch), self.assertRaisesRegex(error, want):
                self.report(loss=1, epoch=epoch)  # type: ignore[arg-type]
        self.assertEqual(len(self.given.lines()), 2)

    def test_a_second_report_of_the_loops_epoch_is_refused(self) -> None:
        for _ in self.program.epochs():
            self.report(loss=1)
            with self.assertRaisesRegex(ValueError, "epoch 1 after epoch 1"):
                self.report(val_acc=1)
            break

    def test_a_second_loop_is_refused(self) -> None:
        list(self.program.epochs())
        with self.assertRaisesRegex(RuntimeError, "was called before"):
            self.program.epochs()

    def test_checkpoints_are_folders_that_the_next_report_names(self) -> None:
        folders: list[Path] = []
        for epoch in self.program.epochs():
            folder = self.program.checkpoint(None)
            self.assertEqual(self.program.checkpoint(None), folder)
            self.assertEqual(list(folder.iterdir()), [])
            (folder / "weights").write_text(str(epoch))
            if epoch == 2:
                self.addCleanup(os.chdir, os.getcwd())
                os.chdir(self.root)  # Where the program is does not matter.
            self.report(loss=1)
            folders.append(folder)
        for line, folder in zip(self.given.lines(), folders, strict=True):
            self.assertEqual(line["checkpoint"], f"trellis-checkpoints/epoch-{line['epoch']}")
            self.assertEqual(self.given.work / line["checkpoint"], folder)
        # The worker may still read the last but one.
        left = sorted(folder.name for folder in folders[0].parent.iterdir())
        self.assertEqual(left, ["epoch-3", "epoch-4"])

    def test_a_checkpoint_without_files_is_refused(self) -> None:
        self.program.checkpoint(None)
        with self.assertRaisesRegex(ValueError, "is empty: save into it before"):
            self.report(loss=1)
        self.assertEqual(self.given.lines(), [])

    def test_a_checkpoint_is_of_the_epoch_reported(self) -> None:
        (self.program.checkpoint(3) / "weights").touch()
        with self.assertRaisesRegex(ValueError, "report of epoch 2, but .* is of epoch 3"):
            self.report(loss=1, epoch=2)
        with self.assertRaisesRegex(ValueError, "report epoch 3 before a checkpoint of epoch 4"):
            self.program.checkpoint(4)
        self.report(loss=1, epoch=3)
        self.assertEqual(self.given.lines()[-1], {"epoch": 3, "loss": 1, "checkpoint": "trellis-checkpoints/epoch-3"})

    def test_a_checkpoint_comes_before_its_report(self) -> None:
        for _ in self.program.epochs():
            self.report(loss=1)
            with self.assertRaisesRegex(ValueError, "epoch 1 after epoch 1"):
                self.program.checkpoint(None)
            break
