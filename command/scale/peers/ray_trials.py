"""Ray Tune over a grid, with 10 reports a trial, on two cores. Actors are reused: one process trains many trials.

    python ray_trials.py TRIALS SECONDS

TRIALS is a multiple of 10. Stops after so many SECONDS. Keeps its data in the working directory, and removes
them. Prints a line of JSON: see peerFigures in peers.go.
"""

import json
import logging
import os
import resource
import sys
import tempfile
import time

os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")

import ray
from ray import tune

EPOCHS = 10


def objective(config):
    for epoch in range(EPOCHS):
        tune.report(
            {"loss": 1 / (epoch + 1) + abs(config["latent_dim"] - 16) * 1e-3 + abs(config["learning_rate"] - 1e-3)}
        )


def disk(folder):
    return sum(os.lstat(os.path.join(at, name)).st_blocks * 512 for at, _, names in os.walk(folder) for name in names)


def main():
    trials, limit = int(sys.argv[1]), float(sys.argv[2])
    # Sockets are in its own folder, whose path has to be short.
    with tempfile.TemporaryDirectory(prefix="ray-") as own, tempfile.TemporaryDirectory(dir=os.getcwd()) as folder:
        ray.init(
            num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, _temp_dir=own
        )  # fmt: skip
        trainable = tune.with_resources(objective, {"cpu": 0.25})
        begin = time.perf_counter()
        results = tune.Tuner(
            trainable,
            param_space={
                "latent_dim": tune.grid_search(list(range(1, trials // 10 + 1))),
                "learning_rate": tune.grid_search([10 ** (-5 + 4 * i / 9) for i in range(10)]),
            },
            run_config=tune.RunConfig(name="grid", storage_path=folder, verbose=0),
            tune_config=tune.TuneConfig(reuse_actors=True, time_budget_s=limit),
        ).fit()
        seconds = time.perf_counter() - begin
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # of the process that keeps the trials
        begin = time.perf_counter()
        tune.Tuner.restore(os.path.join(folder, "grid"), trainable).get_results()
        restart = time.perf_counter() - begin
        finished = [r for r in results if (r.metrics or {}).get("training_iteration") == EPOCHS]
        points = {(r.config["latent_dim"], r.config["learning_rate"]) for r in finished}
        figures = {
            "finished": len(finished), "distinct": len(points), "seconds": seconds, "memory_bytes": memory * 1024,
            "disk_bytes": disk(folder), "restart_seconds": restart,
        }  # fmt: skip
        ray.shutdown()
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
