package worker

import (
	"fmt"
	"slices"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

// patience is how long a worker keeps training without its coordinator: four fifths of the lease. At the end of the
// lease its runs go to others, and further training would be wasted. 0 means forever.
func (w *Worker) patience() time.Duration { return w.lease - w.lease/5 }

// lookAtClock notices that this process was paused, because it was stopped or its machine slept: its runs may have gone
// to others long ago. It must be called at least four times within the worker's patience.
func (w *Worker) lookAtClock() {
	now := w.config.now()
	// The monotonic clock stops while the machine sleeps, and the wall clock may be changed.
	still := max(now.Sub(w.awake), now.Round(0).Sub(w.awake.Round(0)))
	w.awake = now
	if patience := w.patience(); patience == 0 || still < patience || len(w.attempts) == 0 {
		return
	}
	w.suspend(fmt.Sprintf("this process was paused for %v", still.Round(time.Millisecond)))
	if w.session.welcomed {
		w.session.abandoned = true
		w.session.end(errStoodStill)
	}
}

// renew records that the coordinator hears this worker.
func (w *Worker) renew(renewal *trellisv1.LeaseRenewal) {
	s := w.session
	if renewal.GetHeldUp() {
		w.contact = time.Now()
	}
	if arrived := renewal.GetHeartbeat(); arrived >= s.first && arrived-s.first < uint64(len(s.heartbeats)) {
		confirmed := arrived - s.first
		if sent := s.heartbeats[confirmed]; sent.After(w.contact) {
			w.contact = sent
		}
		s.heartbeats, s.first = s.heartbeats[confirmed+1:], arrived+1
	}
}

// lookAtLease notices that the coordinator has not heard this worker for too long, though the connection seems to stand:
// its packets may be lost, and gRPC notices later than the lease ends.
func (w *Worker) lookAtLease() {
	patience := w.patience()
	if patience == 0 || !w.session.welcomed || w.session.abandoned || len(w.attempts) == 0 {
		return
	}
	if silent := time.Since(w.contact); silent >= patience {
		w.suspend(fmt.Sprintf("the coordinator has not answered for %v", silent.Round(time.Millisecond)))
		w.session.abandoned = true
		w.session.end(errSilent)
	}
}

// suspend stops all training until the coordinator has said which attempts are still valid.
func (w *Worker) suspend(reason string) {
	w.fence = nil
	if w.draining {
		return
	}
	suspended := 0
	for _, a := range slices.Backward(w.attempts) { // The last ones wait for slots, and must not get those of the first.
		if a.working && !a.suspended {
			a.suspended = true
			a.interrupt(errSuspended)
			suspended++
		}
	}
	if suspended > 0 {
		w.log.Warn("training is suspended until the coordinator confirms the attempts", "runs", suspended,
			"reason", reason)
	}
}

// proceed lets training continue from the position where it was suspended.
func (w *Worker) proceed(a *attempt) {
	if !a.suspended {
		return
	}
	a.suspended = false
	if !a.working {
		w.start(a)
	}
}

// giveBack returns the run of a suspended attempt, which has no goroutine. Its position is kept for the next attempt at
// the run.
func (w *Worker) giveBack(a *attempt) {
	a.suspended = false
	a.outcome = a.returned()
	w.metrics.ended(a.outcome)
	w.positions.keep(a.assignment, a.position)
}
