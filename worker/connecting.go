package worker

import (
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
)

// open starts a session, and says in it what the worker holds.
func (w *Worker) open() {
	hello := &trellisv1.Hello{
		Protocol:  trellisv1.SessionProtocol,
		Numerics:  trainer.NumericsVersion,
		Worker:    w.name,
		Slots:     uint32(w.config.Slots),
		Version:   w.config.Version,
		Processor: w.processor,
		Draining:  w.draining,
		Machine:   machine(),
		Key:       w.key,
		Capacity:  w.capacity,
		Labels:    w.config.Labels,
		Study:     w.config.Study,
	}
	for _, a := range w.attempts {
		a.resend()
		hello.Attempts = append(hello.Attempts, a.number())
	}
	w.session = openSession(w.ctx, w.client, hello, w.failures)
}

// reopen opens another session after one has ended. It logs this once.
func (w *Worker) reopen(last *session, err error) {
	denied := status.Code(err) == codes.Unauthenticated
	if denied && !w.denied {
		w.log.Warn(w.denial()+"; trying again", "coordinator", w.coordinator(), "error", reason(err),
			"runs", len(w.attempts))
	}
	w.denied = denied
	switch {
	case last.welcomed:
		if !last.abandoned && !denied {
			w.log.Warn("lost the coordinator; reconnecting", "coordinator", w.coordinator(), "error", reason(err),
				"runs", len(w.attempts))
		}
		w.connected.Store(false)
		if patience := w.patience(); patience > 0 {
			w.fence = time.After(patience - time.Since(w.contact))
		}
	case w.failures == 0 && !denied:
		w.log.Warn("can't reach the coordinator; will retry", "coordinator", w.config.Coordinator, "error", reason(err))
	}
	w.failures++
	w.heartbeat = nil
	if w.draining && w.giveUp == nil {
		w.giveUp = time.After(w.lease)
	}
	w.open()
}

// denial says what the coordinator does not accept, and what would be right.
func (w *Worker) denial() string {
	switch credentials := w.config.Credentials; {
	case credentials.TokenFile != "":
		return "the coordinator refuses this worker's token: put another into " + credentials.TokenFile
	case credentials.Token != "":
		return "the coordinator refuses this worker's token: start it with another"
	default:
		return "the coordinator refuses this worker's certificate: replace its file"
	}
}

// isFinal says whether the worker gives up after a session has ended with err. One that has been welcomed before goes on
// with its runs while nobody knows it: its token was revoked or has expired, and someone may be replacing it.
func (w *Worker) isFinal(err error) bool {
	return refused(err) && (status.Code(err) != codes.Unauthenticated || w.node == "")
}

// coordinator returns the address of the coordinator, or of its node of the last session.
func (w *Worker) coordinator() string {
	if strings.Contains(w.config.Coordinator, ",") && w.node != "" {
		return w.node
	}
	return w.config.Coordinator
}
