package lead

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"trellis/coordinator/access"
	"trellis/coordinator/artifact"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
	"trellis/results/trajectory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testLease = 15 * time.Second

// testLog applies commands to a store at once.
type testLog struct {
	*testing.T
	// ctx ends with the test, inside its bubble, which testing's does not if the test fails.
	ctx   context.Context
	store *results.Store
	wake  func(command *trellisv1.Command, answer any)

	mu      sync.Mutex
	index   uint64
	applied func(*trellisv1.Command)
}

var _ Log = (*testLog)(nil)

// hook sets what is called after each command.
func (l *testLog) hook(applied func(*trellisv1.Command)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.applied = applied
}

func (l *testLog) ProposePatiently(_ context.Context, command *trellisv1.Command) (any, error) {
	l.mu.Lock()
	l.index++
	answer := l.apply(l.index, timestamppb.Now(), command)
	applied := l.applied
	l.mu.Unlock()
	if err, ok := answer.(error); ok {
		return nil, err
	}
	l.wake(command, answer)
	if applied != nil {
		applied(command)
	}
	return answer, nil
}

func (l *testLog) apply(index uint64, now *timestamppb.Timestamp, command *trellisv1.Command) any {
	switch change := command.GetChange().(type) {
	case *trellisv1.Command_CreateStudy:
		spec := change.CreateStudy.GetSpec()
		return l.store.CreateStudy(index, now, &trellisv1.Study{
			Name: spec.GetName(), Spec: spec, Numerics: "test", Network: change.CreateStudy.GetNetwork(),
		})
	case *trellisv1.Command_SetWorker:
		return l.store.SetWorker(index, now, trajectory.LatestRules, change.SetWorker.GetWorker())
	case *trellisv1.Command_Grant:
		return l.store.Grant(index, now, change.Grant.GetGrants())
	case *trellisv1.Command_Record:
		return l.store.Record(index, now, trajectory.LatestRules, change.Record.GetEntries())
	case *trellisv1.Command_RecordAndGrant:
		both := change.RecordAndGrant
		return l.store.RecordAndGrant(
			index, now, trajectory.LatestRules, both.GetRecord().GetEntries(), both.GetGrant().GetGrants())
	}
	return fmt.Errorf("no test proposes %v", command)
}

func (l *testLog) Verify(context.Context) error { return nil }

// create adds a study of one run.
func (l *testLog) create(name string, epochs uint32) {
	l.Helper()
	l.createAt(name, 4, epochs)
}

// createAt adds a study of one run with a latent dimension. Studies with different ones share no runs.
func (l *testLog) createAt(name string, latentDim, epochs uint32) {
	l.Helper()
	l.createFrom(&trellisv1.StudySpec{
		Name: name, Model: "synthetic",
		Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
			"latent_dim":    trellisv1.AxisOf(latentDim),
			"learning_rate": trellisv1.AxisOf[float64](1e-3),
			"max_epochs":    trellisv1.AxisOf(epochs),
		}}},
	})
}

// createFrom adds a study.
func (l *testLog) createFrom(spec *trellisv1.StudySpec) {
	l.Helper()
	_, err := l.ProposePatiently(l.ctx, &trellisv1.Command{Change: &trellisv1.Command_CreateStudy{
		CreateStudy: &trellisv1.CreateStudyCommand{Spec: grid.WithDefaults(spec)},
	}})
	if err != nil {
		l.Fatal(err)
	}
}

// worker is the worker's row, once everything under way is done.
func (l *testLog) worker(name string) *trellisv1.Worker {
	l.Helper()
	synctest.Wait()
	worker, err := l.store.Snapshot().Worker(nil, name)
	if err != nil {
		l.Fatal(err)
	}
	return worker
}

// leading runs a test in a term, under a fake clock.
func leading(t *testing.T, test func(*Leader, *testLog)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		store, err := results.New()
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		log := &testLog{T: t, ctx: ctx, store: store}
		l := New(Config{
			Numerics: "test", Lease: testLease, HangTimeout: time.Minute, Store: store, Log: log,
			Artifacts: artifact.NewKeeper(slog.New(slog.DiscardHandler)), Stopping: ctx, Logger: slog.New(slog.DiscardHandler),
		})
		log.wake = l.Notify
		stop := l.Begin(ctx)
		defer stop(ErrNotLeading)
		test(l, log)
	})
}

// testWorker is the worker's end of a session.
type testWorker struct {
	*testing.T
	grpc.ServerStream
	ctx    context.Context
	sent   chan *trellisv1.SessionRequest
	gotten chan *trellisv1.SessionResponse
	// messages counts what was sent to the worker: each may have several responses.
	messages atomic.Int64
	// ended is closed when the session has ended, for the reason why.
	ended chan struct{}
	why   error
}

var _ trellisv1.WorkerService_SessionServer = (*testWorker)(nil)

func hello(worker string) *trellisv1.Hello { return &trellisv1.Hello{Worker: worker, Slots: 1} }

// connect opens a session in the leader's term, which ends at the latest with the test.
func connect(log *testLog, l *Leader, hello *trellisv1.Hello) *testWorker {
	return open(log, func(w *testWorker) error { return l.Serve(hello, w) })
}

// connectAs is connect for a known caller.
func connectAs(log *testLog, l *Leader, hello *trellisv1.Hello, call access.Call) *testWorker {
	return openIn(access.WithCall(log.ctx, call), log, func(w *testWorker) error { return l.Serve(hello, w) })
}

// open opens the session that serve serves.
func open(log *testLog, serve func(*testWorker) error) *testWorker {
	return openIn(log.ctx, log, serve)
}

func openIn(ctx context.Context, log *testLog, serve func(*testWorker) error) *testWorker {
	w := &testWorker{
		T: log.T, sent: make(chan *trellisv1.SessionRequest), gotten: make(chan *trellisv1.SessionResponse, 100),
		ended: make(chan struct{}),
	}
	ctx, cancel := context.WithCancel(ctx)
	w.ctx = ctx
	go func() {
		defer close(w.ended)
		defer cancel()
		w.why = serve(w)
	}()
	synctest.Wait()
	return w
}

func (w *testWorker) Context() context.Context { return w.ctx }

func (w *testWorker) Recv() (*trellisv1.SessionRequest, error) {
	select {
	case request := <-w.sent:
		return request, nil
	case <-w.ctx.Done():
		return nil, w.ctx.Err()
	}
}

func (w *testWorker) Send(response *trellisv1.SessionResponse) error {
	w.messages.Add(1)
	for _, part := range response.Parts() {
		select {
		case w.gotten <- part:
		default:
			return errors.New("the worker has not read for long")
		}
	}
	return nil
}

func (w *testWorker) send(request *trellisv1.SessionRequest) {
	w.Helper()
	select {
	case w.sent <- request:
	case <-w.ended:
		w.Fatal("the session has ended")
	}
}

// assignment waits for the next assignment.
func (w *testWorker) assignment() *trellisv1.Assignment {
	w.Helper()
	for {
		select {
		case response := <-w.gotten:
			if assignment := response.GetAssignment(); assignment != nil {
				return assignment
			}
		case <-time.After(testLease):
			w.Fatal("no assignment has come")
		}
	}
}

// reportOf is the report of one epoch.
func reportOf(a *trellisv1.Assignment, epoch uint32) *trellisv1.Reports {
	return &trellisv1.Reports{
		Study: a.GetStudy(), Run: a.GetRun(), Attempt: a.GetAttempt(), FirstEpoch: epoch,
		TrainLoss: []float64{1}, ValidationLoss: []float64{1}, Seconds: []float64{1},
	}
}
