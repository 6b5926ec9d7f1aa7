"""What a program reads of its run."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import worker

from trellis import Error, Parameters
from trellis._arguments import parse
from trellis._attempt import Attempt


class OfWorker(worker.Case):
    def given(self, **run: object) -> Attempt:
        attempt = self.attempt(**run)
        return Attempt.start(attempt.environment(), ["--lr=5"], attempt.work)

    def test_the_run_is_what_the_file_says(self) -> None:
        run = self.given().run
        self.assertEqual((run.study, run.id, run.attempt, run.seed), ("tests", "r1", 7, 3))
        self.assertEqual((run.max_epochs, run.first_epoch, run.last_epoch), (4, 1, 4))
        self.assertEqual(run.parameters, {"lr": 0.001, "optimizer": "adam", "amp": True, "optimizer.beta": 0.9})
        self.assertIsNone(run.resume_folder)
        assert run.objective is not None
        self.assertEqual((run.objective.metric, run.objective.direction), ("val_acc", "maximize"))

    def test_fields_of_newer_workers_are_ignored(self) -> None:
        self.assertEqual(self.given(colour="green").run.seed, 3)

    def test_defaults_fill_in_what_the_grid_lacks(self) -> None:
        parameters = self.given(parameters={"lr": 1, "layers": 2}).set_defaults(
            {"lr": 0.5, "layers": 8, "width": 16, "max_epochs": 99, "seed": 99, "head": {"dropout": 0.1}}
        )
        self.assertEqual(parameters, {"lr": 1.0, "layers": 2, "width": 16, "head.dropout": 0.1})
        self.assertIs(type(parameters.lr), float)
        self.assertIs(type(parameters.layers), int)

    def test_seed_and_max_epochs_are_the_workers(self) -> None:
        attempt = self.given()
        attempt.set_defaults({"max_epochs": 99, "seed": 99})
        self.assertEqual((attempt.max_epochs, attempt.seed), (4, 3))

    def test_a_resumed_run_names_its_folder(self) -> None:
        attempt = self.given(resume=str(self.root / "resume"), first_epoch=3)
        self.assertEqual(attempt.resume_folder, self.root / "resume")
        self.assertEqual(list(attempt.epochs()), [3, 4])

    def test_a_file_that_is_no_run_is_refused(self) -> None:
        attempt = self.attempt()
        for content, want in (
            ("{", "is no run of a worker"),
            ("[]", "is no run of a worker"),
            ('{"study": "tests"}', "KeyError: 'run'"),
        ):
            (attempt.root / "run.json").write_text(content)
            with self.assertRaisesRegex(Error, want):
                Attempt.start(attempt.environment(), [], attempt.work)
        (attempt.root / "run.json").unlink()
        with self.assertRaisesRegex(Error, "can't read the run that TRELLIS_RUN names: .*No such file"):
            Attempt.start(attempt.environment(), [], attempt.work)


class ByHand(worker.Case):
    def started(self, *arguments: str) -> Attempt:
        return Attempt.start({}, arguments, self.root)

    def test_arguments_are_of_the_types_of_the_defaults(self) -> None:
        attempt = self.started("--lr=1", "--layers=3", "--amp=false", "--name=7", "--seed=9", "--max-epochs=5")
        parameters = attempt.set_defaults({"lr": 0.5, "layers": 8, "amp": True, "name": "x", "width": 4})
        self.assertEqual(parameters, {"lr": 1.0, "layers": 3, "amp": False, "name": "7", "width": 4})
        self.assertIs(type(parameters.lr), float)
        self.assertEqual((attempt.seed, attempt.max_epochs), (9, 5))

    def test_without_defaults_types_are_guessed(self) -> None:
        parameters = self.started(
            "--lr=1e-3", "--layers=3", "--amp=true", "--name=adam", "--x=NaN", "--y=1e999"
        ).run.parameters
        self.assertEqual(parameters, {"lr": 0.001, "layers": 3, "amp": True, "name": "adam", "x": "NaN", "y": "1e999"})
        self.assertIs(type(parameters.layers), int)

    def test_wrong_arguments_are_refused(self) -> None:
        defaults = {"learning_rate": 0.5, "layers": 8, "amp": True}
        for argument, want in (
            ("--learning_rat=1", "unknown parameter --learning_rat: did you mean --learning_rate?"),
            ("--zzz=1", "unknown parameter --zzz: there are --amp, --layers, --learning_rate, --max_epochs, --seed"),
            ("--learning_rate=fast", "invalid --learning_rate=fast: must be a number like 0.5"),
            ("--learning_rate=true", "invalid --learning_rate=true: must be a number like 0.5"),
            ("--layers=1.5", "invalid --layers=1.5: must be an integer like 8"),
            ("--amp=1", "invalid --amp=1: must be true or false"),
            ("--max_epochs=many", "invalid --max_epochs=many: must be a number like 1"),
            ("--resume-from=elsewhere", "invalid --resume-from=elsewhere: must be a checkpoint's folder"),
        ):
            with self.subTest(argument), self.assertRaises(Error) as raised:
                self.started(argument).set_defaults(defaults)
            self.assertIn(want, str(raised.exception))

    def test_other_arguments_are_the_programs_own(self) -> None:
        self.assertEqual(parse(["data", "-v", "--fast", "--lr=1", "--", "--x=2"]).texts, {"lr": "1"})

    def test_defaults_must_be_values(self) -> None:
        with self.assertRaisesRegex(TypeError, "default of 'layers' must be .*, not list"):
            self.started().set_defaults({"layers": [1, 2]})

    def test_defaults_come_first(self) -> None:
        attempt = self.started()
        self.assertEqual(attempt.seed, 1)
        with self.assertRaisesRegex(RuntimeError, "before anything else"):
            attempt.set_defaults({"lr": 1})

    def test_the_number_of_epochs_is_asked_for(self) -> None:
        uses: tuple[Callable[[Attempt], object], ...] = (
            lambda a: a.epochs(),
            lambda a: a.max_epochs,
            lambda a: a.report({}, None),
        )
        for use in uses:
            with self.assertRaisesRegex(Error, "how many epochs.*--max_epochs=10"):
                use(self.started())


class OfParameters(worker.Case):
    parameters = Parameters({"lr": 0.1, "optimizer": "sgd", "optimizer.lr": 0.2, "head.drop.rate": 0.3, "keys": 5})

    def test_names_nest_by_dots(self) -> None:
        p = self.parameters
        self.assertEqual((p.lr, p["lr"], p.optimizer, p["optimizer.lr"]), (0.1, 0.1, "sgd", 0.2))
        self.assertEqual((p.head.drop.rate, p["head"]["drop.rate"], p.head["drop"].rate), (0.3, 0.3, 0.3))
        self.assertEqual(dict(p.head), {"drop.rate": 0.3})
        self.assertEqual(p["keys"], 5)
        self.assertTrue("head" in p and "head.drop.rate" in p and "head.dro" not in p)
        self.assertEqual(p.get("momentum", 0.9), 0.9)
        self.assertEqual(len(p), 5)

    def test_what_is_missing_is_said(self) -> None:
        with self.assertRaisesRegex(AttributeError, "no parameter 'head.drop.rat': did you mean 'head.drop.rate'"):
            _ = self.parameters.head.drop.rat
        with self.assertRaisesRegex(KeyError, "no parameter 'zzz': there are head.drop.rate, keys, lr"):
            _ = self.parameters["zzz"]
        with self.assertRaisesRegex(AttributeError, "no parameter 'lr': there are none"):
            _ = Parameters({}).lr

    def test_they_are_not_changed(self) -> None:
        with self.assertRaisesRegex(AttributeError, "can't be changed"):
            self.parameters.lr = 5
        values = dict(self.parameters)
        values["lr"] = 5
        self.assertEqual(self.parameters.lr, 0.1)

    def test_they_are_copied_and_pickled(self) -> None:
        for copied in (copy.deepcopy(self.parameters), pickle.loads(pickle.dumps(self.parameters))):
            self.assertEqual(copied, self.parameters)
        self.assertEqual(repr(Parameters({"lr": 1})), "Parameters({'lr': 1})")
