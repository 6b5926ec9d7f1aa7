package coordinator

import (
	"context"
	"sync"
	"sync/atomic"
)

// broadcast tells everybody who waits that something has changed.
type broadcast struct {
	mu      sync.Mutex
	changed chan struct{}
}

func newBroadcast() *broadcast { return &broadcast{changed: make(chan struct{})} }

// next returns a channel that is closed at the next change.
func (b *broadcast) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changed
}

// send tells of a change.
func (b *broadcast) send() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.changed)
	b.changed = make(chan struct{})
}

// appliedIndex is the log index of the last command that the store includes.
type appliedIndex struct {
	index   atomic.Uint64
	waiting atomic.Int32
	changed *broadcast
}

func newAppliedIndex() *appliedIndex { return &appliedIndex{changed: newBroadcast()} }

func (a *appliedIndex) get() uint64 { return a.index.Load() }

// set is called for every command, and costs next to nothing while nobody waits.
func (a *appliedIndex) set(index uint64) {
	a.index.Store(index)
	if a.waiting.Load() > 0 {
		a.changed.send()
	}
}

// await returns once the store includes the command at index, or fails when ctx is done.
func (a *appliedIndex) await(ctx context.Context, index uint64) error {
	a.waiting.Add(1)
	defer a.waiting.Add(-1)
	for {
		changed := a.changed.next()
		if a.get() >= index {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
