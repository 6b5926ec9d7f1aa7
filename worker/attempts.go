package worker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/worker/spans"
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
	if w.config.DrainTimeout > 0 {
		w.timeUp = time.After(time.Until(w.drained.Add(w.config.DrainTimeout)))
	}
	for _, a := range slices.Backward(w.attempts) { // As in suspend.
		if a.suspended && !a.working {
			w.giveBack(a)
		}
		a.interrupt(errDraining)
	}
}

// lookAtIdleness lets the time begin after which the worker leaves because it has nothing to do, and begin anew when it gets or
// loses its coordinator: one that has just come may have something to do, and one that has just gone may come back.
func (w *Worker) lookAtIdleness() {
	if w.config.ExitWhenIdle == 0 || w.draining || len(w.attempts) > 0 {
		w.idle = nil
		return
	}
	if w.idle == nil || w.idleWithout == w.session.welcomed {
		w.idle, w.idleWithout = time.After(w.config.ExitWhenIdle), !w.session.welcomed
	}
}

// own is what a worker knows of Config.Study.
type own int

const (
	// ownUntold: no coordinator has said anything of it. Those of old don't.
	ownUntold own = iota
	// ownUnknown: there has been none of that name since the worker was started.
	ownUnknown
	ownOpen
	ownEnded
)

// learnOfStudy hears how Config.Study stands. One that is unknown may be submitted later. One that the worker has known was
// deleted: there is no more to do for it than for one that has ended.
func (w *Worker) learnOfStudy(state trellisv1.StudyState) {
	switch state {
	case trellisv1.StudyState_STUDY_STATE_UNSPECIFIED:
		if w.own == ownUntold {
			w.own = ownUnknown
			w.log.Warn("the coordinator has no study of that name: the worker waits until one is submitted, and takes no other "+
				"runs; if the name is mistyped, start it again with another", "study", w.config.Study)
		} else if w.own == ownOpen {
			w.own = ownEnded
		}
	case trellisv1.StudyState_STUDY_STATE_COMPLETED, trellisv1.StudyState_STUDY_STATE_CANCELED:
		w.own = ownEnded
	default:
		if w.own == ownUnknown {
			w.log.Info("the study is there", "study", w.config.Study)
		}
		w.own = ownOpen
	}
}

// learnUnserved says that no study whose runs wait can have this worker, which may be so for long: its labels may be
// mistyped, here or in a spec, or its memory is too little.
func (w *Worker) learnUnserved(unserved *trellisv1.Unserved) {
	asked := unserved.GetAsked()
	if memory := unserved.GetMemory(); memory > 0 {
		w.log.Warn("the runs that wait take more memory than this worker has: it gets none of them", "study", unserved.GetStudy(),
			"memory of a run", mebibytes(memory+1<<20-1), "its memory", mebibytes(w.capacity.GetMemory()))
	}
	if len(asked) == 0 {
		return
	}
	words := make([]string, len(asked))
	for i, one := range asked {
		words[i] = labelText(one.GetLabels())
	}
	w.log.Warn("the studies whose runs wait ask for workers with other labels: this worker gets none of their runs",
		"asked for", strings.Join(words, "; "), "its labels", labelText(w.config.Labels))
}

// mebibytes is a number of bytes as --memory takes it, rounded down.
func mebibytes(bytes uint64) string { return fmt.Sprintf("%dMiB", bytes>>20) }

// labelText is labels as --label takes them, in one order.
func labelText(labels map[string]string) string {
	pairs := make([]string, 0, len(labels))
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		pairs = append(pairs, name+"="+labels[name])
	}
	return strings.Join(pairs, ",")
}

// lookAtStudy makes the worker leave if its only study has ended, once it has delivered what it holds.
func (w *Worker) lookAtStudy() {
	if w.own != ownEnded || w.draining || len(w.attempts) > 0 || !w.session.welcomed {
		return
	}
	w.log.Info("leaving: the study has ended or was deleted, there is no more work", "study", w.config.Study)
	w.idled = true
	w.startDrain()
}

// leave ends a worker that has nothing to do.
func (w *Worker) leave() {
	w.log.Info("leaving: no runs for the time of exit-when-idle", "idle", w.config.ExitWhenIdle,
		"coordinator", !w.idleWithout)
	w.idled = true
	switch {
	case w.idleWithout:
		w.more = ErrCutOff
	case w.own == ownUnknown:
		w.more = fmt.Errorf("%w: %s", ErrNoStudy, w.config.Study)
	}
	w.startDrain()
}

// drainShare is the part of Config.DrainTimeout after which a drain no longer waits for programs and uploads: the rest is for
// the acknowledgements. It returns how long that is from now, once the worker drains, and no less than 0.
func (w *Worker) drainShare() time.Duration {
	return max(0, time.Until(w.drained.Add(w.config.DrainTimeout-w.config.DrainTimeout/10)))
}

// uploadShare is how long a drain may wait for an upload.
func (w *Worker) uploadShare() time.Duration {
	if w.config.DrainTimeout > 0 {
		return w.drainShare()
	}
	return drainUploadTimeout
}

// hurry returns a context that is done when a program that was told to end at the beginning of a drain is to be killed, so that
// there is time to upload its last checkpoint: twice what such an upload has taken so far, and a tenth of Config.DrainTimeout. Call settled when it has ended.
func (w *Worker) hurry(a *attempt) (ctx context.Context, settled func()) {
	ctx, cancel := context.WithCancel(context.Background())
	if w.config.DrainTimeout == 0 {
		return ctx, cancel
	}
	over, end := context.WithCancel(a.ctx)
	w.goroutines.Go(func() {
		select {
		case <-w.drain:
		case <-over.Done():
			return
		}
		share, upload := w.drainShare(), max(2*time.Duration(a.uploads.longest.Load()), w.config.DrainTimeout/10)
		if sleep(over, max(share/4, share-upload)) == nil {
			cancel()
		}
	})
	return ctx, func() {
		end()
		cancel()
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
		a := w.newAttempt(assignment, position{})
		a.outcome = a.returned()
		w.attempts = append(w.attempts, a)
		if w.idled {
			w.more = ErrHandedBack
		}
		return
	}
	a := w.newAttempt(assignment, w.positions.take(assignment))
	a.uploads.open(w, a)
	w.attempts = append(w.attempts, a)
	w.start(a)
}

// newAttempt returns a traced attempt.
func (w *Worker) newAttempt(assignment *trellisv1.Assignment, from position) *attempt {
	ctx, span := spans.Start(w.ctx, w.config.Tracer, w.name, assignment)
	a := newAttempt(ctx, assignment, from)
	a.span = span
	return a
}

// start lets a goroutine train from the attempt's position.
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
	next := training{ctx: ctx, interrupt: interrupt, attempt: a, from: from}
	select {
	case w.trainings <- next:
	default:
		w.goroutines.Go(func() { w.keepTraining(next) })
	}
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
	a.span.Stopped()
	w.attempts = slices.DeleteFunc(w.attempts, func(b *attempt) bool { return a == b })
	if w.largeEnded.Swap(false) {
		w.releasing = time.After(releaseDelay)
	}
}
