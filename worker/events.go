package worker

import (
	"sync"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
)

// event is what an attempt's goroutines tell Run: an epoch's report, a checkpoint that was uploaded or could not be, or
// the outcome when training has ended.
type event struct {
	attempt    *attempt
	report     trainer.Report
	checkpoint *trellisv1.CheckpointReport
	outcome    *trellisv1.Outcome
	// position comes with the outcome. It says how far the training came.
	position position
	// unfit comes with an outcome: what is wrong with this worker, nil for nothing.
	unfit error
	// handedBack says that the worker returns the run by itself: nobody has interrupted it, and it does not continue
	// here.
	handedBack bool
}

// events is a queue of events that Run has not taken yet. Putting never blocks, so Run does not slow down training.
// With many epochs a second, Run takes many events at a time.
type events struct {
	// notice has one token when there are events.
	notice chan struct{}

	mu sync.Mutex
	// queue is what has been put. taken is the memory of what was taken before.
	queue, taken []event
}

func newEvents() *events { return &events{notice: make(chan struct{}, 1)} }

func (q *events) put(e event) {
	q.mu.Lock()
	q.queue = append(q.queue, e)
	q.mu.Unlock()
	select {
	case q.notice <- struct{}{}:
	default:
	}
}

// take returns all events, in the order in which they were put, until the next call.
func (q *events) take() []event {
	q.mu.Lock()
	defer q.mu.Unlock()
	clear(q.taken)
	q.queue, q.taken = q.taken[:0], q.queue
	return q.taken
}
