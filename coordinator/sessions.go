package coordinator

import (
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

// maxAcks is how many attempts' acknowledgements may wait for a worker to read them: four times what it can hold.
const maxAcks = 4096

var errDeaf = status.Errorf(codes.ResourceExhausted, "the worker has not read the acknowledgements of %d attempts", maxAcks)

// sessions knows which workers are connected to this leader.
type sessions struct {
	mu       sync.Mutex
	byWorker map[string]*session
	// changed is closed, and replaced, whenever a worker connects or disconnects.
	changed chan struct{}
}

func newSessions() *sessions {
	return &sessions{byWorker: map[string]*session{}, changed: make(chan struct{})}
}

// open registers a worker's session. An older session of the same worker ends: its connection is dead, but nobody has
// noticed.
func (s *sessions) open(worker string, end func(error)) *session {
	opened := &session{worker: worker, ending: end, acks: map[uint64]*trellisv1.Acknowledgement{}, finishing: map[uint64]bool{}, notice: make(chan struct{}, 1)}
	s.mu.Lock()
	older := s.byWorker[worker]
	s.byWorker[worker] = opened
	s.broadcast()
	s.mu.Unlock()
	older.end(errReplaced)
	return opened
}

// close forgets the session, unless a newer one has replaced it.
func (s *sessions) close(closed *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byWorker[closed.worker] == closed {
		delete(s.byWorker, closed.worker)
		s.broadcast()
	}
}

// end ends the worker's session, if it has one.
func (s *sessions) end(worker string, cause error) {
	s.mu.Lock()
	open := s.byWorker[worker]
	s.mu.Unlock()
	open.end(cause)
}

// connected says whether the worker has a session.
func (s *sessions) connected(worker string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byWorker[worker] != nil
}

// heldUp says whether the worker has a session that is not read, because what it has sent before waits for the log.
func (s *sessions) heldUp(worker string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	open := s.byWorker[worker]
	return open != nil && open.heldUp.Load()
}

// watch returns a channel that is closed at the next change.
func (s *sessions) watch() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *sessions) broadcast() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// session is one worker's stream, as the leader's loops see it. Its methods do nothing on a nil session, which stands
// for the coordinator itself and for workers that are not connected.
type session struct {
	worker string
	// ending ends the stream with an error.
	ending func(error)
	// heldUp says that the session is not read for now: see sessions.heldUp.
	heldUp atomic.Bool
	// notice has an element when acks is not empty.
	notice chan struct{}

	mu sync.Mutex
	// acks waits to be sent, by attempt. Merged, so that it is no larger than the number of attempts, and at most maxAcks:
	// what a worker sends names any attempt it likes.
	acks map[uint64]*trellisv1.Acknowledgement
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

// end closes the stream: the worker sees the error, comes back and sends again what was not acknowledged.
func (s *session) end(cause error) {
	if s != nil {
		s.ending(cause)
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

// finishes notes that the worker has sent the attempt's outcome, which will be acknowledged.
func (s *session) finishes(attempt uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finishing[attempt] = true
}

// isFinishing says whether an outcome of the attempt waits for its acknowledgement.
func (s *session) isFinishing(attempt uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.finishing[attempt]
}

// acknowledge tells the worker that the entry need not be sent again. It never waits.
func (s *session) acknowledge(entry *trellisv1.RecordCommand_Entry) {
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
	ack.Epoch = max(ack.Epoch, entry.GetReport().GetEpoch())
	ack.Outcome = ack.Outcome || entry.GetOutcome() != nil
	s.mu.Unlock()
	select {
	case s.notice <- struct{}{}:
	default:
	}
}

// takeAcks returns the acknowledgements that wait.
func (s *session) takeAcks() map[uint64]*trellisv1.Acknowledgement {
	s.mu.Lock()
	defer s.mu.Unlock()
	acks := s.acks
	for attempt, ack := range acks {
		if ack.GetOutcome() {
			delete(s.finishing, attempt)
		}
	}
	s.acks = map[uint64]*trellisv1.Acknowledgement{}
	return acks
}
