package coordinator

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
)

const (
	// recordQueue is how many entries may wait for the log. Beyond it, sessions stop reading and workers wait.
	recordQueue = 4096
	// recordBytes is how much one record command carries, at most by one entry more.
	recordBytes = 64 << 10
)

// recorder puts what workers report into the log. While one command is on its way to the log the next gathers, so that
// commands are small when the log is quick and large when it is slow.
type recorder struct {
	coordinator *Coordinator
	queue       chan received
}

// received is an entry and the session it came from, nil if the coordinator itself made it.
type received struct {
	entry *trellisv1.RecordCommand_Entry
	from  *session
}

func newRecorder(c *Coordinator) *recorder {
	return &recorder{coordinator: c, queue: make(chan received, recordQueue)}
}

// put queues an entry. It waits while the queue is full, and gives up when ctx is done. The session that the entry came
// from is held up meanwhile, which is no fault of the worker's.
func (r *recorder) put(ctx context.Context, entry received) error {
	select {
	case r.queue <- entry:
		return nil
	default:
	}
	released := entry.from.holdUp()
	defer released()
	select {
	case r.queue <- entry:
		r.coordinator.leases.heard(entry.from.name())
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *recorder) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case first := <-r.queue:
			r.record(ctx, r.gather(first))
		}
	}
}

// gather returns first and what waits behind it.
func (r *recorder) gather(first received) []received {
	batch := []received{first}
	for size := proto.Size(first.entry); size < recordBytes; {
		select {
		case next := <-r.queue:
			batch = append(batch, next)
			size += proto.Size(next.entry)
		default:
			return batch
		}
	}
	return batch
}

// record puts a batch into the log and acknowledges what was accepted or will never be. If the log fails, nothing is
// acknowledged: the sessions end, and their workers come back and send again.
func (r *recorder) record(ctx context.Context, batch []received) {
	entries := make([]*trellisv1.RecordCommand_Entry, len(batch))
	for i, one := range batch {
		entries[i] = one.entry
	}
	_, answer, err := r.coordinator.propose(ctx, &trellisv1.Command{Change: &trellisv1.Command_Record{
		Record: &trellisv1.RecordCommand{Entries: entries},
	}})
	if err != nil {
		for _, one := range batch {
			one.from.end(status.Error(codes.Unavailable, err.Error()))
		}
		return
	}
	refusals, ok := answer.([]error)
	if !ok || len(refusals) != len(batch) {
		panic(fmt.Sprintf("coordinator: the state machine answered %d entries with %T", len(batch), answer))
	}
	for i, one := range batch {
		r.answer(one, refusals[i])
	}
}

// answer tells the session what became of its entry.
func (r *recorder) answer(one received, refusal error) {
	attempt := attemptOf(one.entry)
	r.coordinator.metrics.recorded(one.entry, refusal)
	switch {
	case refusal == nil:
		one.from.acknowledge(one.entry)
	case errors.Is(refusal, results.ErrStale), errors.Is(refusal, results.ErrNotFound):
		// The attempt has ended: nothing of it will ever be accepted.
		one.from.acknowledge(one.entry)
		r.coordinator.logger.Debug("refused what a worker sent", "attempt", attempt, "error", refusal)
	case errors.Is(refusal, results.ErrConflict):
		// The store has ended the attempt.
		r.coordinator.logger.Error("two attempts at one run gave different losses: a worker's arithmetic or memory is faulty",
			"attempt", attempt, "error", refusal)
		one.from.acknowledge(one.entry)
	default:
		one.from.end(status.Errorf(codes.Aborted, "record what worker %s sent: %v", one.from.name(), refusal))
	}
}

// attemptOf returns the attempt that an entry belongs to.
func attemptOf(entry *trellisv1.RecordCommand_Entry) uint64 {
	if report := entry.GetReport(); report != nil {
		return report.GetAttempt()
	}
	return entry.GetOutcome().GetAttempt()
}

// failureEntry is an outcome that the coordinator records by itself.
func failureEntry(study, run string, attempt uint64, class trellisv1.FailureClass, message string) *trellisv1.RecordCommand_Entry {
	return &trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Outcome{Outcome: &trellisv1.Outcome{
		Study: study, Run: run, Attempt: attempt,
		Result: &trellisv1.Outcome_Failure{Failure: &trellisv1.Failure{Attempt: attempt, Class: class, Message: message}},
	}}}
}
