package quota

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// turnRetry is how long a caller whose request found the queue full should wait before it retries.
const turnRetry = time.Second

// Turns lets a bounded number of costly requests run at the same time. Others wait in a queue, which is bounded too. A
// caller's requests are served in their order. Callers take turns, so that one with many requests does not hold up
// another with few.
type Turns struct {
	// What names the requests in refusals, and Limit the limit if it is one of coordinator.Limits.
	What, Limit string
	// Running is how many requests may run at the same time, and RunningEach how many of one caller.
	Running, RunningEach int
	// Queue is how many requests may wait, and QueueEach how many of one caller.
	Queue, QueueEach int

	mu sync.Mutex
	// active counts the requests that run.
	active  int
	waiting int
	callers map[string]*caller
	// order has the callers with waiting requests. The first is served next, and then moves to the end.
	order []*caller
}

// caller has one caller's requests.
type caller struct {
	active  int
	waiting []chan struct{}
}

// Take waits for a turn, until ctx is done. The caller must call release when the request has ended.
func (t *Turns) Take(ctx context.Context, who string) (release func(), err error) {
	t.mu.Lock()
	if t.callers == nil {
		t.callers = map[string]*caller{}
	}
	its := t.callers[who]
	if its == nil {
		its = &caller{}
		t.callers[who] = its
	}
	if t.active < t.Running && its.active < t.RunningEach && len(its.waiting) == 0 {
		t.start(its)
		t.mu.Unlock()
		return func() { t.end(who, its) }, nil
	}
	if t.waiting >= t.Queue || len(its.waiting) >= t.QueueEach {
		err := t.full(its)
		t.forget(who, its)
		t.mu.Unlock()
		return nil, err
	}
	turn := make(chan struct{})
	if its.waiting = append(its.waiting, turn); len(its.waiting) == 1 {
		t.order = append(t.order, its)
	}
	t.waiting++
	t.mu.Unlock()
	select {
	case <-turn:
		return func() { t.end(who, its) }, nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-turn: // It came at the same moment.
		t.stop(who, its)
	default:
		t.leave(who, its, turn)
	}
	return nil, status.FromContextError(ctx.Err()).Err()
}

// start counts a request that runs. The caller of this method, and of those below, holds mu.
func (t *Turns) start(its *caller) {
	t.active++
	its.active++
}

func (t *Turns) end(who string, its *caller) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stop(who, its)
}

// stop ends a request's turn, and starts those that may run now.
func (t *Turns) stop(who string, its *caller) {
	t.active--
	its.active--
	for i := 0; i < len(t.order) && t.active < t.Running; {
		next := t.order[i]
		if next.active >= t.RunningEach {
			i++
			continue
		}
		t.order = append(t.order[:i], t.order[i+1:]...)
		close(next.waiting[0])
		if next.waiting = next.waiting[1:]; len(next.waiting) > 0 {
			t.order = append(t.order, next)
		}
		t.waiting--
		t.start(next)
	}
	t.forget(who, its)
}

// leave takes a request out of the queue.
func (t *Turns) leave(who string, its *caller, turn chan struct{}) {
	for i, other := range its.waiting {
		if other == turn {
			its.waiting = append(its.waiting[:i], its.waiting[i+1:]...)
			break
		}
	}
	t.waiting--
	if len(its.waiting) == 0 {
		for i, other := range t.order {
			if other == its {
				t.order = append(t.order[:i], t.order[i+1:]...)
				break
			}
		}
	}
	t.forget(who, its)
}

// forget drops a caller without requests.
func (t *Turns) forget(who string, its *caller) {
	if its.active == 0 && len(its.waiting) == 0 {
		delete(t.callers, who)
	}
}

// full tells a client which limit its request has met, and when to retry.
func (t *Turns) full(its *caller) error {
	whose, each, running, waiting := "this coordinator serves", "", t.Running, t.waiting
	if t.waiting < t.Queue || t.Queue == 0 && t.active < t.Running {
		whose, each, running, waiting = "for one caller, this coordinator serves", EachSuffix, t.RunningEach,
			len(its.waiting)
	}
	text := fmt.Sprintf("%s at most %d %s at a time", whose, running, t.What)
	if t.Limit != "" {
		text += fmt.Sprintf(" (limit %s%s)", t.Limit, each)
	}
	if t.Queue > 0 {
		text += fmt.Sprintf(", and %d more are waiting, the maximum", waiting)
	}
	answer := status.New(codes.ResourceExhausted, text+": retry later")
	detailed, err := answer.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(turnRetry)})
	if err != nil {
		return answer.Err()
	}
	return detailed.Err()
}
