package worker

import (
	"fmt"
	"time"
)

// patience is how long a worker trains on without its coordinator: the lease less a fifth. By the end of the lease at the
// latest, its runs go to others, and what it trains is wasted. 0 is without end.
func (w *Worker) patience() time.Duration { return w.lease - w.lease/5 }

// lookAtClock notices when this process has stood still, because it was stopped or its machine slept: its runs may long
// have gone to others. It is called again and again, at least every fourth part of the worker's patience.
func (w *Worker) lookAtClock() {
	now := w.config.now()
	// The monotonic clock stands still while the machine sleeps; the other one may be set.
	still := max(now.Sub(w.awake), now.Round(0).Sub(w.awake.Round(0)))
	w.awake = now
	if patience := w.patience(); patience == 0 || still < patience || len(w.attempts) == 0 {
		return
	}
	w.suspend(fmt.Sprintf("this process stood still for %v", still.Round(time.Millisecond)))
	if w.session.welcomed {
		w.session.abandoned = true
		w.session.end(errStoodStill)
	}
}

// suspend stops all training until the coordinator has said which attempts still stand.
func (w *Worker) suspend(reason string) {
	w.fence = nil
	if w.draining {
		return
	}
	suspended := 0
	for _, a := range w.attempts {
		if a.working && !a.suspended {
			a.suspended = true
			a.interrupt(errSuspended)
			suspended++
		}
	}
	if suspended > 0 {
		w.log.Warn("training is suspended until the coordinator says that it still wants it", "runs", suspended,
			"reason", reason)
	}
}

// proceed lets training go on, at the position where it was suspended.
func (w *Worker) proceed(a *attempt) {
	if !a.suspended {
		return
	}
	a.suspended = false
	if !a.working {
		w.start(a)
	}
}

// giveBack ends a suspended attempt without a goroutine. Its position is kept for the next attempt at the run.
func (w *Worker) giveBack(a *attempt) {
	a.suspended = false
	a.outcome = a.returned()
	w.metrics.ended(a.outcome)
	w.positions.keep(a.assignment, a.position)
}
