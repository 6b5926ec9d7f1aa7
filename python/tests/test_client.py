"""The client with a coordinator and a worker."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import io
import json
import subprocess
import sys
import urllib.request
from typing import Any
from unittest import mock

import live
import worker

import trellis
from trellis import _iterate

PROGRAM = """
import trellis
parameters = trellis.defaults(lr=0.1)
for epoch in trellis.epochs():
    (trellis.checkpoint() / "weights").write_text(f"{parameters.lr} {epoch}")
    print(f"größer {epoch}", flush=True)
    trellis.report(loss=parameters.lr / epoch)
"""


class Studies(live.Case):
    def test_from_spec_to_answer(self) -> None:
        spec = live.spec("answer", seeds=[1, 2])
        self.assertEqual(self.client.plan(spec).trials, 24)
        study = self.client.submit(spec, fresh=True)
        updates = list(self.client.watch(study))
        self.assertEqual(updates[-1].study.state, "completed")
        # All runs have been seen, and the last word on each is that it succeeded.
        runs = {run.id: run.state for update in updates for run in update.runs}
        self.assertEqual(list(runs.values()), ["succeeded"] * 12)
        self.assertEqual(next(self.client.watch(study, since_index=updates[-1].index)).runs, ())
        everything = next(self.client.watch(study, all_runs=True))
        self.assertEqual((len(everything.runs), everything.partial), (12, False))

        best = self.client.best(study)
        self.assertEqual(
            best.trial, min(self.client.trials(study, losses=True), key=lambda trial: trial.objective or 9)
        )
        self.assertEqual(updates[-1].best and updates[-1].best.index, best.trial.index)
        self.assertEqual(best.study.name, "answer")
        self.assertEqual(best.verdict.configurations, 12)
        self.assertLessEqual({"latent_dim", "learning_rate", "max_epochs", "seed"}, set(best.trial.parameters))
        self.assertEqual(best.trial.objective, min(best.trial.validation_loss))

        trials = list(self.client.trials(study, order_by="-objective", filter="latent_dim == 4 && seed == 2"))
        self.assertEqual([trial.parameters.latent_dim for trial in trials], [4] * 6)
        objectives = [trial.objective or 0 for trial in trials]
        self.assertEqual(objectives, sorted(objectives, reverse=True))
        self.assertEqual(self.client.trial(study, trials[0]), trials[0])
        self.assertEqual(self.client.run(study, trials[0].run).state, "succeeded")
        self.assertEqual(len(list(self.client.configurations(study))), 12)
        self.assertIn("answer", [one.name for one in self.client.studies()])

    def test_it_pages(self) -> None:
        self.client.wait(self.client.submit(live.spec("pages")))
        whole = list(self.client.trials("pages"))
        with mock.patch.object(_iterate, "PAGE", 5):
            self.assertEqual(list(self.client.trials("pages")), whole)
        self.assertEqual([trial.index for trial in whole], list(range(12)))

    def test_texts_and_files(self) -> None:
        text = "name: text\nmodel: synthetic\ngrid:\n  latent_dim: [4]\n  learning_rate: [0.01]\n  max_epochs: [2]\n"
        self.assertEqual(self.client.submit(text).name, "text")
        (self.root / "study.yaml").write_text(text.replace("text", "file").replace("latent_dim", "latent_dmi"))
        with self.assertRaisesRegex(
            trellis.InvalidError, r'^study.yaml:4:3: .*"latent_dmi".*did you mean "latent_dim"\?'
        ) as raised:
            self.client.submit("study.yaml")
        self.assertEqual((raised.exception.problems[0].line, raised.exception.problems[0].column), (4, 3))
        with self.assertRaisesRegex(trellis.InvalidError, 'unknown key "modle": did you mean "model"'):
            self.client.submit({"name": "wrong", "modle": "synthetic"})
        with self.assertRaises(trellis.APIError) as again:
            self.client.submit(text)
        self.assertIsInstance(again.exception, trellis.ExistsError)

    def test_changes(self) -> None:
        study = self.client.submit(live.spec("changes", synthetic={"epoch_time": "10s"}), fresh=True)
        self.assertEqual(self.client.pause(study).state, "paused")
        self.assertEqual(self.client.resume(study).state, "running")
        self.assertEqual(self.client.plan_extension(study, {"latent_dim": [16]}, seeds=[2]).trials, 24)
        extended = self.client.extend(study, {"latent_dim": [16]}, seeds=[2])
        self.assertEqual(extended.trials, 24)
        with self.assertRaisesRegex(trellis.StateError, "nothing has failed|no failed|failed"):
            self.client.retry(study)
        with self.assertRaisesRegex(trellis.StateError, "is running, and its runs go on from their checkpoints"):
            self.client.delete_checkpoints(study)
        self.assertEqual(self.client.cancel(study).state, "canceled")
        with self.assertRaisesRegex(trellis.StateError, "only a running study can be paused"):
            self.client.pause(study)
        # The synthetic model saves none.
        self.assertEqual(list(self.client.plan_checkpoint_deletion([study, "changes"])), [])
        self.assertEqual(self.client.delete_checkpoints(study).deleted.checkpoints, 0)
        self.client.delete(study)
        with self.assertRaisesRegex(trellis.NotFoundError, 'study "changes" not found'):
            self.client.study(study)
        with self.assertRaisesRegex(trellis.InvalidError, 'did you mean "latent_dim"'):
            self.client.wait(self.client.submit(live.spec("filter")))
            list(self.client.trials("filter", filter="latentdim == 4"))
        budget = self.client.submit(live.spec("budget", budget={"trials": 2}))
        self.client.wait(budget)
        self.client.extend(budget, budget={"trials": 4})
        self.client.wait(budget)
        self.assertEqual(len(list(self.client.trials(budget, filter="state == 'succeeded'"))), 4)

    def test_what_the_page_draws(self) -> None:
        self.client.wait(self.client.submit(live.spec("charts"), fresh=True))
        self.assertEqual(len(self.client.curves("charts", filter="latent_dim == 4", keep="last").trials), 3)
        x = self.client.heat_map("charts", "latent_dim", "learning_rate", fold="mean").x
        self.assertEqual(x and x.values, (4.0, 8.0))
        self.assertTrue(self.client.history("charts").steps)
        self.assertEqual(sum(self.client.distribution("charts", bins=4, range=(0, 1)).counts), 12)
        self.assertEqual(self.client.coverage("charts", x="latent_dim", y="max_epochs").columns, 2)
        workers = [one.name for one in self.client.workers()]
        self.assertEqual((len(workers), self.client.time_line("charts").workers), (1, tuple(workers)))
        self.assertTrue(self.client.points("charts", points=5, fields=["epochs"]).basis)
        self.assertTrue(self.client.report("charts").study)
        self.assertTrue(self.client.importance("charts").axes)
        self.assertTrue(self.client.suggestion("charts").axes)
        self.assertIn("synthetic", [model.name for model in self.client.models()])
        self.assertIn("CreateStudy", [event.method for event in self.client.events()])
        with self.client.watch_events(since_number=0) as responses:
            self.assertEqual(next(responses).events[0].method, "CreateStudy")
        self.assertEqual(len(self.client.cluster().nodes), 1)
        self.client.whoami()

    def test_paper_reports(self) -> None:
        self.assertEqual(self.client.paper_reports(), ())
        study = self.client.submit(live.spec("paper"))
        given: dict[str, Any] = {"name": "r", "title": "A paper", "summary": "It says.", "state": "PAPER_STATE_RUNNING"}
        given["stages"] = [{"study": study.name, "create_index": str(study.create_index)}]
        body = json.dumps({"report": given}).encode()
        headers = {"Content-Type": "application/json"}
        urllib.request.urlopen(urllib.request.Request(live.ADDRESS + "/api/v1/reports", body, headers)).close()
        (listed,) = self.client.paper_reports()
        self.assertEqual((listed.name, listed.state, listed.summary), ("r", "running", ""))
        whole = self.client.paper_report(listed.name)
        self.assertEqual((whole.report and whole.report.summary, whole.studies[0].name), ("It says.", "paper"))

        async def asynchronously() -> Any:
            async with trellis.AsyncClient(live.ADDRESS) as client:
                return await client.paper_reports(), await client.paper_report("r")

        self.assertEqual(asyncio.run(asynchronously()), ((listed,), whole))
        with self.assertRaisesRegex(trellis.APIError, 'report "none" not found'):
            self.client.paper_report("none")

    def test_programs(self) -> None:
        files = self.root / "program"
        files.mkdir()
        (files / "train.py").write_text(PROGRAM)
        (files / "secret.txt").write_text("x")
        (files / ".trellisignore").write_text("secret.txt\n")
        study = self.client.submit(
            {
                "name": "program",
                "program": {"command": ["python3", "train.py"], "files": str(files), "resumable": True},
                "objective": {"metric": "loss", "direction": "minimize"},
                "grid": {"lr": [0.5, 0.25], "max_epochs": [2]},
            }
        )
        assert study.spec and study.spec.program and study.spec.program.files
        self.assertEqual(study.spec.program.files.count, 2)
        followed = list(self.client.logs(study, 0, follow=True))
        self.assertEqual(followed, ["größer 1", "größer 2"])
        self.assertEqual(self.client.wait(study).state, "completed")
        self.assertEqual(list(self.client.logs(study, 1)), followed)
        best = self.client.best(study).trial
        self.assertEqual((best.parameters.lr, best.objective, best.metrics), (0.25, 0.125, {"loss": 0.125}))
        self.assertEqual([saved.epoch for saved in self.client.checkpoints(study, best)], [2])
        try:
            folder = self.client.checkpoint(study, best)
        except trellis.Error as error:
            self.assertRegex(str(error), "pip install backports.zstd")
        else:
            self.assertEqual(folder.name, f"program-trial-{best.index}")
            self.assertEqual((folder / "weights").read_text(), "0.25 2")
            with self.assertRaisesRegex(trellis.Error, "is not empty"):
                self.client.checkpoint(study, best, last=True)

    def test_tables(self) -> None:
        missing = [name for name in ("pandas", "polars") if importlib.util.find_spec(name) is None]
        if missing:
            self.skipTest(f"not installed: {', '.join(missing)}")
        self.client.wait(self.client.submit(live.spec("tables")))
        frame: Any = self.client.trials("tables", order_by="objective").to_pandas()
        self.assertEqual(frame.shape[0], 12)
        self.assertEqual(str(frame["learning_rate"].dtype), "float64")
        self.assertEqual(frame["objective"].min(), self.client.best("tables").trial.objective)
        polar = self.client.trials("tables", losses=True).to_polars()
        self.assertEqual(polar["validation_loss"].list.min().to_list(), polar["objective"].to_list())

    def test_asyncio(self) -> None:
        async def main() -> None:
            async with trellis.AsyncClient(live.ADDRESS) as client:
                names = ["async-1", "async-2"]
                await asyncio.gather(*(client.submit(live.spec(name)) for name in names))
                async with client.watch("async-1") as updates:
                    states = [update.study.state async for update in updates]
                self.assertEqual(states[-1], "completed")
                self.assertEqual((await client.wait("async-2")).state, "completed")
                trials = [trial async for trial in client.trials("async-1")]
                best = await client.best("async-1")
                self.assertEqual(best.trial.objective, min(trial.objective or 9 for trial in trials))
                with self.assertRaises(trellis.NotFoundError):
                    await client.study("nobody")

        asyncio.run(main())


class Examples(live.Case):
    def runs(self, page: str, least: int) -> None:
        texts = live.blocks(page)
        self.assertGreaterEqual(len(texts), least)
        (self.root / "study.yaml").write_text(
            "name: from-file\nmodel: synthetic\ngrid: {latent_dim: [4], learning_rate: [0.01], max_epochs: [2]}\n"
        )
        for text in texts:
            if importlib.util.find_spec("pandas") is None:
                text = "\n".join(line for line in text.split("\n") if "to_pandas" not in line)
            with contextlib.redirect_stdout(io.StringIO()) as output:
                exec(compile(text, page, "exec"), {"__name__": "__main__"})  # noqa: S102
            self.assertTrue(output.getvalue())

    def test_quick_start(self) -> None:
        self.runs("README.md", 1)

    def test_page(self) -> None:
        self.runs("docs/python.md", 2)

    def test_notebook(self) -> None:
        missing = [name for name in ("nbclient", "ipykernel") if importlib.util.find_spec(name) is None]
        if missing:
            self.skipTest(f"not installed: {', '.join(missing)}")
        nbclient: Any = importlib.import_module("nbclient")
        nbformat: Any = importlib.import_module("nbformat")

        notebook = nbformat.read(live.ROOT / "examples" / "study.ipynb", as_version=4)
        self.assertEqual([cell.outputs for cell in notebook.cells if cell.cell_type == "code" and cell.outputs], [])
        with mock.patch.dict("os.environ", {"TRELLIS_HTTP": live.ADDRESS, "PYTHONPATH": str(worker.PACKAGE)}):
            nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()

    def test_nothing_is_left_open(self) -> None:
        text = f"""
import asyncio, trellis
with trellis.Client({live.ADDRESS!r}) as client:
    study = client.submit({live.spec("leaks")!r})
    next(client.watch(study))
    client.wait(study)
    next(iter(client.trials(study)))
    try:
        client.study("nobody")
    except trellis.NotFoundError:
        pass
async def main():
    asyncio.get_running_loop().slow_callback_duration = 60  # The machine may be busy.
    async with trellis.AsyncClient({live.ADDRESS!r}) as client:
        async for update in client.watch("leaks"):
            break
        await client.best("leaks")
asyncio.run(main())
"""
        ended = subprocess.run(
            [sys.executable, "-B", "-X", "dev", "-W", "error", "-c", text],
            cwd=worker.PACKAGE,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
