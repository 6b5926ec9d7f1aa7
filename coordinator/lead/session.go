package lead

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/coordinator/access"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/trajectory"
)

// maxAcks is the maximum number of attempts whose acknowledgements wait for a worker to read them: four times as many
// as it can hold.
const maxAcks = 4096

const (
	// ackPause is how long acknowledgements of reports wait for other news: a worker only forgets reports when it gets
	// them, and messages cost more than what is in them. A worker that has promptBytes unacknowledged may wait for that, and
	// one of so many attempts as manyAcks is told before they are maxAcks.
	ackPause = 100 * time.Millisecond
	manyAcks = maxAcks / 4
	// reportBytes and epochBytes are about what reports take, and what each epoch in them does.
	reportBytes = 64
	epochBytes  = 24
)

var errDeaf = status.Errorf(codes.ResourceExhausted, "the worker has not read the acknowledgements of %d attempts",
	maxAcks)

// session is one worker's stream, as the leader's loops see it. A nil session stands for the coordinator itself, and
// for workers that are not connected: its methods do nothing.
type session struct {
	// term is done when the leader's term has ended in which the session was opened.
	term   context.Context
	worker string
	// share says whose share of the recorder's queue it uses.
	share string
	// ending ends the stream with an error.
	ending func(error)
	// ended says that the stream ends: what it has sent and is not recorded yet will be sent again.
	ended atomic.Bool
	// heldUp says that the session is not read for now: see sessions.heldUp.
	heldUp atomic.Bool
	// notice has an element when there may be news: see take.
	notice chan struct{}

	mu sync.Mutex
	// heartbeat is the number of the last heartbeat that has arrived, and renewed that of the last of which the worker
	// was told. Renewing says that it is to be told now.
	heartbeat, renewed uint64
	renewing           bool
	// acks waits to be sent, by attempt. Merged, so that it is no larger than the number of attempts, and at most
	// maxAcks: what a worker sends names any attempt it likes.
	acks map[uint64]*trellisv1.Acknowledgement
	// untold is about how many bytes of reports the acknowledgements are for. Urgent says that the worker waits for one of
	// them. Pause ends the time in which they wait for other news, and pausing says that this time has begun.
	untold  int
	urgent  bool
	pause   *time.Timer
	pausing bool
	// asked are requests for what programs write that have not been sent, and answers are where the answers to all go,
	// by the request's id, the last of which is lastAsked.
	asked     []*trellisv1.OutputRequest
	answers   map[uint64]chan<- *trellisv1.OutputPiece
	lastAsked uint64
	// granted are the runs that the worker was granted and has not been told of, as far as the session knows. It has no
	// more of them than slots.
	granted []*trellisv1.Grant
	// rechecking says that the store may have changed in any other way in what the worker holds.
	rechecking bool
	// told has the attempts that the worker has been told of and still has, as far as the session knows.
	told map[uint64]bool
	// finishing has the attempts whose outcomes are on their way to the log: the worker has ended them by itself.
	finishing map[uint64]bool
}

// name is the worker's name.
func (s *session) name() string {
	if s == nil {
		return ""
	}
	return s.worker
}

// whose says whose share of the recorder's queue the session uses.
func (s *session) whose() string {
	if s == nil {
		return ""
	}
	return s.share
}

// shareOf returns whose share of the recorder's queue a caller's sessions use: the principal's or, if nobody is
// authenticated, the host's. What a worker calls itself costs it nothing, so it has no share of its own.
func shareOf(call access.Call) string {
	if call.Anonymous() {
		return call.Address
	}
	return call.Principal.String()
}

// end closes the stream: the worker sees the error, comes back and sends again what was not acknowledged.
func (s *session) end(cause error) {
	if s != nil {
		s.ended.Store(true)
		s.ending(cause)
	}
}

// hasEnded says whether end has been called, or the session's term has ended. What a session reads at that moment may
// be queued after the queue has been emptied, and must not wait there for a later term.
func (s *session) hasEnded() bool { return s != nil && (s.ended.Load() || s.term.Err() != nil) }

// beat records a heartbeat. A worker that holds attempts is told of it: its lease begins again. One that holds none is
// told with its next assignment, which saves a message for each heartbeat of thousands of idle workers.
func (s *session) beat(number uint64) {
	s.mu.Lock()
	s.heartbeat = number
	s.renewing = s.renewing || len(s.told) > 0
	renewing := s.renewing
	s.mu.Unlock()
	if renewing {
		s.notify()
	}
}

// refresh tells the worker that it is held up, if it is, and rechecks what it holds, if it has been told of anything.
func (s *session) refresh() {
	s.mu.Lock()
	s.renewing = s.renewing || s.heldUp.Load()
	s.rechecking = s.rechecking || len(s.told) > 0
	news := s.renewing || s.rechecking
	s.mu.Unlock()
	if news {
		s.notify()
	}
}

// holdUp says that the session is not read until released is called.
func (s *session) holdUp() (released func()) {
	if s == nil {
		return func() {}
	}
	s.heldUp.Store(true)
	return func() { s.heldUp.Store(false) }
}

// Reading is how what bounds a session's stream says that it does not read for now.
type Reading struct {
	// session is the session of the stream, nil before it is open.
	session atomic.Pointer[session]
}

// HoldUp says that the session is not read until released is called, which is not its worker's fault.
func (r *Reading) HoldUp() (released func()) { return r.session.Load().holdUp() }

type readingKey struct{}

// WithReading returns the context of a stream that is read by what holds the Reading.
func WithReading(ctx context.Context, reading *Reading) context.Context {
	return context.WithValue(ctx, readingKey{}, reading)
}

// finishes records that the worker has sent the attempt's outcome, which will be acknowledged.
func (s *session) finishes(attempt uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finishing[attempt] = true
}

// acknowledge tells the worker that the entry need not be sent again. It never waits.
func (s *session) acknowledge(entry *trellisv1.RecordCommand_Entry) {
	s.note(entry)
	s.inform()
}

// note is acknowledge, but the worker is told when inform is called next, or with other news.
func (s *session) note(entry *trellisv1.RecordCommand_Entry) {
	if s == nil {
		return
	}
	attempt := attemptOf(entry)
	s.mu.Lock()
	ack := s.acks[attempt]
	if ack == nil && len(s.acks) == maxAcks {
		s.mu.Unlock()
		s.end(errDeaf)
		return
	}
	if ack == nil {
		ack = &trellisv1.Acknowledgement{Attempt: attempt}
		s.acks[attempt] = ack
	}
	if reports := entry.GetReports(); reports != nil {
		epochs := trajectory.EpochsIn(reports)
		ack.Epoch = max(ack.Epoch, reports.GetFirstEpoch()+uint32(epochs)-1)
		s.untold += reportBytes + epochBytes*epochs + valueBytes*int(valuesIn(reports))
	} else {
		s.urgent = true
	}
	ack.Checkpoint = max(ack.Checkpoint, entry.GetCheckpoint().GetCheckpoint().GetEpoch())
	ack.Outcome = ack.Outcome || entry.GetOutcome() != nil
	s.urgent = s.urgent || s.untold >= promptBytes || len(s.acks) >= manyAcks
	s.mu.Unlock()
}

// inform makes the session tell its worker of what has been noted: at once, or within ackPause if it is only that reports are
// recorded. It never waits.
func (s *session) inform() {
	if s == nil {
		return
	}
	s.mu.Lock()
	urgent := s.urgent
	if !urgent && len(s.acks) > 0 && !s.pausing {
		s.pausing = true
		if s.pause == nil {
			s.pause = time.AfterFunc(ackPause, s.notify)
		} else {
			s.pause.Reset(ackPause)
		}
	}
	s.mu.Unlock()
	if urgent {
		s.notify()
	}
}

// recheck makes the session compare the store with what the worker has been told. It never waits.
func (s *session) recheck() {
	if s == nil {
		return
	}
	s.mu.Lock()
	s.rechecking = true
	s.mu.Unlock()
	s.notify()
}

func (s *session) notify() {
	select {
	case s.notice <- struct{}{}:
	default:
	}
}

// grant makes the session tell the worker of a run that it was granted. It never waits.
func (s *session) grant(run *trellisv1.Grant) {
	if s == nil {
		return
	}
	s.mu.Lock()
	s.granted = append(s.granted, run)
	s.mu.Unlock()
	s.notify()
}

// news is what a session is to tell its worker.
type news struct {
	renewal    *trellisv1.LeaseRenewal
	acks       map[uint64]*trellisv1.Acknowledgement
	asked      []*trellisv1.OutputRequest
	granted    []*trellisv1.Grant
	rechecking bool
}

// take returns what is to be told, once. The attempts whose outcomes are among the acknowledgements are done with.
func (s *session) take() news {
	s.mu.Lock()
	defer s.mu.Unlock()
	news := news{asked: s.asked, granted: s.granted, rechecking: s.rechecking}
	if s.renewing || (len(s.granted) > 0 || s.rechecking) && s.heartbeat > s.renewed {
		news.renewal = &trellisv1.LeaseRenewal{Heartbeat: s.heartbeat, HeldUp: s.heldUp.Load()}
		s.renewing, s.renewed = false, s.heartbeat
	}
	s.asked, s.granted, s.rechecking = nil, nil, false
	s.untold, s.urgent = 0, false
	if s.pausing {
		s.pause.Stop()
		s.pausing = false
	}
	if len(s.acks) == 0 {
		return news
	}
	news.acks, s.acks = s.acks, map[uint64]*trellisv1.Acknowledgement{}
	for attempt, ack := range news.acks {
		if ack.GetOutcome() {
			delete(s.finishing, attempt)
			delete(s.told, attempt)
		}
	}
	return news
}

// tell records that the worker is told that it holds the attempt.
func (s *session) tell(attempt uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told[attempt] = true
}

// knows says whether the worker has been told of the attempt. It is its own then, if it still stands.
func (s *session) knows(attempt uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.told[attempt]
}

// gone returns, and forgets, the attempts that the worker has been told of and does not hold any more, except for those
// that it has ended by itself.
func (s *session) gone(holding map[uint64]*trellisv1.Run) (gone []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for attempt := range s.told {
		if holding[attempt] == nil && !s.finishing[attempt] {
			gone = append(gone, attempt)
			delete(s.told, attempt)
		}
	}
	return gone
}
