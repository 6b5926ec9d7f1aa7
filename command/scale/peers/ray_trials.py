"""Ray Tune's trials a second over a grid, with 10 reports a trial, on two cores.

    python ray_trials.py TRIALS

TRIALS is a multiple of 10. Prints a line: actors (what reuses one process for many trials), finished trials, distinct points,
seconds.
"""

import logging
import os
import sys
import tempfile
import time

os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")

import ray
from ray import tune


def objective(config):
    for epoch in range(10):
        tune.report(
            {"loss": 1 / (epoch + 1) + abs(config["latent_dim"] - 16) * 1e-3 + abs(config["learning_rate"] - 1e-3)}
        )


def main():
    trials = int(sys.argv[1])
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        results = tune.Tuner(
            tune.with_resources(objective, {"cpu": 0.25}),
            param_space={
                "latent_dim": tune.grid_search(list(range(1, trials // 10 + 1))),
                "learning_rate": tune.grid_search([10 ** (-5 + 4 * i / 9) for i in range(10)]),
            },
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
            tune_config=tune.TuneConfig(reuse_actors=True),
        ).fit()
        seconds = time.perf_counter() - begin
        points = {(r.config["latent_dim"], r.config["learning_rate"]) for r in results}
        print("actors", len(results), len(points), round(seconds, 1), flush=True)


if __name__ == "__main__":
    main()
