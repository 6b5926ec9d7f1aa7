package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/durationpb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// What the coordinator of the tests tells its workers.
const (
	testHeartbeat = time.Hour // tests of something else see none
	testLease     = 30 * time.Second
)

// harness is a worker and the network between it and a coordinator that the test plays. Everything runs in a synctest
// bubble: time passes when all goroutines wait.
type harness struct {
	*testing.T
	worker      *Worker
	coordinator *coordinator
	stop        context.CancelCauseFunc
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

// inBubble runs a test with a worker.
func inBubble(t *testing.T, configure func(*harness, *Config), test func(h *harness)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &harness{T: t, coordinator: newCoordinator(), result: make(chan error, 1), logs: &syncBuffer{}}
		config := Config{
			Coordinator: "coordinator:7070",
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
		var err error
		if h.worker, err = New(config); err != nil {
			t.Fatal(err)
		}
		server := grpc.NewServer(grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second}))
		trellisv1.RegisterWorkerServiceServer(server, h.coordinator)
		trellisv1.RegisterDataSetServiceServer(server, h.coordinator)
		served := make(chan struct{})
		go func() {
			defer close(served)
			server.Serve(h.coordinator.listener)
		}()
		ctx, stop := context.WithCancelCause(context.Background())
		h.stop = stop
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			h.result <- h.worker.Run(ctx)
		}()
		defer func() {
			stop(nil)
			<-ended
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

// coordinator is the services' other end. It leaves sessions to the test.
type coordinator struct {
	trellisv1.UnimplementedWorkerServiceServer
	trellisv1.UnimplementedDataSetServiceServer
	listener *bufconn.Listener
	sessions chan *peer

	// refuse makes sessions fail at once, and refused counts them.
	refuse  atomic.Bool
	refused atomic.Int32
	// dataSet answers GetDataSet, and download DownloadDataFile.
	dataSet  func(digest string) (*trellisv1.DataSet, error)
	download func(sha256 string, stream trellisv1.DataSetService_DownloadDataFileServer) error
}

func newCoordinator() *coordinator {
	return &coordinator{listener: bufconn.Listen(1 << 16), sessions: make(chan *peer, 100)}
}

func (c *coordinator) Session(stream trellisv1.WorkerService_SessionServer) error {
	if c.refuse.Load() {
		c.refused.Add(1)
		return status.Error(codes.Unavailable, "not the leader")
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	p := &peer{
		hello:    first.GetHello(),
		stream:   stream,
		requests: make(chan *trellisv1.SessionRequest),
		end:      make(chan error, 1),
	}
	c.sessions <- p
	received := make(chan error, 1)
	go func() { received <- p.receive() }()
	select {
	case err := <-p.end:
		return err
	case err := <-received:
		return err
	}
}

func (c *coordinator) GetDataSet(
	_ context.Context, request *trellisv1.GetDataSetRequest,
) (*trellisv1.GetDataSetResponse, error) {
	dataSet, err := c.dataSet(request.GetDigest())
	return &trellisv1.GetDataSetResponse{DataSet: dataSet}, err
}

func (c *coordinator) DownloadDataFile(
	request *trellisv1.DownloadDataFileRequest, stream trellisv1.DataSetService_DownloadDataFileServer,
) error {
	return c.download(request.GetSha256(), stream)
}

// peer is the coordinator's end of one session.
type peer struct {
	*testing.T
	hello    *trellisv1.Hello
	stream   trellisv1.WorkerService_SessionServer
	requests chan *trellisv1.SessionRequest
	// end makes the session end with an error.
	end chan error
}

// receive passes on the requests one by one: what the test does not take holds up the stream.
func (p *peer) receive() error {
	for {
		request, err := p.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case p.requests <- request:
		case <-p.stream.Context().Done():
			return p.stream.Context().Err()
		}
	}
}

func (p *peer) send(response *trellisv1.SessionResponse) {
	p.Helper()
	if err := p.stream.Send(response); err != nil {
		p.Fatalf("send %v: %v", response, err)
	}
}

func (p *peer) welcome(attempts ...uint64) {
	p.Helper()
	p.welcomeAs(&trellisv1.Welcome{
		HeartbeatMilliseconds: uint32(testHeartbeat.Milliseconds()),
		LeaseMilliseconds:     uint32(testLease.Milliseconds()),
		Attempts:              attempts,
	})
}

func (p *peer) welcomeAs(welcome *trellisv1.Welcome) {
	p.Helper()
	p.send(&trellisv1.SessionResponse{Message: &trellisv1.SessionResponse_Welcome{Welcome: welcome}})
}

func (p *peer) assign(assignment *trellisv1.Assignment) {
	p.Helper()
	p.send(&trellisv1.SessionResponse{Message: &trellisv1.SessionResponse_Assignment{Assignment: assignment}})
}

func (p *peer) stop(attempt uint64) {
	p.Helper()
	stop := &trellisv1.Stop{Attempt: attempt, Reason: "paused"}
	p.send(&trellisv1.SessionResponse{Message: &trellisv1.SessionResponse_Stop{Stop: stop}})
}

func (p *peer) acknowledge(attempt uint64, epoch int) {
	p.Helper()
	p.send(&trellisv1.SessionResponse{Message: &trellisv1.SessionResponse_Acknowledgement{
		Acknowledgement: &trellisv1.Acknowledgement{Attempt: attempt, Epoch: uint32(epoch)},
	}})
}

func (p *peer) acknowledgeOutcome(attempt uint64) {
	p.Helper()
	p.send(&trellisv1.SessionResponse{Message: &trellisv1.SessionResponse_Acknowledgement{
		Acknowledgement: &trellisv1.Acknowledgement{Attempt: attempt, Outcome: true},
	}})
}

// next waits for a request.
func (p *peer) next() *trellisv1.SessionRequest {
	p.Helper()
	select {
	case request := <-p.requests:
		return request
	case <-time.After(2 * testHeartbeat):
		p.Fatal("no request")
		return nil
	}
}

// reports waits for so many reports of one attempt, which come in the order of their epochs and start at one.
func (p *peer) reports(attempt uint64, from, to int) []*trellisv1.Report {
	p.Helper()
	var reports []*trellisv1.Report
	for from+len(reports) <= to {
		request := p.next()
		batch := request.GetReports().GetReports()
		if len(batch) == 0 {
			p.Fatalf("got %v, want the report of epoch %d", request, from+len(reports))
		}
		for _, report := range batch {
			if want := from + len(reports); report.GetAttempt() != attempt || report.GetEpoch() != uint32(want) {
				p.Fatalf("got report %v, want epoch %d of attempt %d", report, want, attempt)
			}
			reports = append(reports, report)
		}
	}
	if got := from + len(reports) - 1; got > to {
		p.Fatalf("got reports up to epoch %d, want %d", got, to)
	}
	return reports
}

// outcome waits for that of an attempt.
func (p *peer) outcome(attempt uint64) *trellisv1.Outcome {
	p.Helper()
	request := p.next()
	if got := request.GetOutcome(); got == nil || got.GetAttempt() != attempt {
		p.Fatalf("got %v, want the outcome of attempt %d", request, attempt)
	}
	return request.GetOutcome()
}

// quiet says that the worker sends nothing for a while.
func (p *peer) quiet(d time.Duration) {
	p.Helper()
	select {
	case request := <-p.requests:
		p.Fatalf("got %v, want nothing", request)
	case <-time.After(d):
	}
}

// synthetic is an assignment that takes a second per epoch.
func synthetic(attempt uint64, run string, epochs int) *trellisv1.Assignment {
	return &trellisv1.Assignment{
		Study:   "study",
		Run:     run,
		Attempt: attempt,
		Config: &trellisv1.RunConfig{
			Model: trainer.Synthetic,
			Parameters: &trellisv1.Parameters{
				LatentDim: 16, LearningRate: 1e-3, WeightDecay: 1e-5, MaxEpochs: uint32(epochs), Seed: 1, BatchSize: 256,
			},
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
