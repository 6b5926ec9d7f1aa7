package latent

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
)

// team is the caller's goroutine with GOMAXPROCS - 1 others, which share out the blocks of one job after another.
// What a block computes must not depend on who computes it, nor on other blocks of the same job.
type team struct {
	ctx    context.Context
	others int
	// wake has one value for each other goroutine that shall join the job.
	wake chan struct{}
	// joined counts those that are to finish with the job, and running those that live.
	joined, running sync.WaitGroup

	job    func(block int)
	blocks int64
	next   atomic.Int64
}

func newTeam(ctx context.Context) *team {
	t := &team{ctx: ctx, others: runtime.GOMAXPROCS(0) - 1}
	t.wake = make(chan struct{}, t.others)
	for range t.others {
		t.running.Go(func() {
			for range t.wake {
				t.work()
				t.joined.Done()
			}
		})
	}
	return t
}

// do calls job with the numbers 0 to blocks-1, each once, low ones first. It returns the context's error if that ended
// before all were done.
func (t *team) do(blocks int, job func(block int)) error {
	t.job, t.blocks = job, int64(blocks)
	t.next.Store(0)
	helpers := max(0, min(t.others, blocks-1))
	t.joined.Add(helpers)
	for range helpers {
		t.wake <- struct{}{}
	}
	t.work()
	t.joined.Wait()
	return t.ctx.Err()
}

func (t *team) work() {
	for {
		block := t.next.Add(1) - 1
		if block >= t.blocks || t.ctx.Err() != nil {
			return
		}
		t.job(int(block))
	}
}

// stop ends the other goroutines.
func (t *team) stop() {
	close(t.wake)
	t.running.Wait()
}
