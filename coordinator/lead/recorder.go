package lead

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"trellis/coordinator/quota"
	"trellis/coordinator/spans"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
)

const (
	// recordQueue is how many deliveries may wait for the log. Beyond it, as beyond Config.Queue, sessions stop reading
	// and workers wait.
	recordQueue = 4096
	// recordBytes is how many bytes one record command carries. It may exceed this by one delivery.
	recordBytes = 256 << 10
	// reportPause is how long reports wait for more of them, counted from the last command: nobody waits for them, and
	// each command costs a write to the disk. Everything else that has come is recorded at once, and so are reports of
	// promptBytes together: a worker that has half of what it may have under way in the queue soon waits.
	reportPause = 20 * time.Millisecond
	promptBytes = 4 << 10
	// entryBytes and valueBytes are what an entry and a value in one of its maps take in memory besides their size in
	// the log, approximately.
	entryBytes = 512
	valueBytes = 64
)

// recorder appends what workers report to the log. While one command is being written, the next one collects entries,
// so commands are small when the log is fast and large when it is slow. Reports alone wait a little.
type recorder struct {
	log      proposer
	sessions rechecks
	failing  *failing
	// dispatcher fills slots at once that become free.
	dispatcher refills
	// awaited are woken when attempts have ended.
	awaited []waker
	metrics *metrics
	logger  *slog.Logger
	// warnings are about what workers send.
	warnings *warnings
	queue    chan delivery
	// waiting is how many bytes are in the queue, and urgent how many deliveries that must not wait. Prompted is rung when
	// there is something that must not wait any longer.
	waiting, urgent atomic.Int64
	prompted        bell
	// held counts the bytes of entries from the moment that they are read until the log has them, by whose share they
	// use: see shareOf. What sessions hold while they wait for room is counted by who reads their streams: see Reading.
	held  *quota.Quota
	spans *spans.Spans
}

// rechecks makes all sessions compare the store with what their workers have been told, or tells one of a grant.
type rechecks interface {
	recheckAll()
	grant(run *trellisv1.Grant)
}

// refills chooses runs for slots that become free, and counts those that were granted.
type refills interface {
	refill(batch []received) *choice
	count(choice *choice, refusals []error) error
}

var (
	_ rechecks = (*sessions)(nil)
	_ refills  = (*dispatcher)(nil)
)

// received is an entry and the session it came from, nil if the coordinator itself made it.
type received struct {
	entry *trellisv1.RecordCommand_Entry
	from  *session
	// at is when it came, if runs are traced.
	at time.Time
}

// delivery is entries that a session has read together. They are queued as one: commands need not be cut more often
// than workers' messages.
type delivery struct {
	from    *session
	entries []*trellisv1.RecordCommand_Entry
	// bytes is what they take in memory, and size what they take in the log.
	bytes, size int64
	// prompt says that not all of them are reports.
	prompt bool
	// at is when it came, if runs are traced.
	at time.Time
}

// weigh returns about how many bytes an entry takes in memory, of which size are in the log.
func weigh(entry *trellisv1.RecordCommand_Entry) (bytes, size int64) {
	const tag = 1 // in bytes
	if reports := entry.GetReports(); reports != nil {
		size = tag + int64(protowire.SizeBytes(reports.EncodedSize()))
	} else {
		size = int64(proto.Size(entry))
	}
	return entryBytes + size + valueBytes*valuesIn(entry.GetReports()), size
}

// valuesIn counts the values in the maps of reports.
func valuesIn(reports *trellisv1.Reports) int64 {
	values := len(reports.GetTestLoss()) + len(reports.GetMetrics()) + len(reports.GetTestMetrics())
	for _, metrics := range reports.GetTestMetrics() {
		values += len(metrics.GetValues())
	}
	return int64(values)
}

// put queues entries. It waits while the queue is full or has too much of the same share, and gives up when ctx is
// done. In the meantime the session of the entries is held up, which is not the worker's fault.
func (r *recorder) put(ctx context.Context, from *session, entries ...*trellisv1.RecordCommand_Entry) error {
	if len(entries) == 0 {
		return nil
	}
	d := delivery{from: from, entries: entries, at: r.spans.Now()}
	for _, entry := range entries {
		bytes, size := weigh(entry)
		d.bytes += bytes
		d.size += size
		d.prompt = d.prompt || entry.GetReports() == nil
	}
	if r.held.Take(from.whose(), d.bytes) == nil {
		select {
		case r.queue <- d:
			r.queued(d)
			return nil
		default:
		}
		r.release(d)
	}
	released := from.holdUp()
	defer released()
	if err := r.held.Await(ctx, from.whose(), d.bytes); err != nil {
		return err
	}
	select {
	case r.queue <- d:
		r.queued(d)
		return nil
	case <-ctx.Done():
		r.release(d)
		return ctx.Err()
	}
}

// queued counts what has been put into the queue, and prompts the recorder if it must not wait.
func (r *recorder) queued(d delivery) {
	if d.prompt {
		r.urgent.Add(1)
	}
	if waiting := r.waiting.Add(d.size); d.prompt || waiting >= promptBytes {
		r.prompted.wake()
	}
}

// taken counts what has been taken from the queue.
func (r *recorder) taken(d delivery) {
	r.waiting.Add(-d.size)
	if d.prompt {
		r.urgent.Add(-1)
	}
}

// release says that entries do not wait any more.
func (r *recorder) release(d delivery) { r.held.Give(d.from.whose(), d.bytes) }

func (r *recorder) run(ctx context.Context) {
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case first := <-r.queue:
			r.awaitMore(ctx, first, last)
			gathered := r.gather(first)
			if len(gathered) > 0 {
				last = time.Now()
				r.record(ctx, entriesOf(gathered))
			}
			for _, d := range gathered {
				r.release(d)
			}
		}
	}
}

// awaitMore waits behind what was taken from the queue, if these are reports, until reportPause after the last command, or
// until something must not wait.
func (r *recorder) awaitMore(ctx context.Context, first delivery, last time.Time) {
	// What must not wait may be behind it, if it was left over by the last command.
	prompt := first.prompt || r.urgent.Load() > 0 || r.waiting.Load() >= promptBytes
	if pause := reportPause - time.Since(last); pause > 0 && !prompt {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		select {
		case <-r.prompted:
		case <-timer.C:
		case <-ctx.Done():
		}
		return
	}
	select {
	case <-r.prompted: // It is about what is taken from the queue now.
	default:
	}
}

// entriesOf returns the entries of deliveries, in their order.
func entriesOf(deliveries []delivery) (batch []received) {
	for _, d := range deliveries {
		for _, entry := range d.entries {
			batch = append(batch, received{entry: entry, from: d.from, at: d.at})
		}
	}
	return batch
}

// drop empties the queue. The workers resend what waits in it, because their sessions end.
func (r *recorder) drop(why error) {
	for {
		select {
		case waiting := <-r.queue:
			waiting.from.end(why)
			r.taken(waiting)
			r.release(waiting)
		default:
			return
		}
	}
}

// gather returns first and what waits behind it, but for what came from sessions that have ended: the log may have
// refused what they sent before, and without that it would look like a gap. Their workers send all of it again.
func (r *recorder) gather(first delivery) (gathered []delivery) {
	next, size := first, int64(0)
	for {
		r.taken(next)
		if !next.from.hasEnded() {
			gathered = append(gathered, next)
			size += next.size
		} else {
			r.release(next)
		}
		if size >= recordBytes {
			return gathered
		}
		select {
		case next = <-r.queue:
		default:
			return gathered
		}
	}
}

// record appends a batch to the log, and acknowledges what was accepted or never will be. If the log fails, nothing is
// acknowledged: the sessions end, and their workers come back and resend.
func (r *recorder) record(ctx context.Context, batch []received) {
	entries := make([]*trellisv1.RecordCommand_Entry, len(batch))
	for i, one := range batch {
		entries[i] = one.entry
	}
	recording := r.spans.Record(entries)
	refusals, granted, err := r.propose(ctx, batch, &trellisv1.RecordCommand{Entries: entries})
	if err != nil {
		unavailable := status.Error(codes.Unavailable, err.Error())
		for _, one := range batch {
			one.from.end(unavailable)
		}
		return
	}
	ended := false
	var ending []received
	var outcomes []*trellisv1.RecordCommand_Entry
	for i, one := range batch {
		r.answer(one, refusals[i])
		if refusals[i] == nil {
			recording.Recorded(one.entry.GetOutcome(), one.at)
		}
		ended = ended || one.entry.GetOutcome() != nil || errors.Is(refusals[i], results.ErrConflict)
		if outcome := outcomeOfRefused(one, refusals[i]); outcome != nil {
			ending, outcomes = append(ending, one), append(outcomes, outcome)
		}
	}
	// A worker that gets a run is told with the same message that the one before has ended.
	for _, grant := range granted {
		r.sessions.grant(grant)
	}
	for i, one := range batch {
		if i == 0 || one.from != batch[i-1].from {
			one.from.inform()
		}
	}
	if len(ending) > 0 {
		r.endAttempts(ctx, ending, outcomes)
		ended = true
	}
	if ended {
		for _, one := range r.awaited {
			one.wake()
		}
	}
}

// propose appends a batch to the log, with grants for the slots that become free. It returns one refusal per entry, nil if
// it was accepted, and what was granted.
func (r *recorder) propose(
	ctx context.Context, batch []received, record *trellisv1.RecordCommand,
) (refusals []error, granted []*trellisv1.Grant, err error) {
	command := &trellisv1.Command{Change: &trellisv1.Command_Record{Record: record}}
	refill := r.dispatcher.refill(batch)
	want := len(batch)
	if refill != nil {
		defer refill.done()
		want += len(refill.grants)
		command.Change = &trellisv1.Command_RecordAndGrant{RecordAndGrant: &trellisv1.RecordAndGrantCommand{
			Record: record, Grant: &trellisv1.GrantCommand{Grants: refill.grants},
		}}
	}
	answer, err := r.log.ProposePatiently(ctx, command)
	if err != nil {
		return nil, nil, err
	}
	refusals, ok := answer.([]error)
	if !ok || len(refusals) != want {
		panic(fmt.Sprintf("lead: the state machine answered %d entries with %T", want, answer))
	}
	if refill == nil {
		return refusals, nil, nil
	}
	refusals, refused := refusals[:len(batch)], refusals[len(batch):]
	if err := r.dispatcher.count(refill, refused); err != nil {
		r.logger.Debug("grants were refused", "grants", len(refill.grants), "error", err)
	}
	for i, grant := range refill.grants {
		if refused[i] == nil {
			granted = append(granted, grant)
		}
	}
	return refusals, granted, nil
}

// outcomeOfRefused returns the outcome by which the coordinator ends an attempt that could never be recorded, however
// often its worker sends it again. It returns nil if the attempt goes on, or has ended.
//
// A worker that is ahead of what is recorded, as after a restore, returns its run: what is missing was acknowledged
// once, so that it will not be sent again, and the run goes on where its records end. What is invalid in any state
// fails the attempt: reports of a program are its own, and no worker can train it; what a worker makes by itself may be
// better on another.
func outcomeOfRefused(one received, refusal error) *trellisv1.RecordCommand_Entry {
	switch {
	case attemptOf(one.entry) == 0:
		return nil
	case errors.Is(refusal, results.ErrGap):
		return returnEntry(one.entry)
	case errors.Is(refusal, results.ErrInvalid):
		class := trellisv1.FailureClass_FAILURE_CLASS_TRAINER
		if one.entry.GetReports().GetEpochs() > 0 {
			class = trellisv1.FailureClass_FAILURE_CLASS_INPUT
		}
		study, run := runOf(one.entry)
		failed := failureEntry(study, run, attemptOf(one.entry), class, truncate(refusal.Error(), maxFailureMessage))
		failed.GetOutcome().GetFailure().Worker = one.from.name()
		return failed
	}
	return nil
}

// endAttempts records the outcomes of attempts that the coordinator ends.
func (r *recorder) endAttempts(ctx context.Context, ending []received, outcomes []*trellisv1.RecordCommand_Entry) {
	recording := r.spans.Record(outcomes)
	answer, err := r.log.ProposePatiently(ctx, &trellisv1.Command{Change: &trellisv1.Command_Record{
		Record: &trellisv1.RecordCommand{Entries: outcomes},
	}})
	refusals, ok := answer.([]error)
	if err == nil && (!ok || len(refusals) != len(outcomes)) {
		panic(fmt.Sprintf("lead: the state machine answered %d outcomes with %T", len(outcomes), answer))
	}
	for i, one := range ending {
		if err != nil {
			one.from.end(status.Error(codes.Unavailable, err.Error()))
			continue
		}
		if outcome := outcomes[i].GetOutcome(); refusals[i] == nil {
			recording.Recorded(outcome, one.at)
			if outcome.GetFailure() != nil && one.from != nil {
				r.failing.ended(one.from.name(), outcome)
			}
		} else {
			// The attempt has ended otherwise meanwhile.
			r.logger.Debug("refused to end an attempt", "attempt", outcome.GetAttempt(), "error", refusals[i])
		}
		one.from.acknowledge(one.entry)
		one.from.recheck()
	}
}

// answer notes for the session whether its entry was accepted.
func (r *recorder) answer(one received, refusal error) {
	attempt := attemptOf(one.entry)
	r.metrics.recorded(one.entry, refusal)
	switch {
	case refusal == nil:
		one.from.note(one.entry)
		if outcome := one.entry.GetOutcome(); outcome != nil && one.from != nil {
			r.failing.ended(one.from.name(), outcome)
		} else if outcome != nil {
			// The coordinator itself has ended the attempt: its worker must be told.
			r.sessions.recheckAll()
		}
	case errors.Is(refusal, results.ErrStale), errors.Is(refusal, results.ErrNotFound):
		// The attempt has ended: nothing of it will ever be accepted.
		one.from.note(one.entry)
		r.logger.Debug("refused what a worker sent", "attempt", attempt, "error", refusal)
	case errors.Is(refusal, results.ErrGap):
		// endAttempts returns the run.
		r.warnings.warn("a worker is ahead of what is recorded of its run, as after a restore: the run goes on "+
			"from there", "worker", one.from.name(), "attempt", attempt, "error", truncate(refusal.Error(), maxWarning))
	case errors.Is(refusal, results.ErrConflict):
		// The store has ended the attempt.
		one.from.recheck()
		r.logger.Error("two attempts at one run gave different losses: a worker's arithmetic or memory is faulty, and "+
			"the run is trained again to find out which",
			"attempt", attempt, "error", refusal)
		one.from.note(one.entry)
	case errors.Is(refusal, results.ErrInvalid) && attempt != 0:
		// endAttempts fails the attempt.
		r.warnings.warn("a worker sent what can't be recorded: the attempt fails", "worker", one.from.name(),
			"attempt", attempt, "error", truncate(refusal.Error(), maxWarning))
	default:
		one.from.end(status.Errorf(codes.Aborted, "record what worker %s sent: %v", one.from.name(), refusal))
	}
}
