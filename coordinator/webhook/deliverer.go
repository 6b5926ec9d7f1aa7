package webhook

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hashicorp/go-memdb"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
)

const (
	// firstPause and maxPause are the times between attempts: each is twice as long as the one before. They are longer or
	// shorter by up to a fifth, so that hooks of one receiver don't fail together.
	firstPause = 5 * time.Second
	maxPause   = time.Hour
	// giveUpAfter is how long after an event its last attempt may begin.
	giveUpAfter = 24 * time.Hour
	// passTime and passLength bound a pass: how many events of a hook are sent before that is recorded.
	passTime   = time.Second
	passLength = 16
	// givenUpPause is how long a hook is left alone after an event was given up.
	givenUpPause = time.Second
	// logPause is how long a hook is left alone after the log did not take what was to be recorded of it.
	logPause = time.Second
)

// Snapshots gives read access to the store.
type Snapshots interface {
	Snapshot() *results.Snapshot
}

// Log accepts commands. Only a leader's log does.
type Log interface {
	ProposePatiently(ctx context.Context, command *trellisv1.Command) (answer any, err error)
}

// sender sends an event.
type sender interface {
	Send(ctx context.Context, h *trellisv1.Hook, event *trellisv1.HookEvent) Answer
}

var _ sender = Sender{}

// Deliverer is the loop that delivers. It keeps no state from one term to the next.
type Deliverer struct {
	store  Snapshots
	log    Log
	sender sender
	logger *slog.Logger
	sent   *prometheus.CounterVec
}

// NewDeliverer returns a loop that does not run yet. It registers its metrics, if registerer is not nil.
func NewDeliverer(
	store Snapshots, log Log, sender sender, logger *slog.Logger, registerer prometheus.Registerer,
) *Deliverer {
	d := &Deliverer{
		store: store, log: log, sender: sender, logger: logger, sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "trellis_hook_attempts_total", Help: "Attempts to deliver an event to a web hook, by whether it was accepted.",
		}, []string{"accepted"}),
	}
	for _, accepted := range []string{"true", "false"} {
		d.sent.WithLabelValues(accepted) // An increase from nothing to 1 is none for Prometheus.
	}
	if registerer != nil {
		registerer.MustRegister(d.sent)
	}
	return d
}

// Run delivers until ctx is done, and returns when no request is under way any more. Without hooks it sleeps.
func (d *Deliverer) Run(ctx context.Context) {
	var passes sync.WaitGroup
	defer passes.Wait()
	done := make(chan pass)
	busy := map[uint64]bool{}
	for ctx.Err() == nil {
		ws := memdb.NewWatchSet()
		due, next, err := d.due(ws, busy)
		if err != nil {
			d.logger.Warn("could not read what is to be delivered; will retry", "error", err)
			next = logPause
		}
		for _, h := range due {
			busy[h.GetCreateIndex()] = true
			passes.Go(func() { end(ctx, done, pass{h, d.pass(ctx, h)}) })
		}
		ended := d.await(ctx, ws, next, done)
		for _, one := range ended {
			delete(busy, one.hook.GetCreateIndex())
		}
		for _, one := range d.record(ctx, ended) {
			busy[one.hook.GetCreateIndex()] = true
			passes.Go(func() {
				select {
				case <-time.After(logPause):
				case <-ctx.Done():
				}
				end(ctx, done, pass{hook: one.hook})
			})
		}
	}
}

// pass is what has become of a few events of one hook.
type pass struct {
	hook     *trellisv1.Hook
	attempts []*trellisv1.DeliveryAttempt
}

// end tells the loop that a pass has ended, if it still runs.
func end(ctx context.Context, done chan<- pass, ended pass) {
	select {
	case done <- ended:
	case <-ctx.Done():
	}
}

// due returns the hooks that something is to be sent to now, but for those that are busy, and when there will be others, 0 if
// that is not known. The watch set fires when that may have changed.
func (d *Deliverer) due(ws memdb.WatchSet, busy map[uint64]bool) (due []*trellisv1.Hook, next time.Duration, err error) {
	snapshot := d.store.Snapshot()
	hooks, err := snapshot.Hooks(ws)
	if err != nil {
		return nil, 0, err
	}
	for _, h := range hooks {
		if busy[h.GetCreateIndex()] {
			continue
		}
		delivery, err := snapshot.NextDelivery(h)
		if err != nil {
			return nil, 0, err
		}
		if delivery == nil {
			continue
		}
		if wait := waits(delivery); wait > 0 {
			if next == 0 || wait < next {
				next = wait
			}
			continue
		}
		due = append(due, h)
	}
	return due, next, nil
}

// waits returns how long a delivery is not to be tried yet.
func waits(delivery *trellisv1.Delivery) time.Duration {
	if delivery.GetRetryTime() == nil {
		return 0
	}
	return time.Until(delivery.GetRetryTime().AsTime())
}

// await returns when passes have ended, the watch set has fired, or the time has come, if it is not 0.
func (d *Deliverer) await(ctx context.Context, ws memdb.WatchSet, next time.Duration, done <-chan pass) (ended []pass) {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	var timer <-chan time.Time
	if next > 0 {
		timer = time.After(next)
	}
	select {
	case <-ws.WatchCh(watching):
	case <-timer:
	case one := <-done:
		ended = append(ended, one)
		for {
			select {
			case one := <-done:
				ended = append(ended, one)
				continue
			default:
			}
			break
		}
	}
	return ended
}

// record records attempts together, or those of each hook alone, if the log does not take them: then one can't hold the
// others up. It returns what the log has not taken. Those attempts will be made again.
func (d *Deliverer) record(ctx context.Context, ended []pass) (failed []pass) {
	var attempts []*trellisv1.DeliveryAttempt
	for _, one := range ended {
		attempts = append(attempts, one.attempts...)
	}
	if len(attempts) == 0 {
		return nil
	}
	_, err := d.log.ProposePatiently(ctx, &trellisv1.Command{Change: &trellisv1.Command_RecordDeliveries{
		RecordDeliveries: &trellisv1.RecordDeliveriesCommand{Attempts: attempts},
	}})
	if err == nil || ctx.Err() != nil {
		return nil
	}
	if len(ended) > 1 {
		for i := range ended {
			failed = append(failed, d.record(ctx, ended[i:i+1])...)
		}
		return failed
	}
	d.logger.Warn("could not record what was delivered to a web hook; it may be delivered again",
		"hook", ended[0].hook.GetName(), "error", err)
	return ended
}

// pass sends a hook's next events, one after the other, until one is not accepted.
func (d *Deliverer) pass(ctx context.Context, h *trellisv1.Hook) (attempts []*trellisv1.DeliveryAttempt) {
	began := time.Now()
	for len(attempts) < passLength && time.Since(began) < passTime {
		next := h.GetDone() + 1 + uint64(len(attempts))
		snapshot := d.store.Snapshot()
		now, err := snapshot.Hook(h.GetName())
		if err != nil || now.GetCreateIndex() != h.GetCreateIndex() || now.GetDone() != h.GetDone() || next > now.GetCreated() {
			return attempts
		}
		delivery, err := snapshot.Delivery(h, next)
		if err != nil {
			d.logger.Warn("could not read what is to be delivered", "hook", h.GetName(), "error", err)
			return attempts
		}
		answer := d.sender.Send(ctx, h, delivery.GetEvent())
		if ctx.Err() != nil {
			return attempts
		}
		attempt := d.judge(h, delivery, answer)
		attempts = append(attempts, attempt)
		if !answer.Accepted() {
			break
		}
	}
	if n := len(attempts); n > 0 && attempts[n-1].State == trellisv1.DeliveryState_DELIVERY_STATE_GIVEN_UP {
		// Events of one moment are given up together, one by one.
		select {
		case <-time.After(givenUpPause):
		case <-ctx.Done():
		}
	}
	return attempts
}

// judge says what follows from the answer to an attempt.
func (d *Deliverer) judge(
	h *trellisv1.Hook, delivery *trellisv1.Delivery, answer Answer,
) *trellisv1.DeliveryAttempt {
	attempt := &trellisv1.DeliveryAttempt{
		Hook: h.GetName(), CreateIndex: h.GetCreateIndex(), Number: delivery.GetNumber(),
		State: trellisv1.DeliveryState_DELIVERY_STATE_DELIVERED, Time: timestamppb.New(answer.Time),
		Status: uint32(answer.Status), Error: answer.Error, Gone: answer.Gone(),
	}
	d.sent.WithLabelValues(map[bool]string{true: "true", false: "false"}[answer.Accepted()]).Inc()
	if answer.Accepted() {
		return attempt
	}
	logger := d.logger.With("hook", h.GetName(), "event", delivery.GetEvent().GetId(),
		"type", delivery.GetEvent().GetType(), "attempts", delivery.GetAttempts()+1, "status", answer.Status,
		"error", answer.Error)
	retry := time.Now().Add(pauseAfter(delivery.GetAttempts()))
	switch {
	case answer.Gone():
		attempt.State = trellisv1.DeliveryState_DELIVERY_STATE_GIVEN_UP
		logger.Warn("a web hook's receiver is gone for good: nothing more is delivered to it")
	case retry.Sub(delivery.GetEvent().GetTimestamp().AsTime()) > giveUpAfter:
		attempt.State = trellisv1.DeliveryState_DELIVERY_STATE_GIVEN_UP
		logger.Warn("gave up an event for a web hook")
	default:
		attempt.State, attempt.RetryTime = trellisv1.DeliveryState_DELIVERY_STATE_WAITING, timestamppb.New(retry)
		logger.Info("a web hook's receiver did not accept an event; will retry", "at", retry.UTC().Format(time.RFC3339))
	}
	return attempt
}

// pauseAfter returns how long to wait after an attempt, given how many there were before.
func pauseAfter(before uint32) time.Duration {
	pause := maxPause
	if before < 10 {
		pause = min(firstPause<<before, maxPause)
	}
	return time.Duration(float64(pause) * (0.8 + 0.4*rand.Float64()))
}
