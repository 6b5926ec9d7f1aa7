package capacity

import (
	"context"
	"errors"
	"fmt"
	"sync"

	trellisv1 "trellis/proto/trellis/v1"
)

// ErrGPUs means that a run needs more GPUs than there are.
var ErrGPUs = errors.New("too few GPUs")

// GPUs are the worker's GPUs. Each belongs to one attempt at a time.
type GPUs struct {
	all int

	mu   sync.Mutex
	free []string
	// returned is closed when some become free.
	returned chan struct{}
}

// NewGPUs returns all of them, free.
func NewGPUs(all []*trellisv1.Gpu) *GPUs {
	g := &GPUs{all: len(all), returned: make(chan struct{})}
	for _, gpu := range all {
		g.free = append(g.free, gpu.GetId())
	}
	return g
}

// Take returns the ids of so many GPUs once they are free: those of an attempt that was stopped are free when its program
// has ended. give gives them back.
func (g *GPUs) Take(ctx context.Context, number int) (ids []string, give func(), err error) {
	if number > g.all {
		return nil, nil, fmt.Errorf("%w: the run needs %d, and this worker has %d", ErrGPUs, number, g.all)
	}
	for {
		g.mu.Lock()
		if number <= len(g.free) {
			ids = append(ids, g.free[:number]...)
			g.free = g.free[number:]
			g.mu.Unlock()
			return ids, func() { g.give(ids) }, nil
		}
		returned := g.returned
		g.mu.Unlock()
		select {
		case <-returned:
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
}

func (g *GPUs) give(ids []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.free = append(g.free, ids...)
	close(g.returned)
	g.returned = make(chan struct{})
}
