"""The client."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from trellis import _actions, _spec, api
from trellis._actions import Best, Update
from trellis._base import SyncClient
from trellis._iterate import Listing, Stream, Trials
from trellis._spec import Spec
from trellis._transport import Request, path

# A study: its name, or what a call has returned.
Study = str | api.Study
# A trial: its index, or what a call has returned.
Trial = int | api.Trial


def _name(study: Study) -> str:
    return study if isinstance(study, str) else study.name


def _index(trial: Trial) -> int:
    return trial.index if isinstance(trial, api.Trial) else int(trial)


def _get(*parts: str | int, **query: Any) -> Request:
    return Request("GET", path(*parts), query, repeatable=True)


def _change(study: Study, verb: str, body: Any = None, *, repeatable: bool = False) -> Request:
    return Request("POST", path("studies", _name(study), verb=verb), body=body, repeatable=repeatable)


def _time(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


class Client(SyncClient):
    """A client of a coordinator that was started with --http.

        with Client("http://localhost:8080") as client:
            study = client.submit("study.yaml")
            client.wait(study)
            best = client.best(study)
            print(best.trial.parameters)

    The address is that of `--http`, by default the variable TRELLIS_HTTP: `http://host:port`, `https://host:port`, or
    `host:port`, which uses TLS for other machines unless `insecure`. `token`, `token_file`, `authority`, `certificate`,
    `key` and `insecure` are what the command line has, and by default the variables that it reads: TRELLIS_TOKEN,
    TRELLIS_TOKEN_FILE, TRELLIS_AUTHORITY, TRELLIS_CERTIFICATE, TRELLIS_KEY, TRELLIS_INSECURE. `timeout` is how long a
    call waits for its answer, in seconds. Where that is safe, calls are repeated for `wait` seconds while no coordinator
    answers.

    A study is given by its name or by what a call has returned of it, and a trial by its index or what a call has
    returned. Threads may share a client. What a coordinator refuses is an `APIError`, in its words.
    """

    # Studies.

    def submit(self, spec: Spec, *, fresh: bool = False) -> api.Study:
        """Submit a study: a mapping as a spec file has it, the text of a spec file, or the path of one.

        A text of one line that ends in .yaml, .yml or .json is a path. `fresh` uses no results of other studies. In a
        mapping, `program: {"files": FOLDER}` is uploaded. For a spec file with `files`, use `trellis submit`.
        """
        return self._run(_actions.submit, spec, fresh)

    def plan(self, spec: Spec, *, fresh: bool = False) -> api.PlanStudyResponse:
        """Say what a study would cost, without submitting it."""
        return self._run(_actions.plan, spec, fresh)

    def studies(self) -> Listing[api.Study]:
        """List all studies, the oldest first."""
        return self._list(_get("studies"), "studies", api.Study)

    def study(self, study: Study) -> api.Study:
        """Return a study as it is now."""
        return self._call(_get("studies", _name(study)), api.Study, "study")

    def watch(self, study: Study, *, since_index: int = 0, all_runs: bool = False) -> Stream[Update]:
        """Watch a study: its state and its runs at once, and what has changed after every change, until it has ended.

        With the `index` of an earlier update, the runs are those that have changed since. Of more than 10,000 runs, the
        first updates are `partial`: they have those that are being trained and the last 1,000 to change, unless you ask
        for `all_runs`. A lost connection goes on where it was.
        """
        return self._stream(_actions.watch(_name(study), since_index, all_runs))

    def wait(self, study: Study, *, timeout: float | None = None) -> api.Study:
        """Wait until a study has ended. Returns it. Raises TimeoutError after so many seconds, if any are given."""
        return self._run(_actions.wait, _name(study), timeout)

    def pause(self, study: Study) -> api.Study:
        """Pause a study: what is training goes on, and nothing else begins."""
        return self._call(_change(study, "pause", repeatable=True), api.Study, "study")

    def resume(self, study: Study) -> api.Study:
        """Resume a paused study."""
        return self._call(_change(study, "resume", repeatable=True), api.Study, "study")

    def cancel(self, study: Study) -> api.Study:
        """Cancel a study: its results stay, and nothing of it is trained any more."""
        return self._call(_change(study, "cancel"), api.Study, "study")

    def extend(
        self,
        study: Study,
        axes: Mapping[str, Any] | None = None,
        *,
        seeds: Sequence[int] = (),
        budget: Mapping[str, Any] | None = None,
        drop_budget: bool = False,
    ) -> api.ExtendStudyResponse:
        """Add values to axes of a study, or to its budget.

        `axes` has lists of values, or ranges as in a spec: `{"learning_rate": [0.1], "latent_dim": {"log2": {"from": 4,
        "to": 32, "count": 4}}}`. `budget` is `{"trials": 1000}`, `{"epochs": 20000}` or `{"time": "8h"}`.
        """
        body = _spec.extension(axes or {}, seeds, budget, drop_budget)
        return self._call(_change(study, "extend", body), api.ExtendStudyResponse)

    def plan_extension(
        self,
        study: Study,
        axes: Mapping[str, Any] | None = None,
        *,
        seeds: Sequence[int] = (),
        budget: Mapping[str, Any] | None = None,
        drop_budget: bool = False,
    ) -> api.PlanExtensionResponse:
        """Say what an extension would add, without extending the study."""
        body = _spec.extension(axes or {}, seeds, budget, drop_budget)
        return self._call(_change(study, "planExtension", body, repeatable=True), api.PlanExtensionResponse)

    def retry(self, study: Study, *, pruned: bool = False) -> api.RetryStudyResponse:
        """Retry the failed runs of a study, and those that were pruned if you say so."""
        return self._call(_change(study, "retry", {"pruned": pruned}), api.RetryStudyResponse)

    def delete(self, study: Study) -> None:
        """Delete a study with its results."""
        return self._run(_actions.delete, _name(study))

    def delete_checkpoints(self, study: Study) -> api.DeleteCheckpointsResponse:
        """Delete the checkpoints of a study that has ended, all but those of its best trial. Its results stay."""
        return self._call(_change(study, "deleteCheckpoints", repeatable=True), api.DeleteCheckpointsResponse)

    def plan_checkpoint_deletion(self, studies: Sequence[Study]) -> Sequence[api.CheckpointUse]:
        """Say what `delete_checkpoints` would delete of each of the studies, and how much room that frees."""
        return self._run(_actions.plan_checkpoint_deletion, [_name(study) for study in studies])

    # Answers.

    def best(self, study: Study, *, confidence: float | None = None) -> Best:
        """Return the best trial, with its losses, and how certain that is. Raises StateError before there is one."""
        return self._run(_actions.best, _name(study), confidence)

    def trials(self, study: Study, *, order_by: str = "", filter: str = "", losses: bool = False) -> Trials:
        """Return the trials, to iterate over or as a table of pandas or polars.

        `order_by` and `filter` are those of `trellis trials`: `order_by="objective"`, `filter="learning_rate < 1e-2"`.
        `losses` adds the losses of each epoch.
        """
        return self._list_trials(
            _get("studies", _name(study), "trials", order_by=order_by or None, filter=filter or None, losses=losses)
        )

    def trial(self, study: Study, trial: Trial, *, losses: bool = False) -> api.Trial:
        """Return a trial as it is now."""
        request = _get("studies", _name(study), "trials", _index(trial), losses=losses)
        return self._call(request, api.Trial, "trial")

    def configurations(self, study: Study, *, confidence: float | None = None) -> Listing[api.Configuration]:
        """List the configurations, trials that differ in their seed alone taken together, the best first."""
        return self._list(
            _get("studies", _name(study), "configurations", confidence=confidence), "configurations", api.Configuration
        )

    def report(self, study: Study) -> api.Report:
        """Return the report of a study: counts, sharing, failures, and its digest."""
        return self._call(_get("studies", _name(study), "report"), api.Report, "report")

    def importance(self, study: Study) -> api.Importance:
        """Return which parameters matter, and how much."""
        return self._call(_get("studies", _name(study), "importance"), api.Importance, "importance")

    def suggestion(self, study: Study) -> api.SuggestStudyResponse:
        """Return a suggestion for the next study: a finer grid around the best."""
        return self._call(_get("studies", _name(study), "suggestion"), api.SuggestStudyResponse)

    # Runs.

    def run(self, study: Study, run: str) -> api.Run:
        """Return a run: one training, which may serve several trials. `trial.run` is its id."""
        return self._call(_get("studies", _name(study), "runs", run), api.Run, "run")

    def checkpoints(self, study: Study, trial: Trial) -> Sequence[api.Checkpoint]:
        """Return which checkpoints the run of a trial has saved."""
        return self._run(_actions.checkpoints, _name(study), _index(trial))

    def checkpoint(
        self, study: Study, trial: Trial, folder: str | os.PathLike[str] | None = None, *, last: bool = False
    ) -> Path:
        """Download the checkpoint of a trial's best epoch into a folder, or the last that its run has saved.

        The folder must be empty or not there, and is STUDY-trial-N by default. Of a program it then has what the program
        saved, for which Python before 3.14 needs a package: `pip install backports.zstd`. Returns the folder.
        """
        return self._run(_actions.checkpoint, _name(study), _index(trial), folder, last)

    def logs(self, study: Study, trial: Trial, *, attempt: int | None = None, follow: bool = False) -> Stream[str]:
        """Return the lines that the program of a trial has written, in its last attempt or another.

        With `follow` it waits for more, and for the next attempts, until the run has ended.
        """
        return self._stream(_actions.logs(_name(study), _index(trial), attempt, follow))

    # Charts: what the web page draws. Of large studies they are samples, and say of how many.

    def curves(
        self,
        study: Study,
        *,
        metric: str = "",
        filter: str = "",
        best: int = 0,
        sample: int = 0,
        open: int = 0,
        points: int = 0,
        keep: Literal["", "lowest", "highest", "last"] = "",
    ) -> api.GetCurvesResponse:
        """Return learning curves: of the best runs, of a sample of the others, and of those that train."""
        query = {"metric": metric, "filter": filter, "best": best, "sample": sample, "open": open, "points": points}
        query["keep"] = f"KEEP_{keep.upper()}" if keep else ""
        request = _get("studies", _name(study), "curves", **{name: value or None for name, value in query.items()})
        return self._call(request, api.GetCurvesResponse)

    def points(
        self, study: Study, *, filter: str = "", points: int = 0, best: int = 0, fields: Sequence[str] = ()
    ) -> api.GetPointsResponse:
        """Return trials as points: their parameters, the objective, and other fields."""
        request = _get(
            "studies",
            _name(study),
            "points",
            filter=filter or None,
            points=points or None,
            best=best or None,
            fields=list(fields),
        )
        return self._call(request, api.GetPointsResponse)

    def heat_map(
        self,
        study: Study,
        x: str,
        y: str,
        *,
        fold: Literal["best", "mean"] = "best",
        filter: str = "",
        cells: int = 0,
    ) -> api.GetHeatMapResponse:
        """Return the objective over two parameters: the best, or the mean, over all others."""
        request = _get(
            "studies",
            _name(study),
            "heat-map",
            x=x,
            y=y,
            fold=f"FOLD_{fold.upper()}",
            filter=filter or None,
            cells=cells or None,
        )
        return self._call(request, api.GetHeatMapResponse)

    def history(self, study: Study, *, steps: int = 0) -> api.GetHistoryResponse:
        """Return the best objective over time."""
        return self._call(_get("studies", _name(study), "history", steps=steps or None), api.GetHistoryResponse)

    def distribution(
        self,
        study: Study,
        *,
        bins: int = 0,
        scale: Literal["linear", "logarithmic"] = "linear",
        filter: str = "",
        range: tuple[float, float] | None = None,
    ) -> api.GetDistributionResponse:
        """Return how the objectives are distributed."""
        query: dict[str, Any] = {"bins": bins or None, "scale": f"SCALE_{scale.upper()}", "filter": filter or None}
        if range is not None:
            query["from"], query["to"] = range
        return self._call(_get("studies", _name(study), "distribution", **query), api.GetDistributionResponse)

    def coverage(self, study: Study, *, x: str = "", y: str = "", cells: int = 0) -> api.GetCoverageResponse:
        """Return the states of the grid's points, in its own order or over two parameters."""
        request = _get("studies", _name(study), "coverage", x=x or None, y=y or None, cells=cells or None)
        return self._call(request, api.GetCoverageResponse)

    def time_line(
        self,
        study: Study,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        bars: int = 0,
        workers: Sequence[str] = (),
    ) -> api.GetTimeLineResponse:
        """Return the attempts over time, by worker."""
        query: dict[str, Any] = {"from": _time(start), "to": _time(end), "bars": bars or None, "workers": list(workers)}
        return self._call(_get("studies", _name(study), "time-line", **query), api.GetTimeLineResponse)

    # The coordinator.

    def models(self) -> Sequence[api.Model]:
        """Return the models that can be trained, with their axes and metrics."""
        return self._run(_actions.models)

    def workers(self) -> Listing[api.Worker]:
        """List the workers."""
        return self._list(_get("workers"), "workers", api.Worker)

    def events(self) -> Listing[api.Event]:
        """List who changed what, the latest first."""
        return self._list(_get("events"), "events", api.Event)

    def watch_events(self, *, since_number: int | None = None) -> Stream[api.WatchEventsResponse]:
        """Watch who changes what from now on, or after the event with a number: 0 for all that are kept.

        It does not end by itself: close it, or leave its `with`. The first response comes at once, even if nothing has
        happened. A lost connection goes on where it was, and `missed` says how many events are no longer kept.
        """
        return self._stream(_actions.watch_events(since_number))

    def paper_reports(self) -> Sequence[api.PaperReport]:
        """Return the reports of `trellis reproduce`, without what is in them."""
        return self._run(_actions.paper_reports)

    def paper_report(self, report: str) -> api.GetPaperReportResponse:
        """Return a report of `trellis reproduce`, with those of its studies that exist."""
        return self._call(_get("reports", report), api.GetPaperReportResponse)

    def cluster(self) -> api.GetClusterResponse:
        """Return the nodes of the cluster."""
        return self._call(_get("cluster"), api.GetClusterResponse)

    def whoami(self) -> api.WhoAmIResponse:
        """Return who calls, and in which role."""
        return self._call(_get("whoami"), api.WhoAmIResponse)
