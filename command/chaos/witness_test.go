package chaos

import (
	"context"
	"errors"
	"hash/fnv"
	"io"
	"math"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
)

// witness is a worker that trains nothing: it makes up the losses of a run from the run's id, so that every witness
// reports the same. It keeps the runs whose outcomes the coordinator has acknowledged.
type witness struct {
	name  string
	slots uint32
	c     *client

	mu sync.Mutex
	// held has the runs of attempts, until they are acknowledged.
	held map[uint64]string
	// acknowledged are runs in the order in which they were.
	acknowledged []string
	known        map[string]bool
}

func newWitness(name string, slots uint32, c *client) *witness {
	return &witness{name: name, slots: slots, c: c, known: map[string]bool{}}
}

// work connects again and again until ctx is done.
func (w *witness) work(ctx context.Context) {
	for ctx.Err() == nil {
		_ = w.session(ctx) // It ends with its coordinator.
		pause(ctx, 20*time.Millisecond)
	}
}

// session serves one session until it ends. It begins with nothing: the coordinator grants again what it did not
// record.
func (w *witness) session(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.mu.Lock()
	w.held = map[uint64]string{}
	w.mu.Unlock()
	stream, err := w.c.Session(ctx, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	var sending sync.Mutex
	send := func(request *trellisv1.SessionRequest) error {
		sending.Lock()
		defer sending.Unlock()
		return stream.Send(request)
	}
	if err := send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Hello{Hello: &trellisv1.Hello{
		Protocol: trellisv1.SessionProtocol, Numerics: trainer.NumericsVersion, Worker: w.name, Slots: w.slots,
		Key: slices.Repeat([]byte(w.name), 16)[:16],
	}}}); err != nil {
		return err
	}
	for {
		response, err := stream.Recv()
		if err != nil {
			return err
		}
		var requests []*trellisv1.SessionRequest
		for _, part := range response.Parts() {
			if assignment := part.GetAssignment(); assignment != nil {
				requests = append(requests, w.train(assignment)...)
			}
			if welcome := part.GetWelcome(); welcome != nil {
				go beat(ctx, send, time.Duration(welcome.GetHeartbeatMilliseconds())*time.Millisecond)
			}
			if acknowledgement := part.GetAcknowledgement(); acknowledgement.GetOutcome() {
				w.note(acknowledgement.GetAttempt())
			}
		}
		for part := range slices.Chunk(requests, 512) {
			if err := send(batchOf(part)); err != nil {
				return err
			}
		}
	}
}

// beat sends heartbeats until the session ends.
func beat(ctx context.Context, send func(*trellisv1.SessionRequest) error, interval time.Duration) {
	for number := uint64(1); ctx.Err() == nil; number++ {
		if send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Heartbeat{
			Heartbeat: &trellisv1.Heartbeat{Number: number},
		}}) != nil {
			return
		}
		pause(ctx, interval)
	}
}

func batchOf(requests []*trellisv1.SessionRequest) *trellisv1.SessionRequest {
	if len(requests) == 1 {
		return requests[0]
	}
	return &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Batch{
		Batch: &trellisv1.SessionRequests{Requests: requests},
	}}
}

// train returns all epochs that are missing of a run, and its outcome.
func (w *witness) train(assignment *trellisv1.Assignment) []*trellisv1.SessionRequest {
	w.mu.Lock()
	w.held[assignment.GetAttempt()] = assignment.GetRun()
	w.mu.Unlock()
	study, run, attempt := assignment.GetStudy(), assignment.GetRun(), assignment.GetAttempt()
	epochs := assignment.GetConfig().GetParameters().GetMaxEpochs()
	reports := &trellisv1.Reports{Study: study, Run: run, Attempt: attempt, FirstEpoch: assignment.GetEpochs() + 1}
	for epoch := reports.GetFirstEpoch(); epoch <= epochs; epoch++ {
		loss := lossOf(run, epoch)
		reports.TrainLoss = append(reports.TrainLoss, loss)
		reports.ValidationLoss = append(reports.ValidationLoss, loss)
		reports.Seconds = append(reports.Seconds, 1e-6)
	}
	reports.TestLoss = map[uint32]float64{epochs: lossOf(run, epochs)}
	outcome := &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Outcome{Outcome: &trellisv1.Outcome{
		Study: study, Run: run, Attempt: attempt,
		Result: &trellisv1.Outcome_Success_{Success: &trellisv1.Outcome_Success{
			StopReason: trellisv1.StopReason_STOP_REASON_MAX_EPOCHS, Epochs: epochs,
		}},
	}}}
	if len(reports.GetTrainLoss()) == 0 {
		return []*trellisv1.SessionRequest{outcome}
	}
	return []*trellisv1.SessionRequest{{Message: &trellisv1.SessionRequest_Reports{
		Reports: &trellisv1.ReportBatch{Reports: []*trellisv1.Reports{reports}},
	}}, outcome}
}

// lossOf is a run's loss after an epoch.
func lossOf(run string, epoch uint32) float64 {
	hash := fnv.New64a()
	_, _ = io.WriteString(hash, run)
	return (1 + float64(hash.Sum64())/math.MaxUint64) / float64(epoch)
}

func (w *witness) note(attempt uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	run, held := w.held[attempt]
	if !held {
		return
	}
	delete(w.held, attempt)
	if !w.known[run] {
		w.known[run] = true
		w.acknowledged = append(w.acknowledged, run)
	}
}

// acked returns the runs whose outcomes have been acknowledged by now.
func (w *witness) acked() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clip(w.acknowledged)
}

// start lets the witness work until stop is called.
func (w *witness) start(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.work(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

var errNotThere = errors.New("an acknowledged result is not there")
