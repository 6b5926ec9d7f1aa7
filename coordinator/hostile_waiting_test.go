package coordinator

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// waitingWorker is a session that reports while the log is blocked.
type waitingWorker struct {
	stream     grpc.BidiStreamingClient[trellisv1.SessionRequest, trellisv1.SessionResponse]
	assignment *trellisv1.Assignment
	// acknowledged is closed when epoch 2 is, and ended has why the session has ended.
	acknowledged chan struct{}
	ended        chan error
	heldUp       sync.Once
	// sending is held by whoever sends.
	sending sync.Mutex
}

func (w *waitingWorker) send(request *trellisv1.SessionRequest) error {
	w.sending.Lock()
	defer w.sending.Unlock()
	return w.stream.Send(request)
}

// waitingWorkers connects workers, each of which has a run. Ten share a host.
func waitingWorkers(t *testing.T, target *target, n int) []*waitingWorker {
	t.Helper()
	_, err := target.client("127.0.0.9").studies.CreateStudy(t.Context(), &trellisv1.CreateStudyRequest{
		Spec: syntheticSpec("waiting", ramp(uint32(n)), []uint32{2}),
	})
	if err != nil {
		t.Fatal(err)
	}
	workers := make([]*waitingWorker, n)
	for i := range workers {
		stream, err := target.client(fmt.Sprintf("127.0.2.%d", 1+i/10)).workers.Session(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		hello := &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Hello{Hello: &trellisv1.Hello{
			Protocol: trellisv1.SessionProtocol, Numerics: testNumerics, Worker: fmt.Sprint("waiting-", i), Slots: 1,
			Key: make([]byte, 16),
		}}}
		if err := stream.Send(hello); err != nil {
			t.Fatal(err)
		}
		workers[i] = &waitingWorker{stream: stream, acknowledged: make(chan struct{}), ended: make(chan error, 1)}
		go workers[i].beat()
	}
	for i, w := range workers {
		for w.assignment == nil {
			response, err := w.stream.Recv()
			if err != nil {
				t.Fatalf("worker %d: %v", i, err)
			}
			w.assignment = response.GetAssignment()
		}
	}
	return workers
}

// follow receives until the session ends. heldUp is called when the coordinator first says that it does not read.
func (w *waitingWorker) follow(heldUp func()) {
	for {
		response, err := w.stream.Recv()
		if err != nil {
			w.ended <- err
			return
		}
		if response.GetRenewal().GetHeldUp() {
			w.heldUp.Do(heldUp)
		}
		if ack := response.GetAcknowledgement(); ack.GetEpoch() == 2 {
			close(w.acknowledged)
		}
	}
}

// beat sends heartbeats until the session ends, unless something else is being sent.
func (w *waitingWorker) beat() {
	beat := &trellisv1.SessionRequest_Heartbeat{Heartbeat: &trellisv1.Heartbeat{}}
	for range time.Tick(200 * time.Millisecond) {
		if !w.sending.TryLock() {
			continue
		}
		err := w.stream.Send(&trellisv1.SessionRequest{Message: beat})
		w.sending.Unlock()
		if err != nil {
			return
		}
	}
}

// request returns the report of an epoch.
func (w *waitingWorker) request(epoch uint32) *trellisv1.SessionRequest {
	return &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Reports{Reports: &trellisv1.ReportBatch{
		Reports: []*trellisv1.Reports{reportsOf(w.assignment, epoch, 1/float64(epoch))},
	}}}
}

// padded returns a request with another report behind it, of a study that is gone: only the log finds out that it is.
// It takes much more memory than bytes.
func (w *waitingWorker) padded(epoch uint32, padding int) *trellisv1.SessionRequest {
	request := w.request(epoch)
	gone := reportsOf(w.assignment, 1, 1)
	gone.Study, gone.TestMetrics = "gone", map[uint32]*trellisv1.Metrics{}
	for i := range padding {
		gone.TestMetrics[uint32(i)+1] = &trellisv1.Metrics{}
	}
	batch := request.GetReports()
	batch.Reports = append(batch.Reports, gone)
	return request
}

// While the log is blocked, sessions hold no more than their limit in all, however many there are. They keep their
// leases, and all that they have sent is acknowledged when the log goes on.
func TestWhatSessionsHoldWhileTheLogIsBlockedIsBounded(t *testing.T) {
	if memoryFactor > 1 {
		t.Skip("TestSessionsThatHoldTheMostEnd blocks the log too, and this is of how many bytes are held")
	}
	const sessions, padding = 150, 5000
	limits := Limits{QueueBytes: 8 << 20, WaitingBytes: 16 << 20}
	target := newTarget(t, hostileConfig{Lease: 3 * time.Second, Limits: limits})
	workers := waitingWorkers(t, target, sessions)
	before, peak := target.heap(), target.status("VmHWM")
	target.ask("block")
	size := 0
	var held atomic.Int32
	var sent sync.WaitGroup
	for _, w := range workers {
		large, small := w.padded(1, padding), w.request(2)
		size = proto.Size(large)
		go w.follow(func() { held.Add(1) })
		sent.Go(func() {
			for _, request := range []*trellisv1.SessionRequest{large, small} {
				if err := w.send(request); err != nil {
					t.Errorf("a worker can't send: %v", err)
				}
			}
		})
	}
	sent.Wait()
	time.Sleep(4 * time.Second) // More than the lease and its grace.
	// The first few had room in the queue.
	target.eventually("half of the sessions are held up", func() bool { return held.Load() >= sessions/2 })
	grown := (target.heap() - before) >> 10
	target.ask("release")
	began := time.Now()
	for i, w := range workers {
		select {
		case <-w.acknowledged:
		case err := <-w.ended:
			t.Fatalf("session %d has ended: %v", i, err)
		case <-time.After(5 * time.Minute):
			t.Fatalf("session %d: not all was acknowledged", i)
		}
	}
	study, err := target.client("127.0.0.9").studies.GetStudy(t.Context(), &trellisv1.GetStudyRequest{Study: "waiting"})
	if err != nil || study.GetStudy().GetProgress().GetEpochs() != 2*sessions {
		t.Errorf("%d epochs were recorded, want %d: %v", study.GetStudy().GetProgress().GetEpochs(), 2*sessions, err)
	}
	t.Logf("%d sessions with %d kB each: the heap grew by %d MB, and by %d MB at its peak; all was recorded within %v",
		sessions, size>>10, grown, (target.status("VmHWM")-peak)>>10, time.Since(began).Round(time.Millisecond))
	// What waits for the log, what sessions hold beside that, and what gRPC holds of each.
	if most := int(limits.QueueBytes+limits.WaitingBytes+sessions*streamWindow) >> 20; grown > most {
		t.Errorf("the heap grew by %d MB, at most %d MB may be held", grown, most)
	}
}

// Above the limit in all, the sessions that hold the most end, and learn which limit it was. Another worker waits.
func TestSessionsThatHoldTheMostEnd(t *testing.T) {
	const sessions = 40
	target := newTarget(t, hostileConfig{
		Limits: Limits{QueueBytes: 1 << 20, QueueBytesEach: 1 << 19, WaitingBytes: 8 << 20},
	})
	workers := waitingWorkers(t, target, sessions)
	target.ask("block")
	honest := workers[0]
	for i, w := range workers {
		go w.follow(func() {})
		request := w.request(1)
		if w != honest {
			request.GetReports().Reports[0].Study = strings.Repeat("x", 250<<10)
		}
		if err := w.send(request); err != nil {
			t.Fatalf("session %d: %v", i, err)
		}
	}
	refused := 0
	target.eventually("those that hold too much are ended", func() bool {
		for _, w := range workers[1:] {
			select {
			case err := <-w.ended:
				refused++
				if status.Code(err) != codes.ResourceExhausted ||
					!strings.Contains(err.Error(), "limit waiting-bytes") {
					t.Errorf("a session has ended with %v", err)
				}
			default:
			}
		}
		return refused > sessions/4
	})
	target.ask("release")
	if err := honest.send(honest.request(2)); err != nil {
		t.Errorf("the honest worker's session: %v", err)
	}
	select {
	case <-honest.acknowledged:
	case err := <-honest.ended:
		t.Errorf("the honest worker's session has ended: %v", err)
	case <-time.After(30 * time.Second):
		t.Error("the honest worker's reports were not acknowledged")
	}
}

// Of a session that is not read, gRPC holds no more than a window, however fast its worker has sent before.
func TestTheWindowOfASessionDoesNotGrow(t *testing.T) {
	target := newTarget(t, hostileConfig{Limits: Limits{QueueBytes: 1 << 10}})
	w := waitingWorkers(t, target, 1)[0]
	go w.follow(func() {})
	attempts := &trellisv1.Heartbeat{Attempts: make([]*trellisv1.AttemptProgress, 4096)}
	for i := range attempts.Attempts {
		attempts.Attempts[i] = &trellisv1.AttemptProgress{Attempt: math.MaxUint64, Steps: math.MaxUint64}
	}
	fast := &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Heartbeat{Heartbeat: attempts}}
	for range 300 / memoryFactor {
		if err := w.send(fast); err != nil {
			t.Fatal(err)
		}
	}
	target.ask("block")
	var sent atomic.Int64
	go func() {
		small := w.request(1)
		for w.send(small) == nil {
			sent.Add(int64(proto.Size(small)))
		}
	}()
	last := int64(-1)
	for now := int64(0); now != last; now = sent.Load() {
		last = now
		time.Sleep(500 * time.Millisecond)
	}
	target.ask("release")
	// The worker's own end holds a part of it.
	t.Logf("a session that is not read has sent %d kB", last>>10)
	if most := int64(3 * streamWindow); last > most {
		t.Errorf("%d bytes were sent to a session that is not read, want at most %d", last, most)
	}
}
