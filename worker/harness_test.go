package worker

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/types/known/durationpb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
	"trellis/worker/dial"
	"trellis/worker/supervisor"
)

func TestMain(m *testing.M) {
	if supervisor.Supervising() {
		os.Exit(supervisor.Main())
	}
	goleak.VerifyTestMain(m)
}

// What the coordinator of the tests tells its workers.
const (
	testHeartbeat = time.Hour // tests of something else see none
	testLease     = 30 * time.Second
)

// streamWindow is how many bytes of a stream are on their way at most, the least that gRPC takes a size for. A message that is
// being read may be larger, and as many bytes wait to be sent.
const streamWindow = 64 << 10

// harness is a worker and the network between it and a coordinator that the test plays. Everything runs in a synctest
// bubble: time passes when all goroutines wait.
type harness struct {
	*testing.T
	worker      *Worker
	coordinator *coordinator
	config      Config
	stop        context.CancelCauseFunc
	ended       chan struct{}
	// result gets what Run returns.
	result chan error
	logs   *syncBuffer

	// running and most count the runs in training.
	running, most atomic.Int32

	mu sync.Mutex
	// away makes the coordinator refuse connections.
	away  bool
	dials []time.Time
	conns []net.Conn
}

// inBubble runs a test with a worker. See another.
func inBubble(t *testing.T, configure func(*harness, *Config), test func(h *harness)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &harness{T: t, coordinator: newCoordinator(), result: make(chan error, 1), logs: &syncBuffer{}}
		config := Config{
			Coordinator: "coordinator:7070",
			Credentials: dial.Credentials{Insecure: true},
			Name:        "host",
			Slots:       2,
			CacheDir:    t.TempDir(),
			Version:     "1.2.3",
			Logger:      slog.New(slog.NewTextHandler(h.logs, nil)),
			DialOptions: []grpc.DialOption{grpc.WithContextDialer(h.dial)},
			train:       trainer.Train,
		}
		if configure != nil {
			configure(h, &config)
		}
		train := config.train
		config.train = func(
			ctx context.Context, c trainer.Config, report func(trainer.Report) error,
		) (trainer.Result, error) {
			running := h.running.Add(1)
			defer h.running.Add(-1)
			for most := h.most.Load(); running > most && !h.most.CompareAndSwap(most, running); most = h.most.Load() {
			}
			return train(ctx, c, report)
		}
		// A window of a fixed size: gRPC would make it larger the faster the messages come, so that how many a stream holds which
		// nobody reads would depend on the machine's load.
		server := grpc.NewServer(grpc.InitialWindowSize(streamWindow), grpc.InitialConnWindowSize(2*streamWindow),
			grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second}))
		trellisv1.RegisterWorkerServiceServer(server, h.coordinator)
		trellisv1.RegisterDataSetServiceServer(server, h.coordinator)
		trellisv1.RegisterArtifactServiceServer(server, h.coordinator.artifacts)
		served := make(chan struct{})
		go func() {
			defer close(served)
			server.Serve(h.coordinator.listener)
		}()
		h.config = config
		h.another()
		defer func() {
			h.kill()
			server.Stop()
			<-served
			if n := h.running.Load(); n != 0 {
				t.Errorf("%d runs go on after Run has returned", n)
			}
			if most := int(h.most.Load()); most > config.Slots {
				t.Errorf("%d runs at once in %d slots", most, config.Slots)
			}
		}()
		test(h)
	})
}

// another starts a worker: the first one, or one in the place of another that has been killed.
func (h *harness) another() {
	h.Helper()
	var err error
	if h.worker, err = New(h.config); err != nil {
		h.Fatal(err)
	}
	ctx, stop := context.WithCancelCause(context.Background())
	ended := make(chan struct{})
	h.stop, h.ended = stop, ended
	worker := h.worker
	go func() {
		defer close(ended)
		h.result <- worker.Run(ctx)
	}()
}

// kill ends the worker without a word to the coordinator.
func (h *harness) kill() {
	h.stop(nil)
	<-h.ended
	select {
	case <-h.result:
	default:
	}
}

func (h *harness) dial(ctx context.Context, _ string) (net.Conn, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dials = append(h.dials, time.Now())
	if h.away {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	conn, err := h.coordinator.listener.DialContext(ctx)
	if err == nil {
		h.conns = append(h.conns, conn)
	}
	return conn, err
}

// leave breaks all connections and refuses new ones; comeBack takes them again.
func (h *harness) leave() {
	h.mu.Lock()
	h.away = true
	conns := h.conns
	h.conns = nil
	h.mu.Unlock()
	for _, conn := range conns {
		conn.Close()
	}
	synctest.Wait()
}

func (h *harness) comeBack() {
	h.mu.Lock()
	h.away = false
	h.mu.Unlock()
}

// dialTimes are how long after the first dial the others came.
func (h *harness) dialTimes() []time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	var times []time.Duration
	for _, dial := range h.dials {
		times = append(times, dial.Sub(h.dials[0]))
	}
	return times
}

// session waits for the worker to open one.
func (h *harness) session() *peer {
	h.Helper()
	select {
	case p := <-h.coordinator.sessions:
		p.T = h.T
		return p
	case err := <-h.result:
		h.Fatalf("no session: Run has returned %v", err)
	case <-time.After(time.Minute):
		h.Fatalf("no session within a minute; log:\n%s", h.logs)
	}
	return nil
}

// connect waits for a session and welcomes the worker.
func (h *harness) connect(attempts ...uint64) *peer {
	h.Helper()
	p := h.session()
	p.welcome(attempts...)
	return p
}

// returned waits for Run to return.
func (h *harness) returned() error {
	h.Helper()
	select {
	case err := <-h.result:
		return err
	case <-time.After(time.Hour):
		h.Fatalf("Run has not returned within an hour; log:\n%s", h.logs)
		return nil
	}
}

// synthetic is an assignment that takes a second per epoch.
func synthetic(attempt uint64, run string, epochs int) *trellisv1.Assignment {
	return &trellisv1.Assignment{
		Study:   "study",
		Run:     run,
		Attempt: attempt,
		Config: &trellisv1.RunConfig{
			Model:      trainer.Synthetic,
			Parameters: &trellisv1.Parameters{MaxEpochs: uint32(epochs), Seed: 1, Values: trellisv1.ValuesOf(map[string]any{"latent_dim": 16, "learning_rate": 1e-3, "weight_decay": 1e-5, "batch_size": 256})},
			Synthetic:  &trellisv1.Synthetic{EpochTime: durationpb.New(time.Second)},
			Numerics:   trainer.NumericsVersion,
			Milestones: []uint32{uint32(epochs)},
		},
	}
}

// syncBuffer is a buffer that may be read while it is written.
type syncBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// count is how often the log says something.
func (h *harness) count(message string) int {
	return bytes.Count([]byte(h.logs.String()), []byte(fmt.Sprintf("msg=%q", message)))
}
