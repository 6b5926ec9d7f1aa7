"""The search by Optuna: one process of this for each worker. The database that they share is made before:

optuna create-study --study-name comparison --storage sqlite:///optuna.db --direction maximize
"""

import os
from pathlib import Path

import optuna
from body import Training
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback

GRID = {"lr": [1e-3, 1e-2, 1e-1], "optimizer": ["adam", "sgd"], "amp": [True, False], "max_epochs": [10, 20]}


def objective(trial):
    parameters = {name: trial.suggest_categorical(name, values) for name, values in GRID.items()}
    if parameters["optimizer"] == "sgd" and parameters["lr"] < 1e-2:
        raise optuna.TrialPruned
    max_epochs = parameters.pop("max_epochs")
    training = Training(**parameters)
    # A trial that is retried resumes from the checkpoint of the one that it replaces.
    stored = trial.study.trials[trial.number]
    first = RetryHeartbeatStaleTrialCallback.retried_trial_number(stored)
    folder = Path("checkpoints") / str(trial.number if first is None else first)
    if (folder / "state.pt").exists():
        training.load(folder)
    best = max(stored.intermediate_values.values(), default=0.0)
    while training.epoch < max_epochs:
        accuracy = training.train_epoch()
        saving = folder / "saving"  # A kill must not leave half a checkpoint.
        saving.mkdir(parents=True, exist_ok=True)
        training.save(saving)
        os.replace(saving / "state.pt", folder / "state.pt")
        trial.report(accuracy, training.epoch)
        best = max(best, accuracy)
    return best


storage = RDBStorage(
    "sqlite:///optuna.db",
    engine_kwargs={"connect_args": {"timeout": 60}},
    heartbeat_interval=5,
    grace_period=15,
    heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=3, inherit_intermediate_values=True),
)
study = optuna.load_study(study_name="comparison", storage=storage, sampler=optuna.samplers.GridSampler(GRID))
study.optimize(objective)
print(study.best_value, study.best_params)
