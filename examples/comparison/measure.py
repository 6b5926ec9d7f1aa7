"""Measures a search: wall time, processor time, epochs trained, and what a kill costs.

    python3 measure.py [--kill AFTER] NAME COMMAND...

runs the commands (separated by a lone +) at once, in a new folder NAME beside copies of the scripts. With --kill it sends
SIGKILL to the process that trained the last of AFTER epochs or, if its name is given (--kill-parent), to the worker that
started it. It prints how many epochs were trained, how many of them were repeated, and how long after the kill the point
that lost its process was trained on.
"""

import argparse
import collections
import ctypes
import json
import os
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36

arguments = argparse.ArgumentParser()
arguments.add_argument("--kill", type=int, default=0)
arguments.add_argument("--kill-parent", default="")
arguments.add_argument("name")
arguments.add_argument("command", nargs=argparse.REMAINDER)
options = arguments.parse_args()

folder = Path(options.name).absolute()
shutil.copytree(Path(__file__).parent, folder, ignore=shutil.ignore_patterns("__pycache__", "measure.py"))
log = folder / "epochs.jsonl"
log.touch()
commands = [[]]
for word in options.command:
    if word == "+":
        commands.append([])
    else:
        commands[-1].append(word)


def lines():
    return [json.loads(line) for line in log.read_text().splitlines()]


def ancestor(pid, name):
    """Return the nearest process above this one with a name in its command line."""
    while name not in Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " "):
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid


# Daemons become children of this process, so that their processor time is counted.
ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
began = time.time()
environment = {**os.environ, "EPOCHS": str(log)}
output = open(folder / "output.txt", "w")
processes = [subprocess.Popen(c, cwd=folder, env=environment, stdout=output, stderr=output) for c in commands]
killed = None
while any(process.poll() is None for process in processes):
    time.sleep(0.05)
    done = lines()
    if options.kill and killed is None and len(done) >= options.kill:
        killed = done[-1]
        pid = killed["pid"]
        if options.kill_parent:
            pid = ancestor(pid, options.kill_parent)
        print("kills", pid, Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")[:80])
        os.kill(pid, signal.SIGKILL)
        killed["killed"] = time.time()
wall = time.time() - began
try:
    while True:
        os.waitpid(-1, 0)
except ChildProcessError:
    pass
used = resource.getrusage(resource.RUSAGE_CHILDREN)
done = lines()
counts = collections.Counter((line["name"], line["epoch"]) for line in done)
print(
    f"{options.name}: {wall:.1f} s, {used.ru_utime + used.ru_stime:.1f} s of processors, {len(done)} epochs trained, "
    f"{len(counts)} different, exit codes {[process.returncode for process in processes]}"
)
if killed:
    after = [line for line in done if line["name"] == killed["name"] and line["time"] > killed["killed"]]
    print(f"killed after epoch {killed['epoch']} of {killed['name']}")
    if after:
        print(f"trained on after {after[0]['time'] - killed['killed']:.1f} s, from epoch {after[0]['epoch']}")
    else:
        print("never trained on")
