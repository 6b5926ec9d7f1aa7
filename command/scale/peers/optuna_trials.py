"""Optuna's trials a second over a grid, with 10 reports a trial.

    python optuna_trials.py STORAGE TRIALS

STORAGE is memory (one process, nothing is kept), journal or sqlite (two processes). TRIALS is a multiple of 10. Prints a
line: storage, finished trials, distinct points, seconds.
"""

import multiprocessing
import sys
import tempfile
import time

import optuna
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

RATES = [10 ** (-5 + 4 * i / 9) for i in range(10)]


def grid(trials):
    return {"latent_dim": list(range(1, trials // 10 + 1)), "learning_rate": RATES}


def storage(kind, folder):
    if kind == "journal":
        return JournalStorage(JournalFileBackend(folder + "/journal.log"))
    if kind == "sqlite":
        return RDBStorage(f"sqlite:///{folder}/trials.db", engine_kwargs={"connect_args": {"timeout": 60}})
    return None


def objective(trial):
    latent = trial.suggest_int("latent_dim", 1, 10**9)
    rate = trial.suggest_float("learning_rate", 1e-5, 1e-1)
    loss = 0.0
    for epoch in range(10):
        loss = 1 / (epoch + 1) + abs(latent - 16) * 1e-3 + abs(rate - 1e-3)
        trial.report(loss, epoch)
    return loss


def search(kind, folder, trials):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.GridSampler(grid(trials))
    optuna.load_study(study_name="grid", storage=storage(kind, folder), sampler=sampler).optimize(objective)


def main():
    kind, trials = sys.argv[1], int(sys.argv[2])
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        study = optuna.create_study(
            study_name="grid", storage=storage(kind, folder), sampler=optuna.samplers.GridSampler(grid(trials))
        )
        if kind == "memory":
            study.optimize(objective)
        else:
            processes = [multiprocessing.Process(target=search, args=(kind, folder, trials)) for _ in range(2)]
            for process in processes:
                process.start()
            for process in processes:
                process.join()
            study = optuna.load_study(study_name="grid", storage=storage(kind, folder))
        seconds = time.perf_counter() - begin
        finished = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
        points = {tuple(sorted(trial.params.items())) for trial in finished}
        print(kind, len(finished), len(points), round(seconds, 1), flush=True)


if __name__ == "__main__":
    main()
