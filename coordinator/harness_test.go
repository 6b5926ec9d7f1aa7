package coordinator

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testNumerics = "test"

// testModels are the models of all tests. The last one has axes of its own.
var testModels = grid.Models{
	{Name: "synthetic", Summary: "closed-form loss curve", Axes: commonAxes},
	{Name: "conv-autoencoder", Data: true, Axes: commonAxes},
	{Name: "denoising-autoencoder", Data: true, Axes: append(slices.Clip(commonAxes),
		&trellisv1.ModelAxis{Name: "noise", Maximum: 10, ExclusiveMinimum: true, Kind: trellisv1.Kind_KIND_NUMBER},
		&trellisv1.ModelAxis{
			Name: "depth", Minimum: 1, Maximum: 8, Default: trellisv1.IntegerValue(2), Kind: trellisv1.Kind_KIND_INTEGER,
		},
	)},
}

// commonAxes are those of all testModels.
var commonAxes = []*trellisv1.ModelAxis{
	{Name: "latent_dim", Kind: trellisv1.Kind_KIND_INTEGER, Minimum: 1, Maximum: 784, Common: true},
	{Name: "learning_rate", Kind: trellisv1.Kind_KIND_NUMBER, Maximum: 1000, ExclusiveMinimum: true, Common: true},
	{
		Name: "weight_decay", Kind: trellisv1.Kind_KIND_NUMBER, Maximum: 1000, Default: trellisv1.NumberValue(0), Common: true,
	},
	{
		Name: "batch_size", Kind: trellisv1.Kind_KIND_INTEGER, Minimum: 1, Maximum: 65_536,
		Default: trellisv1.IntegerValue(256), Common: true,
	},
}

// harness is a coordinator that serves on memory pipes, with clients to all its services.
type harness struct {
	*testing.T
	*Coordinator
	conn     *grpc.ClientConn
	studies  trellisv1.StudyServiceClient
	trials   trellisv1.TrialServiceClient
	dataSets trellisv1.DataSetServiceClient
	workers  trellisv1.WorkerServiceClient
	served   trellisv1.ArtifactServiceClient
	ctx      context.Context
	stop     func()
	// log is the coordinator's.
	log *hookedLog
	// missing is what is missing of the data set "tiny".
	missing *atomic.Pointer[trellisv1.WaitingFor]
	// damage is what is found missing once a file is opened.
	damage *atomic.Pointer[trellisv1.WaitingFor]
	// disconnects end the sessions of the test's workers.
	disconnects []context.CancelFunc
}

// hookedLog calls what a test has set at what happens to it.
type hookedLog struct {
	Log
	mu                 sync.Mutex
	proposing, applied func(*trellisv1.Command)
	// refusing returns the error that a command is refused with, nil if it is not.
	refusing  func(*trellisv1.Command) error
	verifying func()
	// unverified is what leadership can't be verified for.
	unverified error
	// leading says who leads, in place of the log.
	leading func() (leader string, known bool)
}

func (l *hookedLog) hook(set func(*hookedLog)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	set(l)
}

func (l *hookedLog) hooks() (proposing, applied func(*trellisv1.Command), verifying func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.proposing, l.applied, l.verifying
}

func (l *hookedLog) Propose(ctx context.Context, data []byte) (uint64, any, error) {
	command := &trellisv1.Command{}
	if err := proto.Unmarshal(data, command); err != nil {
		return 0, nil, err
	}
	proposing, applied, _ := l.hooks()
	if proposing != nil {
		proposing(command)
	}
	l.mu.Lock()
	refusing := l.refusing
	l.mu.Unlock()
	if refusing != nil {
		if err := refusing(command); err != nil {
			return 0, nil, err
		}
	}
	index, answer, err := l.Log.Propose(ctx, data)
	if applied != nil {
		applied(command)
	}
	return index, answer, err
}

func (l *hookedLog) Verify(ctx context.Context) error {
	if _, _, verifying := l.hooks(); verifying != nil {
		verifying()
	}
	l.mu.Lock()
	unverified := l.unverified
	l.mu.Unlock()
	if unverified != nil {
		return unverified
	}
	return l.Log.Verify(ctx)
}

func (l *hookedLog) Leader() (leader string, known bool) {
	l.mu.Lock()
	leading := l.leading
	l.mu.Unlock()
	if leading != nil {
		return leading()
	}
	return l.Log.Leader()
}

// serve runs the test with a coordinator under a fake clock.
func serve(t *testing.T, config Config, test func(*harness)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		config.Numerics = testNumerics
		if config.Models == nil {
			config.Models = testModels
		}
		listener := bufconn.Listen(1 << 20)
		log := &hookedLog{}
		config.hooks.log = func(wrapped Log) Log {
			log.Log = wrapped
			return log
		}
		missing, damage := new(atomic.Pointer[trellisv1.WaitingFor]), new(atomic.Pointer[trellisv1.WaitingFor])
		coordinator, err := New(config, listener, memoryDataSets{missing, damage})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		served := make(chan error, 1)
		go func() { served <- coordinator.Serve(ctx) }()
		conn, err := grpc.NewClient("passthrough:coordinator",
			grpc.WithContextDialer(func(ctx context.Context,
				_ string,
			) (net.Conn, error) {
				return listener.DialContext(ctx)
			}),
			grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		stopped := false
		stop := func() {
			if stopped {
				return
			}
			stopped = true
			cancel()
			if err := <-served; err != nil {
				t.Errorf("serve: %v", err)
			}
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		}
		// Clients outlive the coordinator, so that they see how it ends.
		client, endClient := context.WithCancel(context.Background())
		h := &harness{
			T: t, Coordinator: coordinator, conn: conn, log: log, ctx: client, stop: stop, missing: missing, damage: damage,
			studies:  trellisv1.NewStudyServiceClient(conn),
			trials:   trellisv1.NewTrialServiceClient(conn),
			dataSets: trellisv1.NewDataSetServiceClient(conn),
			workers:  newPartsClient(conn),
			served:   trellisv1.NewArtifactServiceClient(conn),
		}
		defer func() {
			for _, disconnect := range h.disconnects {
				disconnect()
			}
			stop()
			endClient()
		}()
		test(h)
	})
}

// Context ends with the test, inside its bubble, which testing's does not if the test fails.
func (h *harness) Context() context.Context { return h.ctx }

// create submits a study and returns it.
func (h *harness) create(spec *trellisv1.StudySpec) *trellisv1.Study {
	h.Helper()
	response, err := h.studies.CreateStudy(h.Context(), &trellisv1.CreateStudyRequest{Spec: spec})
	if err != nil {
		h.Fatalf("create study %s: %v", spec.GetName(), err)
	}
	return response.GetStudy()
}

// study returns the study as it is once everything under way is done.
func (h *harness) study(name string) *trellisv1.Study {
	h.Helper()
	synctest.Wait()
	response, err := h.studies.GetStudy(h.Context(), &trellisv1.GetStudyRequest{Study: name})
	if err != nil {
		h.Fatalf("get study %s: %v", name, err)
	}
	return response.GetStudy()
}

// worker returns the named worker's row.
func (h *harness) worker(name string) *trellisv1.Worker {
	h.Helper()
	synctest.Wait()
	response, err := h.workers.ListWorkers(h.Context(), &trellisv1.ListWorkersRequest{})
	if err != nil {
		h.Fatal(err)
	}
	for _, worker := range response.GetWorkers() {
		if worker.GetName() == name {
			return worker
		}
	}
	h.Fatalf("worker %s is not listed", name)
	return nil
}

// syntheticSpec is a grid over latent dimensions and maximum epochs, of the model that needs no data.
func syntheticSpec(name string, latent, epochs []uint32) *trellisv1.StudySpec {
	return &trellisv1.StudySpec{
		Name: name, Model: "synthetic",
		Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
			"latent_dim":    trellisv1.AxisOf[uint32](latent...),
			"learning_rate": trellisv1.AxisOf[float64](1e-3),
			"max_epochs":    trellisv1.AxisOf[uint32](epochs...),
		}}},
	}
}

// fakeWorker speaks the session protocol as a test tells it to.
type fakeWorker struct {
	*harness
	name    string
	stream  grpc.BidiStreamingClient[trellisv1.SessionRequest, trellisv1.SessionResponse]
	welcome *trellisv1.Welcome
	silence func()
	// early is what came before it was asked for.
	early []*trellisv1.SessionResponse
	// sending is held while a message is sent.
	sending sync.Mutex
}

// connect opens a session. The worker sends heartbeats until it is silenced or its stream is broken.
func (h *harness) connect(name string, slots uint32, attempts ...uint64) *fakeWorker {
	h.Helper()
	w, err := h.hello(helloFrom(name, slots, attempts...))
	if err != nil {
		h.Fatalf("connect worker %s: %v", name, err)
	}
	return w
}

// helloFrom is the first message of a worker that this coordinator can work with.
func helloFrom(name string, slots uint32, attempts ...uint64) *trellisv1.Hello {
	return &trellisv1.Hello{
		Protocol: trellisv1.SessionProtocol, Numerics: testNumerics, Worker: name, Slots: slots, Attempts: attempts,
		Key: keyOf(name),
	}
}

// keyOf is the key of a test's worker.
func keyOf(name string) []byte {
	key := sha256.Sum256([]byte(name))
	return key[:]
}

// hello opens a session with the given message and waits for the welcome.
func (h *harness) hello(hello *trellisv1.Hello) (*fakeWorker, error) {
	h.Helper()
	ctx, cancel := context.WithCancel(h.Context())
	h.disconnects = append(h.disconnects, cancel)
	stream, err := h.workers.Session(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	message := &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Hello{Hello: hello}}
	if err := stream.Send(message); err != nil {
		cancel()
		return nil, err
	}
	first, err := stream.Recv()
	if err != nil {
		cancel()
		return nil, err
	}
	w := &fakeWorker{harness: h, name: hello.GetWorker(), stream: stream, welcome: first.GetWelcome()}
	beating, silence := context.WithCancel(ctx)
	w.silence = silence
	interval := time.Duration(w.welcome.GetHeartbeatMilliseconds()) * time.Millisecond
	go func() {
		number := uint64(1)
		for {
			select {
			case <-beating.Done():
				return
			case <-time.After(interval):
				// A stream takes one message at a time. Who is sending another says as well that the worker lives.
				if w.sending.TryLock() {
					_ = stream.Send(&trellisv1.SessionRequest{
						Message: &trellisv1.SessionRequest_Heartbeat{Heartbeat: &trellisv1.Heartbeat{Number: number}},
					})
					number++
					w.sending.Unlock()
				}
			}
		}
	}()
	return w, nil
}

// assignment receives the next message, which must be an assignment.
func (w *fakeWorker) assignment() *trellisv1.Assignment {
	w.Helper()
	assignment := w.next().GetAssignment()
	if assignment == nil {
		w.Fatalf("worker %s expected an assignment", w.name)
	}
	return assignment
}

// next receives the next message.
func (w *fakeWorker) next() *trellisv1.SessionResponse {
	w.Helper()
	if len(w.early) > 0 {
		message := w.early[0]
		w.early = w.early[1:]
		return message
	}
	for {
		message, err := w.stream.Recv()
		if err != nil {
			w.Fatalf("worker %s receives: %v", w.name, err)
		}
		if message.GetRenewal() == nil {
			return message
		}
	}
}

// send sends one message.
func (w *fakeWorker) send(message *trellisv1.SessionRequest) {
	w.Helper()
	w.sending.Lock()
	defer w.sending.Unlock()
	if err := w.stream.Send(message); err != nil {
		w.Fatalf("worker %s sends: %v", w.name, err)
	}
}

// lossAt is the validation loss that fake workers report.
func lossAt(parameters *trellisv1.Parameters, epoch uint32) float64 {
	return float64(parameters.Numeric("latent_dim")) + 1/float64(epoch)
}

// report sends the report of one epoch.
func (w *fakeWorker) report(a *trellisv1.Assignment, epoch uint32) {
	w.Helper()
	w.reportLoss(a, epoch, lossAt(a.GetConfig().GetParameters(), epoch))
}

func (w *fakeWorker) reportLoss(a *trellisv1.Assignment, epoch uint32, loss float64) {
	w.Helper()
	w.send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Reports{
		Reports: &trellisv1.ReportBatch{Reports: []*trellisv1.Reports{reportsOf(a, epoch, loss)}},
	}})
}

// reportsOf are reports of consecutive epochs from the given one on, of which each has one of the losses.
func reportsOf(a *trellisv1.Assignment, firstEpoch uint32, losses ...float64) *trellisv1.Reports {
	return &trellisv1.Reports{
		Study: a.GetStudy(), Run: a.GetRun(), Attempt: a.GetAttempt(), FirstEpoch: firstEpoch,
		TrainLoss: losses, ValidationLoss: losses, Seconds: make([]float64, len(losses)),
	}
}

// succeed sends the outcome of a run that ended after `epochs`.
func (w *fakeWorker) succeed(a *trellisv1.Assignment, epochs uint32) {
	w.Helper()
	w.outcome(&trellisv1.Outcome{
		Study: a.GetStudy(), Run: a.GetRun(), Attempt: a.GetAttempt(),
		Result: &trellisv1.Outcome_Success_{
			Success: &trellisv1.Outcome_Success{
				StopReason: trellisv1.StopReason_STOP_REASON_MAX_EPOCHS, Epochs: epochs,
			},
		},
	})
}

func (w *fakeWorker) outcome(outcome *trellisv1.Outcome) {
	w.Helper()
	w.send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Outcome{Outcome: outcome}})
}

// train reports a whole run and its success, and waits until the success is acknowledged.
func (w *fakeWorker) train(a *trellisv1.Assignment) {
	w.Helper()
	epochs := a.GetConfig().GetParameters().GetMaxEpochs()
	for epoch := uint32(1); epoch <= epochs; epoch++ {
		w.report(a, epoch)
	}
	w.succeed(a, epochs)
	w.acknowledged(a.GetAttempt(), epochs, true)
}

// acknowledged receives until the attempt is acknowledged that far. Assignments that come in between are kept for next.
func (w *fakeWorker) acknowledged(attempt uint64, epoch uint32, outcome bool) {
	w.Helper()
	var early []*trellisv1.SessionResponse
	for {
		message := w.next()
		if message.GetAssignment() != nil {
			early = append(early, message)
			continue
		}
		ack := message.GetAcknowledgement()
		if ack == nil {
			w.Fatalf("worker %s expected an acknowledgement, got %v", w.name, message)
		}
		if ack.GetAttempt() == attempt && (ack.GetOutcome() || !outcome && ack.GetEpoch() >= epoch) {
			w.early = append(w.early, early...)
			return
		}
	}
}

// memoryDataSets has one small data set, "tiny", unless it is missing.
type memoryDataSets struct {
	missing *atomic.Pointer[trellisv1.WaitingFor]
	// damage is missing from the moment that a file is opened, which fails.
	damage *atomic.Pointer[trellisv1.WaitingFor]
}

var tinyFile = bytes.Repeat([]byte("pixels"), 300_000)

const (
	tinyDigest = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	tinySHA256 = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

func (memoryDataSets) Find(_ context.Context, name string) (*trellisv1.DataSet, error) {
	if name != "tiny" {
		return nil, errors.New("unknown data set " + name + ": there is tiny")
	}
	return &trellisv1.DataSet{
		Name: "tiny", Digest: tinyDigest, Height: 28, Width: 28, TrainImages: 600, TestImages: 100,
		Files: []*trellisv1.DataFile{{
			Name: "train-images-idx3-ubyte", Sha256: tinySHA256,
			Size: uint64(len(tinyFile)),
		}},
	}, nil
}

func (d memoryDataSets) FindDigest(
	ctx context.Context, digest, name string,
) (*trellisv1.DataSet, *trellisv1.WaitingFor) {
	if d.missing != nil && d.missing.Load() != nil {
		return nil, d.missing.Load()
	}
	found, err := d.Find(ctx, name)
	switch {
	case err != nil:
		return nil, &trellisv1.WaitingFor{
			Reason: trellisv1.WaitingReason_WAITING_REASON_DATA_MISSING, Message: err.Error(),
		}
	case found.GetDigest() != digest:
		return nil, &trellisv1.WaitingFor{
			Reason: trellisv1.WaitingReason_WAITING_REASON_DATA_CHANGED, Found: found.GetDigest(),
		}
	}
	return found, nil
}

func (d memoryDataSets) Open(_ context.Context, digest, sha256 string) (io.ReadCloser, error) {
	if d.damage != nil && d.damage.Load() != nil {
		d.missing.Store(d.damage.Load())
		return nil, errors.New("it has another content")
	}
	if digest != tinyDigest || sha256 != tinySHA256 {
		return nil, errors.New("no such file")
	}
	return io.NopCloser(bytes.NewReader(tinyFile)), nil
}

func wantCode(t *testing.T, err error, code codes.Code, text string) {
	t.Helper()
	if status.Code(err) != code || !strings.Contains(status.Convert(err).Message(), text) {
		t.Errorf("error %v, want %v with %q", err, code, text)
	}
}

// skipShort leaves a test to make test: make race runs with -short, and would find nothing in a test of how many
// bytes are held.
func skipShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("is about quantities")
	}
}
