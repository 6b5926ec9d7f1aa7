"""Starts TensorBoard and MLflow on exports of a study, and compares what they say with its export as CSV.

Usage: exports.py FOLDER, which has the folders csv, parquet, tensorboard and mlflow, and an MLflow export of another study, model.
"""

import json
import math
import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.request

import numpy
import pandas

folder = pathlib.Path(sys.argv[1])
trials = pandas.read_csv(folder / "csv/trials.csv")
epochs = pandas.read_csv(folder / "csv/epochs.csv")
parameters = ["latent_dim", "learning_rate", "weight_decay", "max_epochs", "batch_size", "seed"]


def same(got, want):
    return got == want or math.isnan(got) and math.isnan(want)


def parquet():
    for name, want in {"trials": trials, "epochs": epochs}.items():
        pandas.testing.assert_frame_equal(pandas.read_parquet(folder / f"parquet/{name}.parquet"), want, check_dtype=False)
    print(f"Parquet: {len(trials)} trials, {len(epochs)} epochs")


class Server:
    """A program that serves a port until the block ends."""

    def __init__(self, *command, environment=None):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = open(folder / "server.log", "w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command, "--host", "127.0.0.1", "--port", str(self.port)],
            stdout=self.log, stderr=self.log, env={**os.environ, **(environment or {})}, start_new_session=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.killpg(self.process.pid, 15)
        self.process.wait()

    def call(self, path, body=None):
        """The answer as JSON, waiting for the server to be there."""
        data = None if body is None else json.dumps(body).encode()
        for second in range(120):
            try:
                request = urllib.request.Request(
                    f"http://127.0.0.1:{self.port}{path}", data, {"Content-Type": "application/json"})
                return json.load(urllib.request.urlopen(request, timeout=60))
            except urllib.error.HTTPError as error:
                last = error
                if error.code not in (404, 500, 503):
                    raise
            except OSError as error:
                last = error
            time.sleep(1)
        self.log.seek(0)
        sys.exit(f"{path}: {last}\n{self.log.read()}")


def tensorboard():
    with Server("tensorboard.main", "--logdir", str(folder / "tensorboard")) as server:
        request = {
            "startIndex": 0, "sliceSize": 1000,
            "allowedStatuses": ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"],
            "colParams": [{"hparam": name} for name in parameters] + [{"metric": {"tag": "objective", "group": ""}}],
        }
        for second in range(120):  # It reads the files one by one.
            groups = {g["name"]: g for g in server.call("/data/plugin/hparams/session_groups", request)["sessionGroups"]}
            tags = server.call("/data/plugin/scalars/tags")
            if len(groups) == len(trials) and len(tags) == len(trials):
                break
            time.sleep(1)
        digits = len(str(trials.trial.max()))
        for _, trial in trials.iterrows():
            name = f"trial-{trial.trial:0{digits}}"
            group = groups[name]
            assert group["hparams"] == {p: float(trial[p]) for p in parameters}, (name, group["hparams"])
            status = "STATUS_FAILURE" if trial.state == "diverged" else "STATUS_SUCCESS"
            assert group["sessions"][0]["status"] == status, (name, group["sessions"][0]["status"])
            values = {v["name"]["tag"]: v for v in group["metricValues"]}
            got = values["objective"]["value"]
            got = float(got) if isinstance(got, str) else got
            assert same(got, float(numpy.float32(trial.objective))), (name, got, trial.objective)
            for tag in ["train_loss", "validation_loss"]:
                curve = server.call(f"/data/plugin/scalars/scalars?tag={tag}&run={name}")
                want = epochs[epochs.trial == trial.trial]
                assert [step for _, step, _ in curve] == list(want.epoch), (name, tag, curve)
                for (_, _, value), expected in zip(curve, want[tag]):
                    assert same(float(value), float(numpy.float32(expected))), (name, tag, value, expected)
    print(f"TensorBoard: {len(groups)} sessions in HParams, with their curves")


def mlflow():
    database = f"sqlite:///{folder.absolute() / 'mlflow.db'}"
    migrated = subprocess.run(
        [sys.executable, "-m", "mlflow", "migrate-filestore", "--source", folder / "mlflow", "--target", database],
        capture_output=True, text=True)
    if migrated.returncode:
        sys.exit(f"migrate-filestore: {migrated.stdout}{migrated.stderr}")
    store = (folder / "mlflow").absolute().as_uri()
    for backend, environment in {database: {}, store: {"MLFLOW_ALLOW_FILE_STORE": "true"}}.items():
        with Server("mlflow", "server", "--workers", "1", "--backend-store-uri", backend, environment=environment) as server:
            api = "/api/2.0/mlflow/"
            experiment = server.call(api + "experiments/get-by-name?experiment_name=export")["experiment"]
            found = server.call(api + "runs/search", {"experiment_ids": [experiment["experiment_id"]], "max_results": 1000})
            runs = {r["info"]["run_name"]: r for r in found["runs"]}
            assert len(runs) == len(trials), len(runs)
            for _, trial in trials.iterrows():
                run = runs[f"trial-{trial.trial}"]
                got = {p["key"]: float(p["value"]) for p in run["data"]["params"]}
                assert got == {p: float(trial[p]) for p in parameters}, (trial.trial, got)
                assert run["info"]["status"] == ("FAILED" if trial.state == "diverged" else "FINISHED"), run["info"]
                tags = {t["key"]: t["value"] for t in run["data"]["tags"]}
                assert tags["trellis.run"] == trial.run and tags["trellis.stop_reason"] == trial.stop_reason, tags
                got = {m["key"]: float(m["value"]) for m in run["data"]["metrics"]}
                for name in ["objective", "test_loss"]:
                    want = float(trial[name])
                    assert same(got.get(name, math.nan), want), (trial.trial, name, got, want)
                history = server.call(
                    f"{api}metrics/get-history?run_id={run['info']['run_id']}&metric_key=validation_loss")["metrics"]
                want = epochs[epochs.trial == trial.trial]
                assert [m["step"] for m in history] == list(want.epoch), history
                for metric, expected in zip(history, want.validation_loss):
                    assert same(float(metric["value"]), expected), (trial.trial, metric, expected)
        print(f"MLflow on {backend.split(':')[0]}: {len(runs)} runs")


def model():
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    import mlflow as client

    client.set_tracking_uri((folder / "model").absolute().as_uri())
    runs = client.search_runs(experiment_names=["model"], filter_string="tags.`trellis.best` = 'true'", output_format="list")
    assert len(runs) == 1, runs
    loaded = client.pyfunc.load_model(f"runs:/{runs[0].info.run_id}/model")
    outputs = loaded.predict(numpy.zeros((2, 1, 28, 28), numpy.float32))
    assert outputs["reconstruction"].shape == (2, 1, 28, 28), outputs
    print("MLflow: loaded the best trial's model")


parquet()
tensorboard()
mlflow()
model()
