package api

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

// minKey is how many bytes a worker's key must have, so that nobody guesses it.
const minKey = 16

// HelloTimeout is how long a session may take to send its hello.
const HelloTimeout = 10 * time.Second

var errNoHello = status.Errorf(codes.DeadlineExceeded, "no hello within %v", HelloTimeout)

// workerService is the workers' side of the API.
type workerService struct {
	trellisv1.UnimplementedWorkerServiceServer
	numerics string
	store    Snapshots
	sessions Sessions
	memory   Memory
	stopping context.Context
}

// Sessions serves workers that have sent their hello. Only the leader does.
type Sessions interface {
	// Serve serves a session until it ends. It returns nil if the worker has said goodbye.
	Serve(hello *trellisv1.Hello, stream trellisv1.WorkerService_SessionServer) error
}

// ListWorkers returns the workers by name.
func (s workerService) ListWorkers(
	_ context.Context, request *trellisv1.ListWorkersRequest,
) (*trellisv1.ListWorkersResponse, error) {
	response, err := s.store.Snapshot().ListWorkers(request)
	if err != nil {
		return nil, Status(err)
	}
	for i, worker := range response.GetWorkers() {
		worker = shallow(worker)
		worker.Key, worker.Avoided = nil, s.avoided(worker)
		response.Workers[i] = worker
	}
	return response, nil
}

// avoided says why a worker gets no runs for now. What the leader remembers is less than having reported wrong losses.
func (s workerService) avoided(worker *trellisv1.Worker) []*trellisv1.Avoidance {
	if wrong := worker.GetWrong(); wrong != nil {
		return []*trellisv1.Avoidance{{
			Reason: trellisv1.AvoidanceReason_AVOIDANCE_REASON_WRONG_LOSSES, Study: wrong.GetStudy(),
		}}
	}
	return s.memory.Avoided(worker.GetName())
}

// Session checks a worker's hello, and hands the session to the leader.
func (s workerService) Session(stream trellisv1.WorkerService_SessionServer) error {
	hello, err := s.awaitHello(stream)
	if err != nil {
		return err
	}
	if err := s.checkHello(hello); err != nil {
		return err
	}
	return Status(s.sessions.Serve(hello, stream))
}

// awaitHello returns the hello in the first message, or nil if that is another message. It gives up after HelloTimeout.
func (s workerService) awaitHello(stream trellisv1.WorkerService_SessionServer) (*trellisv1.Hello, error) {
	type result struct {
		request *trellisv1.SessionRequest
		err     error
	}
	// It has room for one element, so that the receiver ends, at the latest with the stream, even if nobody waits for
	// it any more.
	first := make(chan result, 1)
	go func() {
		request, err := stream.Recv()
		first <- result{request, err}
	}()
	timer := time.NewTimer(HelloTimeout)
	defer timer.Stop()
	select {
	case result := <-first:
		return result.request.GetHello(), result.err
	case <-timer.C:
		return nil, errNoHello
	case <-s.stopping.Done():
		return nil, context.Cause(s.stopping)
	}
}

// checkHello refuses a worker that this coordinator can't work with.
func (s workerService) checkHello(hello *trellisv1.Hello) error {
	if hello == nil {
		return status.Error(codes.InvalidArgument, "the first message of a session must be hello")
	}
	if hello.GetProtocol() != trellisv1.SessionProtocol {
		return status.Errorf(codes.FailedPrecondition,
			"worker %s uses version %d of the session protocol, but this coordinator uses version %d: run the same "+
				"version of trellis on both",
			hello.GetWorker(), hello.GetProtocol(), trellisv1.SessionProtocol)
	}
	if len(hello.GetKey()) < minKey {
		return status.Errorf(codes.InvalidArgument, "worker %s has no key of at least %d bytes", hello.GetWorker(), minKey)
	}
	if hello.GetNumerics() != s.numerics {
		return status.Errorf(codes.FailedPrecondition,
			"worker %s computes with numerics version %q, but this coordinator's studies with %q, so its results "+
				"would differ: run the same version of trellis on both", hello.GetWorker(), hello.GetNumerics(),
			s.numerics)
	}
	return nil
}
