"""Whole programs, in processes of their own: by hand, under a worker, and told to stop."""

from __future__ import annotations

import signal
import subprocess

import worker

import trellis

LOOP = """
import pathlib, sys, time, trellis
p = trellis.defaults(lr=0.1, optimizer="sgd", max_epochs=3)
steps = int((trellis.resume_folder / "steps").read_text()) if trellis.resume_folder else 0
for epoch in trellis.epochs():
    steps += 1
    (trellis.checkpoint() / "steps").write_text(str(steps))
    trellis.report(steps=steps, lr=p.lr)
print("done", p.optimizer)
"""

# Waits in its second epoch until it is told to stop; then takes a little to end the epoch.
WAITING = """
import pathlib, time, trellis
try:
    for epoch in trellis.epochs():
        if {saves}:
            (trellis.checkpoint() / "epoch").write_text(str(epoch))
        if epoch == 2:
            pathlib.Path("waiting").touch()
            while not trellis.stopping:
                time.sleep(0.01)
            {then}
        trellis.report(loss=epoch)
    print("not here")
finally:
    print("cleaned up")
"""


class ByHand(worker.Case):
    def test_reports_are_printed(self) -> None:
        program = worker.start(LOOP, "--lr=0.25", "--max_epochs=2", folder=self.root)
        self.assertEqual(self.end(program)[0], "epoch 1/2 steps=1 lr=0.25\nepoch 2/2 steps=2 lr=0.25\ndone sgd\n")
        self.assertEqual(list(self.root.iterdir()), [])

    def test_checkpoints_are_kept_and_resumed(self) -> None:
        program = worker.start(LOOP, "--keep-checkpoints=kept", folder=self.root)
        self.assertIn("epoch 3/3 steps=3 lr=0.1 checkpoint=kept/epoch-3\n", self.end(program)[0])
        self.assertEqual(
            sorted(folder.name for folder in (self.root / "kept").iterdir()), ["epoch-1", "epoch-2", "epoch-3"]
        )
        program = worker.start(LOOP, "--resume-from=kept/epoch-2", "--max_epochs=4", folder=self.root)
        self.assertEqual(self.end(program)[0], "epoch 3/4 steps=3 lr=0.1\nepoch 4/4 steps=4 lr=0.1\ndone sgd\n")

    def test_names_of_the_module(self) -> None:
        program = worker.start(
            "import trellis\n"
            "from trellis import seed\n"
            "print(trellis.parameters.lr, seed, trellis.max_epochs, trellis.resume_folder, trellis.stopping, trellis.run.study)\n"
            "trellis.colour",
            "--lr=2",
            "--max_epochs=5",
            folder=self.root,
        )
        output, errors = self.end(program, 1)
        self.assertEqual(output, "2 1 5 None False \n")
        self.assertIn("AttributeError: module 'trellis' has no attribute 'colour'", errors)


class UnderWorker(worker.Case):
    def test_a_run_and_its_resumption(self) -> None:
        first = self.attempt(last_epoch=2)
        self.assertEqual(self.end(first.start(LOOP, "--lr=7"))[0], "done adam\n")
        self.assertEqual(
            [(line["epoch"], line["steps"], line["lr"]) for line in first.lines()], [(1, 1, 0.001), (2, 2, 0.001)]
        )
        second = self.attempt(first_epoch=3, resume=str(first.work / first.lines()[-1]["checkpoint"]))
        self.end(second.start(LOOP))
        self.assertEqual([(line["epoch"], line["steps"]) for line in second.lines()], [(3, 3), (4, 4)])

    def test_what_is_reported_survives_the_program(self) -> None:
        attempt = self.attempt()
        self.end(
            attempt.start("import os, signal, trellis\ntrellis.report(loss=1)\nos.kill(os.getpid(), signal.SIGKILL)"),
            -9,
        )
        self.assertEqual(attempt.lines(), [{"epoch": 1, "loss": 1}])

    def test_standard_library_only(self) -> None:
        program = worker.start(
            "import sys, trellis\n"
            "outside = {name.split('.')[0] for name in sys.modules} - set(sys.stdlib_module_names) - {'trellis', '__main__'}\n"
            "print(sorted(outside))",
            folder=self.root,
        )
        # What site-packages put into every process on this machine is not ours.
        site = self.end(
            worker.start(
                "import sys; print(sorted({n.split('.')[0] for n in sys.modules} - set(sys.stdlib_module_names) - {'__main__'}))",
                folder=self.root,
            )
        )
        self.assertEqual(self.end(program)[0], site[0])


class ToldToStop(worker.Case):
    def stopped(self, saves: bool, then: str = "pass", again: bool = False) -> tuple[worker.Attempt, str, int]:
        attempt = self.attempt()
        program = attempt.start(WAITING.format(saves=saves, then=then))
        self.wait((attempt.work / "waiting").exists)
        program.send_signal(signal.SIGTERM)
        if again:
            self.wait((attempt.work / "told").exists)
            program.send_signal(signal.SIGTERM)
        output, _ = program.communicate(timeout=60)
        return attempt, output, program.returncode

    def test_a_program_with_checkpoints_ends_after_its_epoch(self) -> None:
        attempt, output, code = self.stopped(saves=True, then="time.sleep(0.2)")
        self.assertEqual((output, code), ("cleaned up\n", trellis.EXIT_AGAIN))
        self.assertEqual([line["epoch"] for line in attempt.lines()], [1, 2])
        self.assertEqual(attempt.lines()[-1]["checkpoint"], "trellis-checkpoints/epoch-2")

    def test_a_program_without_checkpoints_ends_at_once(self) -> None:
        attempt, output, code = self.stopped(saves=False, then="time.sleep(60)")
        self.assertEqual((output, code), ("cleaned up\n", trellis.EXIT_AGAIN))
        self.assertEqual([line["epoch"] for line in attempt.lines()], [1])

    def test_a_second_signal_ends_at_once(self) -> None:
        attempt, output, code = self.stopped(
            saves=True, then='pathlib.Path("told").touch(); time.sleep(60)', again=True
        )
        self.assertEqual((output, code), ("", -signal.SIGTERM))
        self.assertEqual([line["epoch"] for line in attempt.lines()], [1])

    def test_after_the_last_report_a_program_ends_by_itself(self) -> None:
        attempt = self.attempt(last_epoch=1)
        program = attempt.start(
            "import pathlib, time, trellis\n"
            "for epoch in trellis.epochs():\n"
            "    trellis.report(loss=1)\n"
            "pathlib.Path('waiting').touch()\n"
            "while not trellis.stopping: time.sleep(0.01)\n"
            "print('whole')\n"
        )
        self.wait((attempt.work / "waiting").exists)
        program.send_signal(signal.SIGTERM)
        self.assertEqual(self.end(program)[0], "whole\n")

    def test_a_handler_of_the_programs_own_stays(self) -> None:
        attempt = self.attempt()
        program = attempt.start(
            "import signal, trellis\n"
            "mine = lambda *_: None\n"
            "signal.signal(signal.SIGTERM, mine)\n"
            "list(trellis.epochs())\n"
            "assert signal.getsignal(signal.SIGTERM) is mine\n"
        )
        self.end(program)

    def test_pools_can_end_their_processes(self) -> None:
        attempt = self.attempt(last_epoch=1)
        program = attempt.start(
            "import multiprocessing, time, trellis\n"
            "for epoch in trellis.epochs():\n"
            "    child = multiprocessing.get_context('fork').Process(target=time.sleep, args=(60,))\n"
            "    child.start(); child.terminate(); child.join(30)\n"
            "    trellis.report(code=child.exitcode)\n"
        )
        self.end(program)
        self.assertEqual(attempt.lines(), [{"epoch": 1, "code": -signal.SIGTERM}])

    def test_epochs_work_in_a_thread(self) -> None:
        attempt = self.attempt()
        program: subprocess.Popen[str] = attempt.start(
            "import threading, trellis\n"
            "thread = threading.Thread(target=lambda: [trellis.report(loss=e) for e in trellis.epochs()])\n"
            "thread.start(); thread.join()\n"
        )
        self.end(program)
        self.assertEqual(len(attempt.lines()), 4)
