"""What takes more than one call."""

from __future__ import annotations

import base64
import codecs
import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trellis import _folder, _spec, api
from trellis._errors import APIError, Error, ExistsError, InvalidError, NotFoundError, StateError, UnavailableError
from trellis._transport import Answer, Cancel, Closed, Patience, Request, Transport, path

# A coordinator may have to download a data set before it answers, in seconds.
CREATE_TIMEOUT = 600.0
# How long to wait for the next attempt of a run, in seconds.
NEXT_ATTEMPT = 0.5
RUN_ENDED = ("RUN_STATE_SUCCEEDED", "RUN_STATE_FAILED", "RUN_STATE_CANCELED", "RUN_STATE_PRUNED")


@dataclass(frozen=True)
class Best:
    """The best trial of a study, and how certain that is."""

    # With its losses. If verdict.best is None, there is no best, and this is the first of the trials with results.
    trial: api.Trial
    # The next in rank that differs in more than max_epochs.
    runner_up: api.Trial | None
    verdict: api.Verdict
    study: api.Study


@dataclass(frozen=True)
class Update:
    """What has changed of a study."""

    study: api.Study
    # None before the first trial has succeeded.
    best: api.Trial | None
    # The runs that have changed.
    runs: Sequence[api.Run]
    # What their models report besides losses after the last epoch, by run.
    metrics: Mapping[str, api.Metrics]
    # Where a later watch can go on.
    index: int
    # Runs have been left out because more than 10,000 have changed. Never with all_runs.
    partial: bool


def best(transport: Transport, cancel: Cancel, study: str, confidence: float | None) -> Best:
    request = Request("GET", path("studies", study, "best"), {"confidence": confidence}, repeatable=True)
    answer = api.GetBestTrialResponse.from_json(transport.call(request, cancel))
    return Best(
        answer.trial or api.Trial(), answer.runner_up, answer.verdict or api.Verdict(), answer.study or api.Study()
    )


def watch(study: str, since_index: int, all_runs: bool = False) -> Callable[[Transport, Cancel], Iterator[Update]]:
    def updates(transport: Transport, cancel: Cancel) -> Iterator[Update]:
        query = {"since_index": since_index or None, "all_runs": all_runs or None}
        request = Request("GET", path("studies", study, verb="watch"), query)
        for event in transport.events(request, cancel):
            one = api.WatchStudyResponse.from_json(event)
            yield Update(one.study or api.Study(), one.best, one.runs, one.metrics, one.index, one.partial)

    return updates


def watch_events(since_number: int | None) -> Callable[[Transport, Cancel], Iterator[api.WatchEventsResponse]]:
    def responses(transport: Transport, cancel: Cancel) -> Iterator[api.WatchEventsResponse]:
        request = Request("GET", path("events", verb="watch"), {"since_number": since_number})
        for event in transport.events(request, cancel):
            yield api.WatchEventsResponse.from_json(event)

    return responses


def wait(transport: Transport, cancel: Cancel, study: str, timeout: float | None = None) -> api.Study:
    if timeout is None:
        return _wait(transport, cancel, study)
    over = threading.Event()

    def end() -> None:
        over.set()
        cancel.now()

    timer = threading.Timer(timeout, end)
    timer.daemon = True
    timer.start()
    try:
        return _wait(transport, cancel, study)
    except (Closed, Error) as error:
        if over.is_set():
            raise TimeoutError(f"study {study} has not ended within {timeout:g} seconds") from error
        raise
    finally:
        timer.cancel()


def _wait(transport: Transport, cancel: Cancel, study: str) -> api.Study:
    get = Request("GET", path("studies", study), repeatable=True)
    last = api.Study.from_json(transport.call(get, cancel).get("study", {}))
    transport.begin(cancel)
    try:
        # Runs that have not changed since are left out.
        for update in watch(study, last.modify_index)(transport, cancel):
            last = update.study
    finally:
        transport.end(cancel)
    return last


def _parse(transport: Transport, cancel: Cancel, spec: _spec.Spec, query: Mapping[str, Any]) -> tuple[Any, str]:
    """Return what the coordinator reads in a spec, and the spec's name."""
    if isinstance(spec, Mapping):
        spec = _folder.with_files(spec, lambda packed: _upload(transport, cancel, packed))
    text = _spec.read(spec)
    request = Request("POST", path("specs", verb="parse"), body={"text": text.text, **query}, repeatable=True)
    try:
        return transport.call(request._replace(timeout=CREATE_TIMEOUT), cancel), text.name
    except InvalidError as error:
        raise _spec.named(error, text.name) from None


def plan(transport: Transport, cancel: Cancel, spec: _spec.Spec, fresh: bool) -> api.PlanStudyResponse:
    answer, _ = _parse(transport, cancel, spec, {"plan": True, "fresh": fresh})
    return api.PlanStudyResponse.from_json(answer.get("plan", {}))


def submit(transport: Transport, cancel: Cancel, spec: _spec.Spec, fresh: bool) -> api.Study:
    answer, name = _parse(transport, cancel, spec, {})
    parsed = answer.get("spec", {})
    create = Request("POST", path("studies"), body={"spec": parsed, "fresh": fresh}, timeout=CREATE_TIMEOUT)
    patience = Patience(transport.wait, cancel)
    first = True
    while True:
        try:
            return api.Study.from_json(transport.call(create, cancel).get("study", {}))
        except UnavailableError as error:
            # The study may be there or not.
            if not patience.again(error.retry_after):
                raise
        except ExistsError:
            if first:
                raise
            get = Request("GET", path("studies", parsed.get("name", "")), repeatable=True)
            there = transport.call(get, cancel).get("study", {})
            if bool(there.get("fresh")) != fresh or not _includes(there.get("spec", {}), parsed):
                raise
            return api.Study.from_json(there)
        except InvalidError as error:
            raise _spec.named(error, name) from None
        first = False


def _includes(whole: Any, part: Any) -> bool:
    """Return whether a study's spec is the one that was submitted: it also has defaults."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(_includes(whole.get(name), value) for name, value in part.items())
    if isinstance(part, list):
        return isinstance(whole, list) and len(whole) == len(part) and all(map(_includes, whole, part))
    return bool(whole == part)


def _upload(transport: Transport, cancel: Cancel, packed: bytes) -> str:
    digest = hashlib.sha256(packed).hexdigest()
    has = Request("GET", path("artifacts", digest, verb="has"), repeatable=True)
    if not transport.call(has, cancel).get("found"):
        # The same file is the same artifact.
        transport.call(Request("POST", path("artifacts"), body=packed, repeatable=True, timeout=CREATE_TIMEOUT), cancel)
    return digest


def run_of(transport: Transport, cancel: Cancel, study: str, trial: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a trial, and its run with its configuration, as in JSON."""
    found = transport.call(Request("GET", path("studies", study, "trials", trial), repeatable=True), cancel)
    its = found.get("trial", {})
    return its, transport.call(
        Request("GET", path("studies", study, "runs", its.get("run", "")), repeatable=True), cancel
    )


def checkpoints(transport: Transport, cancel: Cancel, study: str, trial: int) -> Sequence[api.Checkpoint]:
    _, answer = run_of(transport, cancel, study, trial)
    return api.Run.from_json(answer.get("run", {})).checkpoints


def checkpoint(
    transport: Transport, cancel: Cancel, study: str, trial: int, folder: str | os.PathLike[str] | None, last: bool
) -> Path:
    its, answer = run_of(transport, cancel, study, trial)
    kept = api.Run.from_json(answer.get("run", {})).checkpoints
    if last and not kept:
        raise StateError(f"the run of trial {trial} has saved no checkpoint", code="FAILED_PRECONDITION")
    saved = kept[-1] if last else _best_checkpoint(api.Trial.from_json(its), kept)
    to = Path(folder) if folder is not None else Path(f"{study}-trial-{trial}")
    to.mkdir(parents=True, exist_ok=True)
    if any(to.iterdir()):
        raise Error(f"the folder {to} is not empty: choose another")
    if not saved.program:
        _download(transport, cancel, saved.sha256, to / f"epoch-{saved.epoch}.checkpoint")
        return to
    with tempfile.TemporaryDirectory(prefix="trellis-checkpoint-") as temporary:
        packed = Path(temporary) / "checkpoint.tar.zst"
        _folder.check_unpacking()
        _download(transport, cancel, saved.sha256, packed)
        _folder.unpack(packed, to)
    return to


def _best_checkpoint(trial: api.Trial, kept: Sequence[api.Checkpoint]) -> api.Checkpoint:
    """Return the checkpoint with the weights of a trial's best epoch."""
    if trial.best_epoch == 0:
        raise StateError(f"trial {trial.index} has no weights: it is {trial.state}", code="FAILED_PRECONDITION")
    its = [one for one in kept if one.best_epoch == trial.best_epoch]
    if not its:
        raise NotFoundError(
            f"the weights of trial {trial.index}, those of epoch {trial.best_epoch}, are not kept: "
            f"trellis checkpoint get {trial.study} {trial.index} says why",
            code="NOT_FOUND",
        )
    # The one at the trial's end is kept as long as the run.
    return next((one for one in its if one.epoch == trial.epochs), its[-1])


def _download(transport: Transport, cancel: Cancel, digest: str, to: Path) -> None:
    def read(answer: Answer) -> str:
        hashed = hashlib.sha256()
        with to.open("wb") as file:
            for piece in answer.pieces():
                hashed.update(piece)
                file.write(piece)
        return hashed.hexdigest()

    request = Request("GET", path("artifacts", digest), repeatable=True)
    found = transport.fetch(
        request, read, cancel, {"Accept": "application/octet-stream", "Accept-Encoding": "identity"}
    )
    if found != digest:
        raise Error(f"the checkpoint {digest} is damaged: what has arrived has the digest {found}")


def logs(study: str, trial: int, attempt: int | None, follow: bool) -> Callable[[Transport, Cancel], Iterator[str]]:
    def lines(transport: Transport, cancel: Cancel) -> Iterator[str]:
        _, answer = run_of(transport, cancel, study, trial)
        config = answer.get("config", {})
        if "program" not in config:
            raise StateError(
                f"trial {trial} has no output: its study trains the model {config.get('model', '')}, and only programs "
                "have output",
                code="FAILED_PRECONDITION",
            )
        run = answer.get("run", {})
        shown = _Shown()
        while True:
            request = Request(
                "GET",
                path("studies", study, "runs", run.get("id", ""), "output"),
                {"attempt": attempt or None, "follow": follow or None},
            )
            cut: APIError | None = None
            try:
                yield from shown.lines(transport.events(request, cancel))
                shown.whole = True
            except (NotFoundError, UnavailableError) as error:
                # The next attempt may have no output yet, the worker of the last may be lost, and that of one that goes on
                # may not have come back to a coordinator that has restarted.
                if not follow or attempt and not shown.attempt:
                    raise
                cut = error
            over = attempt and (shown.whole or int(run.get("attempt", 0)) != attempt)
            if not follow or over or run.get("state") in RUN_ENDED:
                yield from shown.end()
                # What is missing will never come. A run that has no output at all has all of it.
                if cut and not shown.whole and (shown.attempt or isinstance(cut, UnavailableError)):
                    raise cut
                return
            cancel.pause(NEXT_ATTEMPT)
            _, answer = run_of(transport, cancel, study, trial)
            run = answer.get("run", {})

    return lines


class _Shown:
    """What has been shown of the output of an attempt, and of the attempts before."""

    def __init__(self) -> None:
        self.attempt = 0
        # Whether it is all that there is of the attempt, and if not, how many bytes.
        self.whole = False
        self._bytes = 0
        self._begin()

    def _begin(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def end(self) -> Iterator[str]:
        """Return the last line, which does not end."""
        rest = self._rest + self._decoder.decode(b"", True)
        self._begin()
        if rest:
            yield rest

    def lines(self, events: Iterator[Any]) -> Iterator[str]:
        """Return the lines of an attempt that have not been shown. Its events are those from its beginning on."""
        at = 0
        for event in events:
            attempt = int(event.get("attempt", 0))
            if attempt != self.attempt:
                yield from self.end()
                self.attempt, self.whole, self._bytes = attempt, False, 0
            elif self.whole:
                return
            at += int(event.get("omitted", 0))
            if at > self._bytes:
                yield from self.end()
                yield f"[{at - self._bytes} bytes left out]"
                self._bytes = at
            data = base64.b64decode(event.get("data", ""))
            new = data[self._bytes - at :]
            at += len(data)
            self._bytes = max(self._bytes, at)
            *whole, self._rest = (self._rest + self._decoder.decode(new)).split("\n")
            yield from whole



def delete(transport: Transport, cancel: Cancel, study: str) -> None:
    transport.call(Request("DELETE", path("studies", study)), cancel)


def plan_checkpoint_deletion(
    transport: Transport, cancel: Cancel, studies: Sequence[str]
) -> Sequence[api.CheckpointUse]:
    request = Request(
        "POST", path("studies", verb="planCheckpointDeletion"), body={"studies": list(studies)}, repeatable=True
    )
    return api.PlanCheckpointDeletionResponse.from_json(transport.call(request, cancel)).studies


def paper_reports(transport: Transport, cancel: Cancel) -> Sequence[api.PaperReport]:
    return api.ListPaperReportsResponse.from_json(
        transport.call(Request("GET", path("reports"), repeatable=True), cancel)
    ).reports


def models(transport: Transport, cancel: Cancel) -> Sequence[api.Model]:
    return api.ListModelsResponse.from_json(
        transport.call(Request("GET", path("models"), repeatable=True), cancel)
    ).models
