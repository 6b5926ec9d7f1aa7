"""The search by Ray Tune: two trials at a time."""

import itertools
import os
import tempfile

from body import Training
from ray import tune

points = [
    {"lr": lr, "optimizer": optimizer, "amp": amp, "max_epochs": max_epochs}
    for lr, optimizer, amp, max_epochs in itertools.product(
        [1e-3, 1e-2, 1e-1], ["adam", "sgd"], [True, False], [10, 20]
    )
    if optimizer != "sgd" or lr >= 1e-2
]


def train(config):
    parameters = dict(config["point"])
    max_epochs = parameters.pop("max_epochs")
    training = Training(**parameters)
    if checkpoint := tune.get_checkpoint():
        with checkpoint.as_directory() as folder:
            training.load(folder)
    while training.epoch < max_epochs:
        accuracy = training.train_epoch()
        with tempfile.TemporaryDirectory() as folder:
            training.save(folder)
            tune.report({"val_acc": accuracy}, checkpoint=tune.Checkpoint.from_directory(folder))


storage = os.path.abspath("ray-results")
if tune.Tuner.can_restore(storage + "/comparison"):  # The search was interrupted.
    tuner = tune.Tuner.restore(storage + "/comparison", train, resume_unfinished=True)
else:
    tuner = tune.Tuner(
        train,
        param_space={"point": tune.grid_search(points)},
        tune_config=tune.TuneConfig(metric="val_acc", mode="max", max_concurrent_trials=2),
        run_config=tune.RunConfig("comparison", storage, failure_config=tune.FailureConfig(max_failures=3)),
    )
best = tuner.fit().get_best_result("val_acc", "max", scope="all")
print(best.metrics_dataframe["val_acc"].max(), best.config)
