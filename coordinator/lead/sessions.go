package lead

import (
	"context"
	"sync"

	trellisv1 "trellis/proto/trellis/v1"
)

// sessions knows which workers are connected to this leader.
type sessions struct {
	mu       sync.Mutex
	byWorker map[string]*session
}

func newSessions() *sessions {
	return &sessions{byWorker: map[string]*session{}}
}

// open registers a worker's session in a term. An older session of the same worker ends: its connection is dead, but
// nobody has noticed.
func (s *sessions) open(term context.Context, worker string, end func(error)) *session {
	opened := &session{
		term: term, worker: worker, ending: end, notice: make(chan struct{}, 1),
		acks: map[uint64]*trellisv1.Acknowledgement{}, finishing: map[uint64]bool{}, told: map[uint64]bool{},
	}
	s.mu.Lock()
	older := s.byWorker[worker]
	s.byWorker[worker] = opened
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

// count is how many workers are connected.
func (s *sessions) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.byWorker)
}

// grant has the worker's session tell it of a run that it was granted.
func (s *sessions) grant(run *trellisv1.Grant) {
	s.mu.Lock()
	open := s.byWorker[run.GetWorker()]
	s.mu.Unlock()
	open.grant(run)
}

// recheck has the worker's session compare what the store says with what the worker has been told.
func (s *sessions) recheck(worker string) {
	s.mu.Lock()
	open := s.byWorker[worker]
	s.mu.Unlock()
	open.recheck()
}

// refresh tells the workers whose sessions are held up that they are, and rechecks what those hold that were told of
// anything.
func (s *sessions) refresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, open := range s.byWorker {
		open.refresh()
	}
}

// recheckAll is recheck for all workers.
func (s *sessions) recheckAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, open := range s.byWorker {
		open.recheck()
	}
}
