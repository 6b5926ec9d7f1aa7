package worker

import (
	"context"
	"errors"
	"io"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
)

// coordinator is the services' other end. It leaves sessions to the test.
type coordinator struct {
	trellisv1.UnimplementedWorkerServiceServer
	trellisv1.UnimplementedDataSetServiceServer
	listener *bufconn.Listener
	sessions chan *peer

	// refuse makes sessions fail at once, and refused counts them.
	refuse    atomic.Bool
	refused   atomic.Int32
	artifacts *artifactStore
	// dataSet answers GetDataSet, and download DownloadDataFile.
	dataSet  func(digest string) (*trellisv1.DataSet, error)
	download func(sha256 string, stream trellisv1.DataSetService_DownloadDataFileServer) error
}

func newCoordinator() *coordinator {
	return &coordinator{
		listener: bufconn.Listen(1 << 16), sessions: make(chan *peer, 100),
		artifacts: &artifactStore{contents: map[string][]byte{}},
	}
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
	go p.renewLeases()
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
	// deaf makes it renew no lease by itself. It begins to renew leases after its welcome.
	deaf, welcomed atomic.Bool
	// sending guards the stream's sending side.
	sending sync.Mutex
	// missing are the reasons of the checkpoints that exchange has taken, empty for those that were saved.
	missing []string
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
		for _, part := range request.Parts() {
			select {
			case p.requests <- part:
			case <-p.stream.Context().Done():
				return p.stream.Context().Err()
			}
		}
	}
}

// renewLeases renews the worker's lease again and again, as if it were held up: most tests take requests when they like,
// and see no heartbeats.
func (p *peer) renewLeases() {
	// Never at the moment at which an epoch ends.
	ticker := time.NewTicker(937 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-p.stream.Context().Done():
			return
		}
		if p.welcomed.Load() && !p.deaf.Load() {
			_ = p.renew(&trellisv1.LeaseRenewal{HeldUp: true}) // The stream may have ended.
		}
	}
}

func (p *peer) renew(renewal *trellisv1.LeaseRenewal) error {
	return p.write(&trellisv1.SessionResponse{Message: &trellisv1.SessionResponse_Renewal{Renewal: renewal}})
}

func (p *peer) send(response *trellisv1.SessionResponse) {
	p.Helper()
	if err := p.write(response); err != nil {
		p.Fatalf("send %v: %v", response, err)
	}
}

func (p *peer) write(response *trellisv1.SessionResponse) error {
	p.sending.Lock()
	defer p.sending.Unlock()
	return p.stream.Send(response)
}

func (p *peer) welcome(attempts ...uint64) {
	p.Helper()
	p.welcomeAs(&trellisv1.Welcome{
		HeartbeatMilliseconds: uint32(testHeartbeat.Milliseconds()),
		LeaseMilliseconds:     uint32(testLease.Milliseconds()),
		Attempts:              attempts,
	})
}

// welcomeWithCheckpoints asks for checkpoints at an interval.
func (p *peer) welcomeWithCheckpoints(interval time.Duration, attempts ...uint64) {
	p.Helper()
	p.welcomeAs(&trellisv1.Welcome{
		HeartbeatMilliseconds:  uint32(testHeartbeat.Milliseconds()),
		LeaseMilliseconds:      uint32(testLease.Milliseconds()),
		CheckpointMilliseconds: uint32(interval.Milliseconds()),
		Attempts:               attempts,
	})
}

func (p *peer) welcomeAs(welcome *trellisv1.Welcome) {
	p.Helper()
	p.send(&trellisv1.SessionResponse{Message: &trellisv1.SessionResponse_Welcome{Welcome: welcome}})
	p.welcomed.Store(true)
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

func (p *peer) acknowledgeCheckpoint(attempt uint64, epoch int) {
	p.Helper()
	p.send(&trellisv1.SessionResponse{Message: &trellisv1.SessionResponse_Acknowledgement{
		Acknowledgement: &trellisv1.Acknowledgement{Attempt: attempt, Checkpoint: uint32(epoch)},
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

// waiting returns a request that is there without time passing, or nil. It must run in a bubble.
func (p *peer) waiting() *trellisv1.SessionRequest {
	synctest.Wait()
	select {
	case request := <-p.requests:
		return request
	default:
		return nil
	}
}

// reports waits for so many reports of one attempt, which come in the order of their epochs.
func (p *peer) reports(attempt uint64, from, to int) []trainer.Report {
	p.Helper()
	var reports []trainer.Report
	for from+len(reports) <= to {
		request := p.next()
		batch := request.GetReports().GetReports()
		if len(batch) == 0 {
			p.Fatalf("got %v, want the report of epoch %d", request, from+len(reports))
		}
		for _, packed := range batch {
			want := from + len(reports)
			if packed.GetAttempt() != attempt || packed.GetFirstEpoch() != uint32(want) {
				p.Fatalf("got reports %v, want those from epoch %d of attempt %d", packed, want, attempt)
			}
			reports = append(reports, p.unpack(packed)...)
		}
	}
	if got := from + len(reports) - 1; got > to {
		p.Fatalf("got reports up to epoch %d, want %d", got, to)
	}
	return reports
}

// unpack is the opposite of attempt.pack.
func (p *peer) unpack(packed *trellisv1.Reports) []trainer.Report {
	p.Helper()
	count := len(packed.GetTrainLoss())
	if count == 0 || len(packed.GetValidationLoss()) != count || len(packed.GetSeconds()) != count {
		p.Fatalf("got columns of different lengths, or none: %v", packed)
	}
	reports := make([]trainer.Report, count)
	for i := range reports {
		epoch := packed.GetFirstEpoch() + uint32(i)
		reports[i] = trainer.Report{
			Epoch:          int(epoch),
			TrainLoss:      packed.GetTrainLoss()[i],
			ValidationLoss: packed.GetValidationLoss()[i],
			Elapsed:        time.Duration(math.Round(packed.GetSeconds()[i] * float64(time.Second))),
		}
		if loss, ok := packed.GetTestLoss()[epoch]; ok {
			reports[i].TestLoss = &loss
		}
	}
	return reports
}

// checkpoint waits for that of an attempt's epoch.
func (p *peer) checkpoint(attempt uint64, epoch int) *trellisv1.Checkpoint {
	p.Helper()
	request := p.next()
	got := request.GetCheckpoint()
	if got == nil || got.GetAttempt() != attempt || got.GetCheckpoint().GetEpoch() != uint32(epoch) {
		p.Fatalf("got %v, want the checkpoint of epoch %d of attempt %d", request, epoch, attempt)
	}
	return got.GetCheckpoint()
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
