"""Optuna over a grid, with 10 reports a trial.

    python optuna_trials.py STORAGE SAMPLER TRIALS SECONDS

STORAGE is memory (one process, nothing is kept), journal or sqlite (two processes). SAMPLER is grid or random, which may
try a point twice. TRIALS is a multiple of 10. Stops after so many SECONDS. Keeps its data in the working directory, and
removes them. Prints a line of JSON: see peerFigures in peers.go.
"""

import json
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time

import optuna
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

RATES = [10 ** (-5 + 4 * i / 9) for i in range(10)]


def storage(kind, folder):
    if kind == "journal":
        return JournalStorage(JournalFileBackend(folder + "/journal.log"))
    if kind == "sqlite":
        return RDBStorage(f"sqlite:///{folder}/trials.db", engine_kwargs={"connect_args": {"timeout": 60}})
    return None


def sampler(kind, trials):
    if kind == "random":
        return optuna.samplers.RandomSampler()
    return optuna.samplers.GridSampler({"latent_dim": list(range(1, trials // 10 + 1)), "learning_rate": RATES})


def objective(trial):
    latent = trial.suggest_int("latent_dim", 1, 10**9)
    rate = trial.suggest_float("learning_rate", 1e-5, 1e-1)
    loss = 0.0
    for epoch in range(10):
        loss = 1 / (epoch + 1) + abs(latent - 16) * 1e-3 + abs(rate - 1e-3)
        trial.report(loss, epoch)
    return loss


def search(kind, draws, folder, trials, processes, seconds):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.load_study(study_name="grid", storage=storage(kind, folder), sampler=sampler(draws, trials))
    optimize(study, draws, trials // processes, seconds)


def optimize(study, draws, trials, seconds):
    # A search through the grid ends by itself.
    study.optimize(objective, n_trials=trials if draws == "random" else None, timeout=seconds)


def ask(study, processes):
    """How many milliseconds the best trial takes to find, while others are added: asked once a second."""
    took = []
    while any(process.is_alive() for process in processes):
        begin = time.perf_counter()
        try:
            study.best_trial
        except ValueError:  # No trial has finished.
            pass
        else:
            took.append((time.perf_counter() - begin) * 1e3)
        processes[0].join(1)
    return statistics.median(took) if took else None


def disk(folder):
    return sum(os.stat(entry).st_blocks * 512 for entry in os.scandir(folder))


def main():
    kind, draws, trials, limit = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory(dir=os.getcwd()) as folder:
        begin = time.perf_counter()
        study = optuna.create_study(
            study_name="grid", storage=storage(kind, folder), sampler=sampler(draws, trials), direction="minimize"
        )
        created = time.perf_counter() - begin
        best = restart = None
        begin = time.perf_counter()
        if kind == "memory":
            optimize(study, draws, trials, limit)
            seconds = time.perf_counter() - begin
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        else:
            processes = [
                multiprocessing.Process(target=search, args=(kind, draws, folder, trials, 2, limit)) for _ in range(2)
            ]
            for process in processes:
                process.start()
            best = ask(study, processes)
            for process in processes:
                process.join()
            seconds = time.perf_counter() - begin
            memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # of the larger process
            begin = time.perf_counter()
            study = optuna.load_study(study_name="grid", storage=storage(kind, folder))
            study.best_trial
            restart = time.perf_counter() - begin
        finished = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
        points = {tuple(sorted(trial.params.items())) for trial in finished}
        figures = {
            "finished": len(finished), "distinct": len(points), "seconds": seconds, "create_seconds": created,
            "memory_bytes": memory * 1024, "disk_bytes": disk(folder), "best_milliseconds": best,
            "restart_seconds": restart,
        }  # fmt: skip
        print(json.dumps({name: value for name, value in figures.items() if value is not None}), flush=True)


if __name__ == "__main__":
    main()
