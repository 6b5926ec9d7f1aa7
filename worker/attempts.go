package worker

import (
	"context"
	"slices"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

// startDrain stops all training, once. The outcomes return the runs.
func (w *Worker) startDrain() {
	if w.draining {
		return
	}
	w.Drain() // If the worker leaves by itself, the uploads must learn of it.
	w.log.Info("draining", "runs", len(w.attempts))
	w.draining = true
	w.session.drainDue = true
	if !w.session.welcomed {
		w.giveUp = time.After(w.lease)
	}
	for _, a := range slices.Backward(w.attempts) { // As in suspend.
		if a.suspended && !a.working {
			w.giveBack(a)
		}
		a.interrupt(errDraining)
	}
}

// handleEvent handles what an attempt has reported. Nothing is sent for an attempt that has been forgotten.
func (w *Worker) handleEvent(e event) {
	a := e.attempt
	switch {
	case e.checkpoint != nil:
		a.checkpoints = append(a.checkpoints, e.checkpoint)
	case e.outcome == nil:
		a.reported(e.report)
	default:
		w.ended(a, e.outcome, e.position, e.handedBack)
		if e.unfit != nil && !w.draining {
			w.log.Error("this worker can no longer train", "error", e.unfit)
			w.unfit = e.unfit
			w.startDrain()
		}
	}
}

// ended records that an attempt's goroutine has ended. If training was only suspended, there is no outcome yet.
func (w *Worker) ended(a *attempt, outcome *trellisv1.Outcome, at position, handedBack bool) {
	a.working = false
	interrupted := outcome.GetReturn() != nil
	if interrupted && !handedBack && a.ctx.Err() == nil && !w.draining {
		a.position = at
		if !a.suspended {
			w.start(a)
		}
		return
	}
	a.suspended = false
	a.outcome = outcome
	w.metrics.ended(outcome)
	if interrupted {
		w.positions.keep(a.assignment, at)
	}
}

// assign starts an attempt. The attempt waits for a slot if the one before it is still stopping.
func (w *Worker) assign(assignment *trellisv1.Assignment) {
	if w.find(assignment.GetAttempt()) != nil {
		return
	}
	if len(w.attempts) == 0 && time.Since(w.contact) > w.lease/4 {
		// This worker has sent few heartbeats. Its lease begins with the run, and the coordinator is to hear of it at once.
		w.contact, w.session.heartbeatDue = time.Now(), true
	}
	if w.draining {
		a := newAttempt(w.ctx, assignment, position{})
		a.outcome = a.returned()
		w.attempts = append(w.attempts, a)
		return
	}
	a := newAttempt(w.ctx, assignment, w.positions.take(assignment))
	a.uploads.open(w, a)
	w.attempts = append(w.attempts, a)
	w.start(a)
}

// start starts a goroutine that trains from the attempt's position.
func (w *Worker) start(a *attempt) {
	from := a.position
	a.position, a.working = position{}, true
	if from.checkpoint == nil {
		// If the checkpoint could not be fetched, it may start at another epoch than before. Reports must be of
		// consecutive epochs.
		a.reports, a.epoch = nil, 0
		a.resendReports()
	}
	ctx, interrupt := context.WithCancelCause(a.ctx)
	a.interrupt = interrupt
	w.goroutines.Go(func() {
		defer interrupt(nil)
		w.work(ctx, a, from)
	})
}

func (w *Worker) find(number uint64) *attempt {
	for _, a := range w.attempts {
		if a.number() == number {
			return a
		}
	}
	return nil
}

// forget ends an attempt: nothing more is sent for it.
func (w *Worker) forget(a *attempt) {
	if a.suspended && !a.working {
		w.giveBack(a)
	}
	a.end()
	w.attempts = slices.DeleteFunc(w.attempts, func(b *attempt) bool { return a == b })
}
