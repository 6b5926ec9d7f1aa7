package supervisor

import "sync"

// Spare keeps one supervisor ready: starting a large binary takes longer than starting most commands. The zero value is
// ready for use. Close it in the end.
type Spare struct {
	mu     sync.Mutex
	ready  *Process
	closed bool
	// spawning counts the goroutines that start one.
	spawning sync.WaitGroup
}

// Take returns a supervisor, and begins to start the next one.
func (s *Spare) Take() (*Process, error) {
	s.mu.Lock()
	process := s.ready
	s.ready = nil
	if !s.closed {
		s.spawning.Go(s.refill)
	}
	s.mu.Unlock()
	if process != nil {
		return process, nil
	}
	return Spawn()
}

// refill starts a supervisor if none is ready.
func (s *Spare) refill() {
	process, err := Spawn()
	if err != nil {
		return // Take will say why.
	}
	s.mu.Lock()
	if s.ready == nil && !s.closed {
		s.ready, process = process, nil
	}
	s.mu.Unlock()
	if process != nil {
		_ = process.Close()
	}
}

// Close ends the supervisor that is ready. After it, Take starts one each time.
func (s *Spare) Close() {
	s.mu.Lock()
	s.closed = true
	process := s.ready
	s.ready = nil
	s.mu.Unlock()
	if process != nil {
		_ = process.Close()
	}
	s.spawning.Wait()
}
