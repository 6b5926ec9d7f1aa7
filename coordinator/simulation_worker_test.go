package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"

	trellisv1 "trellis/proto/trellis/v1"
)

// workerFault is what befalls a worker.
type workerFault struct {
	kind workerFaultKind
	// lasts is for how long a process stands still, or a machine stays down.
	lasts time.Duration
}

type workerFaultKind int

const (
	// workerDies ends the process without a word.
	workerDies workerFaultKind = iota
	// workerDrains makes it hand back what it has and leave.
	workerDrains
	// workerStops makes the process stand still.
	workerStops
	// workerBreaks ends its session.
	workerBreaks
)

// simulatedMachine is where workers run, one after the other.
type simulatedMachine struct {
	s      *simulation
	number int
	faults chan workerFault
}

func (m *simulatedMachine) address() string { return fmt.Sprintf("worker%d:1", m.number) }

func (m *simulatedMachine) run() {
	random := m.s.random("worker", m.number)
	for life := 0; m.s.working.Err() == nil; life++ {
		endpoint, err := m.s.network.Listen(m.address())
		if err != nil {
			m.s.wrong("%v", err)
			return
		}
		ctx, cancel := context.WithCancel(m.s.working)
		w := &simulatedWorker{
			s: m.s, machine: m, random: random, ctx: ctx, name: fmt.Sprintf("worker%d-%d", m.number, life),
			slots: 1 + m.number%2, speed: time.Duration(40+random.IntN(400)) * time.Millisecond,
			ghosts: map[string][]*trellisv1.SessionRequest{}, restored: make(chan restoredCheckpoint),
			uploaded: make(chan uploadedCheckpoint),
		}
		down := w.live(dialThrough(endpoint))
		// A process that has died takes its connections with it.
		endpoint.Close()
		cancel()
		w.helpers.Wait()
		sleepUntil(m.s.working, down)
	}
}

// simulatedWorker is a worker that follows worker/DESIGN.md: what it trains is the closed form. One goroutine has all
// its state; others read and write its stream, and get and put its checkpoints.
type simulatedWorker struct {
	s       *simulation
	machine *simulatedMachine
	random  *rand.Rand
	ctx     context.Context
	name    string
	slots   int
	// speed is how long an epoch takes.
	speed   time.Duration
	conn    *grpc.ClientConn
	helpers sync.WaitGroup

	session  *simulatedSession
	welcomed bool
	failures int
	began    time.Time
	reopen   <-chan time.Time
	// heartbeat ticks, and due says that one is to be sent.
	heartbeat      *time.Ticker
	interval       time.Duration
	due            bool
	draining       bool
	drainDue, left bool
	attempts       []*simulatedAttempt
	// stale has what is sent of attempts that stand no longer, as by a worker that has not been told yet. ghosts have,
	// by run, what is sent of them once the worker holds the run again.
	stale    []*trellisv1.SessionRequest
	ghosts   map[string][]*trellisv1.SessionRequest
	restored chan restoredCheckpoint
	uploaded chan uploadedCheckpoint
	every    time.Duration
}

// simulatedAttempt is a run in training.
type simulatedAttempt struct {
	*trellisv1.Assignment
	// ready says that it is known where the attempt begins. Epochs up to trained are trained, those up to sent are
	// sent, those up to acknowledged need not be sent again.
	ready                       bool
	trained, sent, acknowledged uint32
	// next is when the next epoch will be trained. Zero if none will.
	next        time.Time
	steps       uint64
	checkpoints []*trellisv1.Checkpoint
	saved       int
	uploading   bool
	lastUpload  time.Time
	outcome     *trellisv1.Outcome
	outcomeSent bool
}

// simulatedSession is a stream with goroutines that read and write it.
type simulatedSession struct {
	requests  chan *trellisv1.SessionRequest
	responses chan *trellisv1.SessionResponse
	done      chan error
	ctx       context.Context
	cancel    context.CancelFunc
}

type restoredCheckpoint struct {
	attempt uint64
	epoch   uint32
}

type uploadedCheckpoint struct {
	attempt    uint64
	checkpoint *trellisv1.Checkpoint
}

// live is the life of the process. It returns for how long there is none afterwards.
func (w *simulatedWorker) live(dial dialer) time.Duration {
	builder := manual.NewBuilderWithScheme("simulated")
	var state resolver.State
	for _, n := range w.s.nodes {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: n.address}}})
	}
	builder.InitialState(state)
	conn, err := grpc.NewClient("simulated:///nodes", grpc.WithResolvers(builder), grpc.WithContextDialer(dial),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}))
	if err != nil {
		w.s.wrong("%v", err)
		return 0
	}
	w.conn = conn
	defer conn.Close()
	w.heartbeat = time.NewTicker(time.Hour)
	defer w.heartbeat.Stop()
	w.open()
	defer func() {
		if w.session != nil {
			w.session.cancel()
		}
	}()
	train := time.NewTimer(time.Hour)
	defer train.Stop()
	for {
		var responses <-chan *trellisv1.SessionResponse
		var done <-chan error
		var requests chan<- *trellisv1.SessionRequest
		var request *trellisv1.SessionRequest
		if w.session != nil {
			responses, done = w.session.responses, w.session.done
			if w.welcomed && !w.left {
				if request = w.next(); request != nil {
					requests = w.session.requests
				}
			}
		} else if w.draining && len(w.attempts) == 0 {
			return 0
		}
		train.Reset(w.untilTrained())
		select {
		case <-w.ctx.Done():
			return 0
		case requests <- request:
			w.sent(request)
		case response := <-responses:
			w.handle(response)
		case err := <-done:
			w.lost(err)
			if w.left {
				return 0
			}
		case <-w.reopen:
			w.reopen = nil
			w.open()
		case <-w.heartbeat.C:
			w.failures, w.due = 0, true
		case <-train.C:
			w.train()
		case at := <-w.restored:
			w.start(at)
		case up := <-w.uploaded:
			w.keep(up)
		case fault := <-w.machine.faults:
			switch fault.kind {
			case workerDies:
				return fault.lasts
			case workerDrains:
				w.drain()
			case workerStops:
				w.stop(fault.lasts)
			case workerBreaks:
				if w.session != nil {
					w.session.cancel()
				}
			}
		}
	}
}

// open opens a session.
func (w *simulatedWorker) open() {
	hello := &trellisv1.Hello{
		Protocol: trellisv1.SessionProtocol, Numerics: testNumerics, Worker: w.name, Slots: uint32(w.slots),
		Draining: w.draining, Key: keyOf(w.name),
	}
	for _, a := range w.attempts {
		hello.Attempts = append(hello.Attempts, a.GetAttempt())
	}
	ctx, cancel := context.WithCancel(w.ctx)
	session := &simulatedSession{
		requests: make(chan *trellisv1.SessionRequest), responses: make(chan *trellisv1.SessionResponse),
		done: make(chan error, 1),
		ctx:  ctx, cancel: cancel,
	}
	w.session, w.welcomed, w.began = session, false, time.Now()
	wait := w.failures > 0
	w.helpers.Go(func() { session.done <- session.run(w.conn, hello, wait) })
}

// run reads and writes the stream until it ends.
func (s *simulatedSession) run(conn *grpc.ClientConn, hello *trellisv1.Hello, wait bool) error {
	defer s.cancel()
	unwelcome := time.AfterFunc(10*time.Second, s.cancel)
	defer unwelcome.Stop()
	stream, err := newPartsClient(conn).Session(s.ctx, grpc.WaitForReady(wait))
	if err != nil {
		return err
	}
	message := &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Hello{Hello: hello}}
	if err := stream.Send(message); err != nil {
		return err
	}
	var writer sync.WaitGroup
	defer writer.Wait()
	defer s.cancel()
	writer.Go(func() {
		for {
			select {
			case request := <-s.requests:
				if err := stream.Send(request); err != nil {
					return
				}
			case <-s.ctx.Done():
				return
			}
		}
	})
	for {
		response, err := stream.Recv()
		if err != nil {
			return err
		}
		unwelcome.Stop()
		select {
		case s.responses <- response:
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
}

// lost prepares for the next session.
func (w *simulatedWorker) lost(err error) {
	if !errors.Is(err, io.EOF) {
		w.s.logger.Debug("session lost", "worker", w.name, "error", err)
	}
	w.session = nil
	w.failures++
	delay := 100 * time.Millisecond
	for range min(w.failures, 9) - 1 {
		delay = min(delay*8/5, 5*time.Second)
	}
	w.reopen = time.After(delay*6/10 + time.Duration(w.random.Int64N(int64(delay*8/10))))
}

func (w *simulatedWorker) find(attempt uint64) *simulatedAttempt {
	for _, a := range w.attempts {
		if a.GetAttempt() == attempt {
			return a
		}
	}
	return nil
}

func (w *simulatedWorker) forget(attempt uint64) {
	w.attempts = slices.DeleteFunc(w.attempts, func(a *simulatedAttempt) bool { return a.GetAttempt() == attempt })
}

// handle does what the coordinator says.
func (w *simulatedWorker) handle(response *trellisv1.SessionResponse) {
	if welcome := response.GetWelcome(); welcome != nil {
		if w.welcomed {
			w.s.wrong("worker %s was welcomed twice", w.name)
		}
		w.welcomed, w.drainDue = true, false
		w.interval = time.Duration(welcome.GetHeartbeatMilliseconds()) * time.Millisecond
		w.every = time.Duration(welcome.GetCheckpointMilliseconds()) * time.Millisecond
		w.heartbeat.Reset(w.interval)
		for _, a := range slices.Clone(w.attempts) {
			a.sent, a.saved, a.outcomeSent = a.acknowledged, 0, false
			if !slices.Contains(welcome.GetAttempts(), a.GetAttempt()) {
				w.forget(a.GetAttempt())
				w.insist(a)
			}
		}
		return
	}
	if !w.welcomed {
		w.s.wrong("worker %s was told %v before it was welcomed", w.name, response)
	}
	switch message := response.GetMessage().(type) {
	case *trellisv1.SessionResponse_Assignment:
		w.assign(message.Assignment)
	case *trellisv1.SessionResponse_Stop:
		if a := w.find(message.Stop.GetAttempt()); a != nil {
			w.forget(a.GetAttempt())
			w.insist(a)
		}
	case *trellisv1.SessionResponse_Acknowledgement:
		ack := message.Acknowledgement
		w.s.journal.acknowledged(w.name, ack)
		a := w.find(ack.GetAttempt())
		if a == nil {
			return
		}
		a.acknowledged = max(a.acknowledged, ack.GetEpoch())
		for len(a.checkpoints) > 0 && a.checkpoints[0].GetEpoch() <= ack.GetCheckpoint() {
			a.checkpoints, a.saved = a.checkpoints[1:], max(a.saved-1, 0)
		}
		if ack.GetOutcome() {
			w.forget(ack.GetAttempt())
		}
	}
}

// insist sends of an attempt that stands no longer what a worker sends that does not know: at once, or when it has been
// given the run again.
func (w *simulatedWorker) insist(a *simulatedAttempt) {
	if !a.ready {
		return
	}
	outcome := &trellisv1.Outcome{Study: a.GetStudy(), Run: a.GetRun(), Attempt: a.GetAttempt()}
	outcome.Result = &trellisv1.Outcome_Success_{Success: &trellisv1.Outcome_Success{
		StopReason: trellisv1.StopReason_STOP_REASON_MAX_EPOCHS, Epochs: max(a.trained, 1),
	}}
	last := max(a.trained, 1)
	said := []*trellisv1.SessionRequest{
		a.report(min(a.acknowledged+1, last), last),
		{Message: &trellisv1.SessionRequest_Outcome{Outcome: outcome}},
	}
	if w.random.IntN(3) == 0 {
		w.stale = append(w.stale, said...)
	} else {
		w.ghosts[a.GetRun()] = said
	}
}

// assign takes a run on.
func (w *simulatedWorker) assign(assignment *trellisv1.Assignment) {
	if w.find(assignment.GetAttempt()) != nil {
		return
	}
	if checkpoint := assignment.GetCheckpoint(); checkpoint.GetEpoch() > assignment.GetEpochs() {
		w.s.wrong("worker %s was assigned a checkpoint of epoch %d, and %d are recorded", w.name, checkpoint.GetEpoch(),
			assignment.GetEpochs())
	}
	a := &simulatedAttempt{Assignment: assignment, lastUpload: time.Now()}
	w.attempts = append(w.attempts, a)
	w.stale = append(w.stale, w.ghosts[assignment.GetRun()]...)
	delete(w.ghosts, assignment.GetRun())
	if w.draining {
		a.ready = true
		w.end(a, &trellisv1.Outcome{Result: &trellisv1.Outcome_Return_{Return: &trellisv1.Outcome_Return{}}})
		return
	}
	w.helpers.Go(func() {
		at := restoredCheckpoint{attempt: assignment.GetAttempt()}
		if w.fetch(assignment) {
			at.epoch = assignment.GetCheckpoint().GetEpoch()
		}
		select {
		case w.restored <- at:
		case <-w.ctx.Done():
		}
	})
}

// end gives an attempt its outcome.
func (w *simulatedWorker) end(a *simulatedAttempt, outcome *trellisv1.Outcome) {
	outcome.Study, outcome.Run, outcome.Attempt = a.GetStudy(), a.GetRun(), a.GetAttempt()
	a.outcome, a.next = outcome, time.Time{}
}

// drain hands everything back.
func (w *simulatedWorker) drain() {
	if w.draining {
		return
	}
	w.draining, w.drainDue = true, true
	for _, a := range w.attempts {
		if a.outcome == nil {
			w.end(a, &trellisv1.Outcome{Result: &trellisv1.Outcome_Return_{Return: &trellisv1.Outcome_Return{}}})
		}
	}
}

// stop makes the process stand still. Every other time it notices afterwards, and opens another session.
func (w *simulatedWorker) stop(lasts time.Duration) {
	sleepUntil(w.ctx, lasts)
	for _, a := range w.attempts {
		if !a.next.IsZero() {
			a.next = a.next.Add(lasts)
		}
	}
	if w.session != nil && w.random.IntN(2) == 0 {
		w.session.cancel()
	}
}
