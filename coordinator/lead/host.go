package lead

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/coordinator/access"
	"trellis/coordinator/artifact"
	"trellis/coordinator/spans"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
)

// maxFailureMessage is how many bytes of a worker's error message are kept.
const maxFailureMessage = 4096

// maxMissing is how many bytes are kept of the reason why weights could not be saved. A run may have 10,000 milestones,
// and an answer about the run has all of their reasons.
const maxMissing = 200

// errAgain is for a worker that says hello in the middle of its session.
var errAgain = status.Error(codes.InvalidArgument, "a worker must say hello only once, at the beginning of its session")

// errMixed is for what must be sent by itself. A checkpoint waits until its artifact is copied, and must not have a
// turn meanwhile: see the coordinator's Reading.
var errMixed = status.Error(codes.InvalidArgument, "a batch may have reports and outcomes only")

// host serves the sessions of workers: it records what they send, and tells them which attempts they hold according to
// the store.
type host struct {
	numerics string
	// lease and checkpointInterval are sent to workers. Without artifacts workers save no checkpoints:
	// checkpointInterval is then zero.
	lease, checkpointInterval time.Duration
	store                     Snapshots
	log                       Log
	artifacts                 admitter
	leases                    clocks
	recorder                  putter
	sessions                  *sessions
	dispatcher                waker
	logger                    *slog.Logger
	warnings                  *warnings
	// registering has an element for each worker that is being registered.
	registering chan struct{}
	spans       *spans.Spans
	asked       *asked
}

// admitter says whether a checkpoint may be recorded: see artifact.Keeper.
type admitter interface {
	Admit(ctx context.Context, checkpoint *trellisv1.Checkpoint) error
}

// clocks records that workers are alive, and their progress.
type clocks interface {
	heard(worker string)
	progress(worker string, heartbeat *trellisv1.Heartbeat)
}

var (
	_ admitter = (*artifact.Keeper)(nil)
	_ clocks   = (*leases)(nil)
)

// serve serves one worker, which has said hello, until its stream breaks, the term ends, or this node stops. It returns
// the reason, or nil if the worker has said goodbye.
func (h *host) serve(
	term, stopping context.Context, hello *trellisv1.Hello, stream trellisv1.WorkerService_SessionServer,
) error {
	worker := workerOf(hello, access.Of(stream.Context()))
	worker.LeaseMilliseconds = uint32(h.lease.Milliseconds())
	if err := h.checkName(worker); err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(stream.Context())
	defer end(nil)
	defer context.AfterFunc(term, func() { end(context.Cause(term)) })()
	// The session is open before the worker is registered. If its lease expires at this very moment, either the worker
	// is registered after it was marked as lost, or the session ends with the lease: it never goes on for a worker that
	// is lost.
	h.leases.heard(hello.GetWorker())
	session := h.sessions.open(term, hello.GetWorker(), end)
	session.share = shareOf(access.CallOf(stream.Context()))
	if reading, ok := stream.Context().Value(readingKey{}).(*Reading); ok {
		reading.session.Store(session)
	}
	defer h.sessions.close(session)
	if err := h.register(ctx, session, worker); errors.Is(err, results.ErrNotOwner) {
		return errTaken(worker.GetName())
	} else if err != nil {
		return err
	}
	h.leases.heard(hello.GetWorker())
	h.dispatcher.wake()
	h.logger.Info("worker connected", "worker", session.worker, "slots", hello.GetSlots(),
		"attempts", len(hello.GetAttempts()))

	// Both end at the latest with the stream, which ends when Session returns. They are not waited for: a peer that
	// does not read would keep the sender, and the session with it, for as long as it likes.
	go func() { end(h.send(ctx, session, hello, stream)) }()
	go func() { end(h.receive(ctx, session, stream)) }()
	select {
	case <-ctx.Done():
	case <-stopping.Done():
		end(context.Cause(stopping))
	}
	cause := context.Cause(ctx)
	level := slog.LevelInfo
	if term.Err() != nil {
		// That of all workers, which has been said.
		level = slog.LevelDebug
	}
	h.logger.Log(ctx, level, "worker disconnected", "worker", session.worker, "cause", cause)
	if errors.Is(cause, io.EOF) {
		return nil
	}
	return cause
}

// receive handles what the worker sends until the stream breaks.
func (h *host) receive(ctx context.Context, session *session, stream trellisv1.WorkerService_SessionServer) error {
	for {
		request, err := stream.Recv()
		if err != nil {
			return err
		}
		h.leases.heard(session.worker)
		if err := checkRequest(request); err != nil {
			return err
		}
		if batch := request.GetBatch(); batch != nil {
			err = h.handleBatch(ctx, session, batch.GetRequests())
		} else {
			err = h.handle(ctx, session, request)
		}
		if err != nil {
			return err
		}
	}
}

// handleBatch handles several requests, which may be reports and outcomes only.
func (h *host) handleBatch(ctx context.Context, session *session, requests []*trellisv1.SessionRequest) error {
	var entries []*trellisv1.RecordCommand_Entry
	for _, request := range requests {
		if request.GetReports() == nil && request.GetOutcome() == nil {
			return errMixed
		}
		its, err := h.entriesOf(ctx, session, request)
		if err != nil {
			return err
		}
		entries = append(entries, its...)
	}
	return h.put(ctx, session, entries...)
}

// entriesOf returns what a request has for the log: reports or an outcome.
func (h *host) entriesOf(
	ctx context.Context, session *session, request *trellisv1.SessionRequest,
) ([]*trellisv1.RecordCommand_Entry, error) {
	outcome := request.GetOutcome()
	if outcome == nil {
		entries := make([]*trellisv1.RecordCommand_Entry, len(request.GetReports().GetReports()))
		for i, reports := range request.GetReports().GetReports() {
			entries[i] = &trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Reports{Reports: reports}}
		}
		return entries, nil
	}
	if failure := outcome.GetFailure(); failure != nil {
		failure.Attempt, failure.Worker = outcome.GetAttempt(), session.worker
		failure.Message = truncate(failure.GetMessage(), maxFailureMessage)
	}
	if err := h.admitOutput(ctx, session, outcome); err != nil {
		return nil, err
	}
	entry := &trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Outcome{Outcome: outcome}}
	return []*trellisv1.RecordCommand_Entry{entry}, nil
}

// handle handles a request. It returns io.EOF after a goodbye.
func (h *host) handle(ctx context.Context, session *session, request *trellisv1.SessionRequest) error {
	switch message := request.GetMessage().(type) {
	case *trellisv1.SessionRequest_Heartbeat:
		h.leases.progress(session.worker, message.Heartbeat)
		session.beat(message.Heartbeat.GetNumber())
	case *trellisv1.SessionRequest_Reports, *trellisv1.SessionRequest_Outcome:
		entries, err := h.entriesOf(ctx, session, request)
		if err != nil {
			return err
		}
		return h.put(ctx, session, entries...)
	case *trellisv1.SessionRequest_Checkpoint:
		return h.receiveCheckpoint(ctx, session, message.Checkpoint)
	case *trellisv1.SessionRequest_Output:
		session.answer(message.Output)
	case *trellisv1.SessionRequest_Drain:
		return setWorkerState(ctx, h.store, h.log, session.worker, trellisv1.WorkerState_WORKER_STATE_DRAINING)
	case *trellisv1.SessionRequest_Goodbye:
		if err := setWorkerState(ctx, h.store, h.log, session.worker,
			trellisv1.WorkerState_WORKER_STATE_GONE); err != nil {
			return err
		}
		return io.EOF
	default:
		return errAgain
	}
	return nil
}

// maxReports is how many bytes the reports of a request may take in memory. A worker's take about 1 MiB at most: one
// epoch of each of 1,700 runs.
const maxReports = 3 << 19

// checkRequest refuses a request that is larger than any that workers send. A few sessions hold one each while they
// wait for room in the recorder's queue.
func checkRequest(request *trellisv1.SessionRequest) error {
	bytes := int64(request.EncodedSize())
	if bytes > trellisv1.MaxSessionRequest {
		return status.Errorf(codes.InvalidArgument, "a worker sent a request of %d bytes: at most %d are accepted",
			bytes, trellisv1.MaxSessionRequest)
	}
	for _, part := range request.Parts() {
		for _, reports := range part.GetReports().GetReports() {
			bytes += entryBytes + valueBytes*valuesIn(reports)
		}
	}
	if bytes > maxReports {
		return status.Errorf(codes.InvalidArgument, "a worker sent reports that take %d bytes of memory: at most %d are "+
			"accepted", bytes, maxReports)
	}
	return nil
}

// receiveCheckpoint handles a checkpoint that a worker says it has uploaded, or could not upload. One that can't be
// referred to is recorded as missing. It is acknowledged nevertheless: the worker has nothing better to send, and goes
// on.
func (h *host) receiveCheckpoint(ctx context.Context, session *session, report *trellisv1.CheckpointReport) error {
	entry := &trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Checkpoint{Checkpoint: report}}
	if report.GetMissing() != "" {
		// The store keeps the reason.
		report.Missing = truncate(report.GetMissing(), maxMissing)
		h.warnings.warn("weights could not be saved", "study", truncate(report.GetStudy(), maxWarning),
			"run", truncate(report.GetRun(), maxWarning), "epoch", report.GetCheckpoint().GetEpoch(),
			"worker", session.worker, "reason", report.GetMissing())
		return h.put(ctx, session, entry)
	}
	if held, err := h.holds(session, entry); err != nil || !held {
		return err
	}
	// The worker is not read while an artifact is copied, which is no fault of its own.
	released := session.holdUp()
	err := h.artifacts.Admit(ctx, report.GetCheckpoint())
	h.leases.heard(session.worker)
	released()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		h.warnings.warn("refused a checkpoint: if the run is interrupted, it goes on from an earlier one",
			"study", truncate(report.GetStudy(), maxWarning), "run", truncate(report.GetRun(), maxWarning),
			"epoch", report.GetCheckpoint().GetEpoch(), "worker", session.worker,
			"error", truncate(err.Error(), maxWarning))
		report.Missing = truncate(err.Error(), maxMissing)
	}
	return h.put(ctx, session, entry)
}

// holds says whether an entry is about a run that the session's worker holds, or an attempt that it was told of. An
// entry for another worker's attempt is as stale as one for no attempt: the worker is told to forget it.
func (h *host) holds(session *session, entry *trellisv1.RecordCommand_Entry) (bool, error) {
	if session.knows(attemptOf(entry)) {
		return true, nil
	}
	study, run := runOf(entry)
	held, err := h.store.Snapshot().Run(nil, study, run)
	if err != nil && !errors.Is(err, results.ErrNotFound) {
		return false, err
	}
	if held.GetWorker() != session.worker {
		session.acknowledge(entry)
		return false, nil
	}
	return true, nil
}

// put queues the entries for the log whose attempts the worker holds.
func (h *host) put(ctx context.Context, session *session, entries ...*trellisv1.RecordCommand_Entry) error {
	held := entries[:0]
	for _, entry := range entries {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		holds, err := h.holds(session, entry)
		if err != nil {
			return err
		}
		if !holds {
			continue
		}
		if entry.GetOutcome() != nil {
			session.finishes(attemptOf(entry))
		}
		held = append(held, entry)
	}
	err := h.recorder.put(ctx, session, held...)
	// The entries may have waited for long, and the worker was not read in the meantime.
	h.leases.heard(session.worker)
	return err
}

// truncate shortens a text to at most size bytes, and says how many bytes are left out.
func truncate(text string, size int) string {
	if len(text) <= size {
		return text
	}
	return fmt.Sprintf("%s … (%d bytes more)", strings.ToValidUTF8(text[:size], ""), len(text)-size)
}
