package worker

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
)

// maxShared is how many values of a kind are kept in memory for the next runs.
const maxShared = 4

// shared provides values that attempts have in common: data sets and pretrained weights. Attempts that need the same
// value share it.
type shared[Key comparable, Value any] struct {
	// ctx ends all downloads.
	ctx context.Context
	// fetch gets a value.
	fetch fetchFunc[Key, Value]
	// noun says what a value is, for the log.
	noun string
	log  *slog.Logger

	fetching sync.WaitGroup

	mu sync.Mutex
	// entries are the values requested most recently, newest last. Attempts keep references to the values that they
	// use.
	entries []*sharedEntry[Key, Value]
	// waiting has the steps of the attempts that wait for a value.
	waiting map[*atomic.Uint64]bool
}

// fetchFunc gets the value of a key, and calls moved whenever it makes progress.
type fetchFunc[Key comparable, Value any] func(ctx context.Context, key Key, moved func()) (Value, error)

// sharedEntry is a value that is there, or that is being fetched.
type sharedEntry[Key comparable, Value any] struct {
	key Key
	// done is closed when value or err is set.
	done  chan struct{}
	value Value
	err   error
}

func newShared[Key comparable, Value any](
	ctx context.Context, log *slog.Logger, noun string, fetch fetchFunc[Key, Value],
) *shared[Key, Value] {
	return &shared[Key, Value]{ctx: ctx, log: log, noun: noun, fetch: fetch, waiting: map[*atomic.Uint64]bool{}}
}

// get returns the value of a key, and fetches it if nobody has. A download continues when ctx is done, because others
// may wait for it. Until the value is there, progress of any download counts as steps, so an attempt that waits its
// turn does not count as hung.
func (s *shared[Key, Value]) get(ctx context.Context, key Key, steps *atomic.Uint64) (Value, error) {
	s.wait(steps)
	defer s.waited(steps)
	entry := s.entry(key)
	select {
	case <-entry.done:
		return entry.value, entry.err
	case <-ctx.Done():
		var none Value
		return none, ctx.Err()
	}
}

func (s *shared[Key, Value]) wait(steps *atomic.Uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting[steps] = true
}

func (s *shared[Key, Value]) waited(steps *atomic.Uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, steps)
}

// moved counts a step for everyone who waits.
func (s *shared[Key, Value]) moved() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for steps := range s.waiting {
		steps.Add(1)
	}
}

func (s *shared[Key, Value]) entry(key Key) *sharedEntry[Key, Value] {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, entry := range s.entries {
		if entry.key == key {
			return entry
		}
	}
	entry := &sharedEntry[Key, Value]{key: key, done: make(chan struct{})}
	if len(s.entries) == maxShared {
		s.entries = slices.Delete(s.entries, 0, 1)
	}
	s.entries = append(s.entries, entry)
	s.fetching.Go(func() {
		entry.value, entry.err = s.load(key)
		if entry.err != nil {
			s.drop(entry)
		}
		close(entry.done)
	})
	return entry
}

// drop removes a value that could not be fetched, so that the next attempt tries again.
func (s *shared[Key, Value]) drop(entry *sharedEntry[Key, Value]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries = slices.DeleteFunc(s.entries, func(e *sharedEntry[Key, Value]) bool { return e == entry })
}

// trim forgets the values that are not to be kept, of those that are there.
func (s *shared[Key, Value]) trim(keep func(Key, Value) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries = slices.DeleteFunc(s.entries, func(e *sharedEntry[Key, Value]) bool {
		select {
		case <-e.done:
			return e.err == nil && !keep(e.key, e.value)
		default:
			return false
		}
	})
}

// load fetches a value, with retries as long as they may help.
func (s *shared[Key, Value]) load(key Key) (value Value, err error) {
	err = retry(s.ctx, func() (err error) {
		value, err = s.fetch(s.ctx, key, s.moved)
		return err
	}, func(err error) {
		s.log.Warn("could not fetch what a run needs; will retry", s.noun, key, "error", reason(err))
	})
	return value, err
}

// close returns when all downloads have ended. Their context must end first.
func (s *shared[Key, Value]) close() { s.fetching.Wait() }
