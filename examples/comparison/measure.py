"""Measures a search: wall time, processor time, epochs trained, and what a kill costs.

    python3 measure.py [--kill AFTER] NAME COMMAND...

runs the commands (separated by a lone +) at once, in a new folder NAME beside copies of the scripts. With --kill it sends
SIGKILL to the process that trained the last of AFTER epochs or, if its name is given (--kill-parent), to the worker that
started it. It prints how many epochs were trained, how many of them were repeated, and how long after the kill the point
that lost its process was trained on.
"""

import argparse
import collections
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

# Version 1 of control groups, and version 2.
GROUPS = [(Path("/sys/fs/cgroup/cpuacct"), "cpuacct.usage"), (Path("/sys/fs/cgroup"), "cpu.stat")]

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
    return [json.loads(line) for line in log.read_text().split("\n")[:-1]]  # The last may be half a line.


def ancestor(pid, name):
    """Return the nearest process above this one with a name in its command line."""
    while name not in Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " "):
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid


# All processes are counted together, also daemons and what was killed. It needs root.
root, usage = next((root, usage) for root, usage in GROUPS if (root / "cgroup.procs").exists())
group = root / f"measure-{os.getpid()}"
group.mkdir()
(group / "cgroup.procs").write_text(str(os.getpid()))
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
text = (group / usage).read_text()
seconds = int(text) / 1e9 if usage == "cpuacct.usage" else int(text.split()[1]) / 1e6
(root / "cgroup.procs").write_text(str(os.getpid()))
if not (group / "cgroup.procs").read_text():
    group.rmdir()
done = lines()
counts = collections.Counter((line["name"], line["epoch"]) for line in done)
print(
    f"{options.name}: {wall:.1f} s, {seconds:.1f} s of processors, {len(done)} epochs trained, "
    f"{len(counts)} different, exit codes {[process.returncode for process in processes]}"
)
if killed:
    # Two trials may differ in max_epochs alone, so processes that had trained the point before don't count.
    own = [line for line in done if line["name"] == killed["name"]]
    before = {line["pid"] for line in own if line["time"] <= killed["killed"]}
    after = [line for line in own if line["pid"] not in before]
    print(f"killed after epoch {killed['epoch']} of {killed['name']}")
    if after:
        print(f"trained on after {after[0]['time'] - killed['killed']:.1f} s, from epoch {after[0]['epoch']}")
    else:
        print("never trained on")
