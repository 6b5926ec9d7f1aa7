"""docs/programs.md says what there is."""

from __future__ import annotations

import re

import worker

import trellis

DOCS = worker.PACKAGE.parent / "docs"
MODEL = """
class Model:
    def __init__(self, layers, lr, seed): self.seed = seed
    def train(self): self.seed += 1
    def accuracy(self): return self.seed / 100
"""


class Programs(worker.Case):
    text = (DOCS / "programs.md").read_text()

    def blocks(self, language: str) -> list[str]:
        return re.findall(rf"^```{language}\n(.*?)^```$", self.text, re.MULTILINE | re.DOTALL)

    def test_names_exist(self) -> None:
        names = set(re.findall(r"\btrellis\.([a-z_]+)", self.text))
        self.assertLessEqual({"defaults", "epochs", "report", "checkpoint", "resume_folder"}, names)
        self.assertEqual(names - set(trellis.__all__), set())

    def test_the_first_program_runs(self) -> None:
        program = worker.start(MODEL + self.blocks("python")[0], "--lr=0.01", "--max_epochs=2", folder=self.root)
        self.assertEqual(self.end(program)[0], "epoch 1/2 val_acc=0.02\nepoch 2/2 val_acc=0.03\n")

    def test_the_run_is_one(self) -> None:
        attempt = self.attempt()
        (attempt.root / "run.json").write_text(self.blocks("json")[0])
        program = attempt.start("import trellis\nprint(trellis.run.first_epoch, trellis.parameters.optimizer.name)")
        self.assertEqual(self.end(program)[0], "4 adam\n")

    def test_the_shell_script_is_one(self) -> None:
        attempt = self.attempt()
        (attempt.work / "trainer").write_text('#!/bin/sh\necho "$4" >"$6"; echo 0.5\n')
        (attempt.work / "trainer").chmod(0o755)
        script = next(block for block in self.blocks("sh") if block.startswith("#!"))
        shell = (
            "import os, subprocess, sys\n"
            "os.environ.update(PATH='.:' + os.environ['PATH'], TRELLIS_FIRST_EPOCH='1', TRELLIS_LAST_EPOCH='2',"
            " TRELLIS_PARAM_RATE='3')\n"
            f"sys.exit(subprocess.run(['sh', '-c', {script!r}]).returncode)"
        )
        self.end(attempt.start(shell))
        self.assertEqual(
            attempt.lines(),
            [{"epoch": e, "loss": 0.5, "checkpoint": f"checkpoints/{e}"} for e in (1, 2)],
        )
        self.assertEqual((attempt.work / "checkpoints/2/weights").read_text(), "checkpoints/1/weights\n")
