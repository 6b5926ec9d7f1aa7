package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
	"trellis/results/pruning"
)

var (
	errReplaced = status.Error(codes.Aborted, "a newer session of this worker has taken over")
	errStopping = status.Error(codes.Unavailable, "the coordinator is shutting down")
	errNoHello  = status.Errorf(codes.DeadlineExceeded, "no hello within %v", helloTimeout)
)

const (
	// helloTimeout is how long a session may take to begin.
	helloTimeout = 10 * time.Second
	// maxFailureMessage is how much of a worker's error message is kept, in bytes.
	maxFailureMessage = 4096
)

// workerService is the workers' side of the API.
type workerService struct {
	trellisv1.UnimplementedWorkerServiceServer
	*Coordinator
}

// ListWorkers returns the workers by name.
func (s workerService) ListWorkers(_ context.Context, request *trellisv1.ListWorkersRequest) (*trellisv1.ListWorkersResponse, error) {
	response, err := s.store.Snapshot().ListWorkers(request)
	return response, statusOf(err)
}

// Session serves one worker until its stream breaks, or this coordinator ends it.
func (s workerService) Session(stream trellisv1.WorkerService_SessionServer) error {
	hello, err := s.awaitHello(stream)
	if err != nil {
		return err
	}
	if err := s.checkHello(hello); err != nil {
		return err
	}
	term := s.term.Load()
	if term == nil {
		return errNotLeading
	}
	ctx, end := context.WithCancelCause(stream.Context())
	defer end(nil)
	defer context.AfterFunc(term.ctx, func() { end(context.Cause(term.ctx)) })()
	// The session is open before the worker is registered. If its lease expires at this very moment, either the worker is
	// registered after it was marked as lost, or the session ends with the lease: it never goes on for a worker that is
	// lost.
	s.leases.heard(hello.GetWorker())
	session := s.sessions.open(term.ctx, hello.GetWorker(), end)
	defer s.sessions.close(session)
	if err := s.register(ctx, hello); err != nil {
		return statusOf(err)
	}
	s.dispatcher.wake()
	s.logger.Info("worker connected", "worker", session.worker, "slots", hello.GetSlots(), "attempts", len(hello.GetAttempts()))

	// Both end at the latest with the stream, which ends when Session returns. They are not waited for: a peer that does
	// not read would keep the sender, and the session with it, for as long as it likes.
	go func() { end(s.send(ctx, session, hello, stream)) }()
	go func() { end(s.receive(ctx, session, stream)) }()
	select {
	case <-ctx.Done():
	case <-s.stopping:
		end(errStopping)
	}
	cause := context.Cause(ctx)
	level := slog.LevelInfo
	if term.ctx.Err() != nil {
		// That of all workers, which has been said.
		level = slog.LevelDebug
	}
	s.logger.Log(ctx, level, "worker disconnected", "worker", session.worker, "cause", cause)
	if errors.Is(cause, io.EOF) {
		return nil
	}
	return cause
}

// awaitHello returns the first message's hello, nil if it is another. A peer that says nothing is not waited for.
func (s workerService) awaitHello(stream trellisv1.WorkerService_SessionServer) (*trellisv1.Hello, error) {
	type result struct {
		request *trellisv1.SessionRequest
		err     error
	}
	// Room for one, so that the receiver ends, at the latest with the stream, even if nobody waits for it any more.
	first := make(chan result, 1)
	go func() {
		request, err := stream.Recv()
		first <- result{request, err}
	}()
	timer := time.NewTimer(helloTimeout)
	defer timer.Stop()
	select {
	case result := <-first:
		return result.request.GetHello(), result.err
	case <-timer.C:
		return nil, errNoHello
	case <-s.stopping:
		return nil, errStopping
	}
}

// checkHello refuses a worker that this coordinator can't work with.
func (s workerService) checkHello(hello *trellisv1.Hello) error {
	if hello == nil {
		return status.Error(codes.InvalidArgument, "a session begins with hello")
	}
	if hello.GetProtocol() != trellisv1.SessionProtocol {
		return status.Errorf(codes.FailedPrecondition,
			"worker %s speaks version %d of the session protocol, this coordinator version %d: run the same version of trellis on both",
			hello.GetWorker(), hello.GetProtocol(), trellisv1.SessionProtocol)
	}
	if hello.GetNumerics() != s.config.Numerics {
		return status.Errorf(codes.FailedPrecondition,
			"worker %s computes with numerics version %q, this coordinator's studies with %q, so its digits would differ: "+
				"run the same version of trellis on both", hello.GetWorker(), hello.GetNumerics(), s.config.Numerics)
	}
	return nil
}

// register puts the worker into the store, unless that has it already just so: when all workers come back to a new leader,
// the log is spared thousands of entries.
func (s workerService) register(ctx context.Context, hello *trellisv1.Hello) error {
	state := trellisv1.WorkerState_WORKER_STATE_READY
	if hello.GetDraining() {
		state = trellisv1.WorkerState_WORKER_STATE_DRAINING
	}
	known, err := s.store.Snapshot().Worker(nil, hello.GetWorker())
	if err == nil && known.GetState() == state && known.GetSlots() == hello.GetSlots() &&
		known.GetVersion() == hello.GetVersion() && known.GetProcessor() == hello.GetProcessor() {
		// There is nothing to write, which would fail on a node that does not lead any more and has not noticed: it must not
		// tell the worker which of its attempts stand.
		return s.log.Verify(ctx)
	}
	return s.setWorker(ctx, &trellisv1.Worker{
		Name: hello.GetWorker(), State: state, Slots: hello.GetSlots(), Version: hello.GetVersion(), Processor: hello.GetProcessor(),
	})
}

func (c *Coordinator) setWorker(ctx context.Context, worker *trellisv1.Worker) error {
	_, _, err := c.proposePatiently(ctx, &trellisv1.Command{Change: &trellisv1.Command_SetWorker{
		SetWorker: &trellisv1.SetWorkerCommand{Worker: worker},
	}})
	return err
}

// setWorkerState changes nothing but the state of a worker that is registered.
func (c *Coordinator) setWorkerState(ctx context.Context, name string, state trellisv1.WorkerState) error {
	worker, err := c.store.Snapshot().Worker(nil, name)
	if err != nil {
		return err
	}
	worker = proto.CloneOf(worker)
	worker.State = state
	return c.setWorker(ctx, worker)
}

// receive handles what the worker sends until the stream breaks.
func (s workerService) receive(ctx context.Context, session *session, stream trellisv1.WorkerService_SessionServer) error {
	for {
		request, err := stream.Recv()
		if err != nil {
			return err
		}
		s.leases.heard(session.worker)
		switch message := request.GetMessage().(type) {
		case *trellisv1.SessionRequest_Heartbeat:
			s.leases.progress(message.Heartbeat)
			session.recheck()
		case *trellisv1.SessionRequest_Reports:
			for _, reports := range message.Reports.GetReports() {
				entry := &trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Reports{Reports: reports}}
				if err := s.put(ctx, session, entry, reports.GetStudy(), reports.GetRun()); err != nil {
					return err
				}
			}
		case *trellisv1.SessionRequest_Checkpoint:
			if err := s.receiveCheckpoint(ctx, session, message.Checkpoint); err != nil {
				return err
			}
		case *trellisv1.SessionRequest_Outcome:
			outcome := message.Outcome
			if failure := outcome.GetFailure(); failure != nil {
				failure.Attempt, failure.Worker = outcome.GetAttempt(), session.worker
				failure.Message = truncate(failure.GetMessage(), maxFailureMessage)
			}
			entry := &trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Outcome{Outcome: outcome}}
			if err := s.put(ctx, session, entry, outcome.GetStudy(), outcome.GetRun()); err != nil {
				return err
			}
		case *trellisv1.SessionRequest_Drain:
			if err := s.setWorkerState(ctx, session.worker, trellisv1.WorkerState_WORKER_STATE_DRAINING); err != nil {
				return statusOf(err)
			}
		case *trellisv1.SessionRequest_Goodbye:
			if err := s.setWorkerState(ctx, session.worker, trellisv1.WorkerState_WORKER_STATE_GONE); err != nil {
				return statusOf(err)
			}
			return io.EOF
		default:
			return status.Error(codes.InvalidArgument, "a worker says hello once, at the beginning of its session")
		}
	}
}

// put queues an entry for the log. What belongs to another worker's attempt is as stale as what belongs to none: the
// worker is told to forget it.
func (s workerService) put(ctx context.Context, session *session, entry *trellisv1.RecordCommand_Entry, study, run string) error {
	if !session.knows(attemptOf(entry)) {
		held, err := s.store.Snapshot().Run(nil, study, run)
		if err != nil && !errors.Is(err, results.ErrNotFound) {
			return statusOf(err)
		}
		if held.GetWorker() != session.worker {
			session.acknowledge(entry)
			return nil
		}
	}
	if entry.GetOutcome() != nil {
		session.finishes(attemptOf(entry))
	}
	return s.recorder.put(ctx, received{entry: entry, from: session})
}

// send welcomes the worker and then keeps it told: of acknowledgements as they come, and of the attempts that the store
// says it holds. It compares these with what the worker has been told, so that an assignment or a stop order that was
// lost with an earlier stream is simply sent again.
func (s workerService) send(ctx context.Context, session *session, hello *trellisv1.Hello, stream trellisv1.WorkerService_SessionServer) error {
	welcome := &trellisv1.Welcome{
		HeartbeatMilliseconds: uint32(s.config.Lease.Milliseconds() / heartbeatsPerLease),
		LeaseMilliseconds:     uint32(s.config.Lease.Milliseconds()),
	}
	if s.config.Data != "" {
		welcome.CheckpointMilliseconds = uint32(s.config.CheckpointInterval.Milliseconds())
	}
	holding, err := s.attempts(session.worker)
	if err != nil {
		return err
	}
	for _, attempt := range hello.GetAttempts() {
		if holding[attempt] != nil {
			session.tell(attempt)
			welcome.Attempts = append(welcome.Attempts, attempt)
		}
	}
	if err := stream.Send(&trellisv1.SessionResponse{Message: &trellisv1.SessionResponse_Welcome{Welcome: welcome}}); err != nil {
		return err
	}
	session.recheck()
	for {
		select {
		case <-session.notice:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		acks, rechecking := session.take()
		for _, ack := range acks {
			if err := stream.Send(&trellisv1.SessionResponse{Message: &trellisv1.SessionResponse_Acknowledgement{Acknowledgement: ack}}); err != nil {
				return err
			}
		}
		if !rechecking {
			continue
		}
		holding, err := s.attempts(session.worker)
		if err != nil {
			return err
		}
		if err := s.tell(session, holding, stream); err != nil {
			return err
		}
	}
}

// attempts returns the runs that the worker holds, by attempt.
func (s workerService) attempts(worker string) (map[uint64]*trellisv1.Run, error) {
	runs, err := s.store.Snapshot().RunsHeldBy(nil, worker)
	if err != nil {
		return nil, statusOf(err)
	}
	holding := make(map[uint64]*trellisv1.Run, len(runs))
	for _, run := range runs {
		holding[run.GetAttempt()] = run
	}
	return holding, nil
}

// tell sends what the worker has not been told of the attempts that it holds.
func (s workerService) tell(session *session, holding map[uint64]*trellisv1.Run, stream trellisv1.WorkerService_SessionServer) error {
	for _, attempt := range session.gone(holding) {
		stop := &trellisv1.Stop{Attempt: attempt, Reason: "the run is no longer this worker's: its study was paused, canceled or deleted, or its lease ran out"}
		if err := stream.Send(&trellisv1.SessionResponse{Message: &trellisv1.SessionResponse_Stop{Stop: stop}}); err != nil {
			return err
		}
	}
	for attempt, run := range holding {
		if session.knows(attempt) {
			continue
		}
		snapshot := s.store.Snapshot()
		study, err := snapshot.Study(nil, run.GetStudy())
		if errors.Is(err, results.ErrNotFound) {
			continue
		}
		if err != nil {
			return statusOf(err)
		}
		config := grid.RunConfigFor(study, run, s.config.Numerics, pruning.Stage(study, run))
		if config.Milestones, err = askedOf(snapshot, run, config); err != nil {
			return statusOf(err)
		}
		assignment := &trellisv1.Assignment{
			Study: run.GetStudy(), Run: run.GetId(), Attempt: attempt, Config: config,
			Checkpoint: results.LastCheckpoint(run), Epochs: run.GetEpochs(),
		}
		session.tell(attempt)
		if err := stream.Send(&trellisv1.SessionResponse{Message: &trellisv1.SessionResponse_Assignment{Assignment: assignment}}); err != nil {
			return err
		}
	}
	return nil
}

// askedOf returns the epochs at which an attempt is to report the test loss: at these trials end, of whatever study.
func askedOf(snapshot *results.Snapshot, run *trellisv1.Run, config *trellisv1.RunConfig) ([]uint32, error) {
	asked, err := snapshot.AskedEpochs(run)
	if err != nil {
		return nil, err
	}
	reached, _ := slices.BinarySearch(asked, config.GetParameters().GetMaxEpochs()+1)
	return asked[:reached], nil
}

// truncate shortens a text to at most size bytes and says so.
func truncate(text string, size int) string {
	if len(text) <= size {
		return text
	}
	return fmt.Sprintf("%s … (%d bytes more)", strings.ToValidUTF8(text[:size], ""), len(text)-size)
}
