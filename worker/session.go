package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	grpcpeer "google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

// welcomeTimeout is how long the coordinator may take to respond to a hello.
const welcomeTimeout = 10 * time.Second

// retries defines the delays between gRPC's attempts to connect, and between the worker's attempts to open a session or
// to download. The jitter is large, so that workers that lost the same coordinator don't all come back together.
var retries = backoff.Config{
	BaseDelay:  100 * time.Millisecond,
	Multiplier: 1.6,
	Jitter:     0.4,
	MaxDelay:   5 * time.Second,
}

// retryDelay returns how long to wait after a number of consecutive failures.
func retryDelay(failures int) time.Duration {
	if failures == 0 {
		return 0
	}
	delay := float64(retries.BaseDelay) * math.Pow(retries.Multiplier, float64(failures-1))
	delay = min(delay, float64(retries.MaxDelay))
	return time.Duration(delay * (1 + retries.Jitter*(2*rand.Float64()-1)))
}

// sleep waits. It returns early, with the cause, when ctx is done.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Reasons why a session ends, besides those of gRPC.
var (
	errNoWelcome  = fmt.Errorf("no welcome within %v", welcomeTimeout)
	errEnded      = errors.New("the coordinator ended the session")
	errNotFirst   = errors.New("the first response was not a welcome")
	errSecond     = errors.New("the coordinator sent a second welcome")
	errHeartbeat  = errors.New("the welcome had no heartbeat interval")
	errStoodStill = errors.New("this process was paused")
	errSilent     = errors.New("the coordinator has fallen silent")
)

// session is one stream to the coordinator, from before it is opened until it has ended. Its goroutines read and write.
// Run decides what to write, and handles what is read.
type session struct {
	// responses come in the order in which they were received.
	responses chan *trellisv1.SessionResponse
	// requests has the next request for the writer. Run fills it only while the writer is ready.
	requests chan *trellisv1.SessionRequest
	// ready says that the writer has sent its request.
	ready chan struct{}
	// done receives the reason why the session has ended, after everything else and exactly once.
	done chan error
	// end ends the session for a reason.
	end context.CancelCauseFunc

	// The rest is Run's.

	// opened is when hello was sent, set before the first response.
	opened time.Time
	// node is the address of the coordinator's node at the other end, set before the first response.
	node string
	// welcomed says that the coordinator has sent its welcome. Only then may other requests be sent.
	welcomed bool
	// heartbeats has when the heartbeats were sent that the coordinator has not confirmed yet, and first the number of
	// the first of them.
	heartbeats []time.Time
	first      uint64
	// ticks is how many heartbeats there was time for.
	ticks int
	// idle says that the writer is ready for a request.
	idle bool
	// outputs are requests for what programs write, which are not answered yet.
	outputs []*trellisv1.OutputRequest
	// heartbeatDue and drainDue say that these messages must be sent.
	heartbeatDue, drainDue bool
	// abandoned says that the session is being ended: nothing more is sent or taken from it.
	abandoned bool
	// left says that goodbye has been sent. The writer is never ready again after that.
	left bool
}

// openSession opens a session that begins with hello, after a number of consecutive failures. It returns immediately.
func openSession(
	ctx context.Context, client trellisv1.WorkerServiceClient, hello *trellisv1.Hello, failures int,
) *session {
	ctx, cancel := context.WithCancelCause(ctx)
	s := &session{
		responses: make(chan *trellisv1.SessionResponse),
		requests:  make(chan *trellisv1.SessionRequest, 1),
		first:     1,
		ready:     make(chan struct{}),
		done:      make(chan error, 1),
		end:       cancel,
	}
	s.requests <- &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Hello{Hello: hello}}
	go func() {
		err := s.run(ctx, client, failures)
		cancel(err)
		s.done <- err
	}()
	return s
}

// run opens the stream and reads from it until it ends. It always returns a reason.
//
// If the coordinator is not there, the first attempt fails immediately and says why. Later attempts wait until gRPC,
// which keeps trying to connect, has a connection.
func (s *session) run(ctx context.Context, client trellisv1.WorkerServiceClient, failures int) error {
	if err := sleep(ctx, retryDelay(failures)); err != nil {
		return err
	}
	stream, err := client.Session(ctx, grpc.WaitForReady(failures > 0))
	if err != nil {
		return err
	}
	s.opened = time.Now()
	unwelcome := time.AfterFunc(welcomeTimeout, func() { s.end(errNoWelcome) })
	defer unwelcome.Stop()

	written := make(chan struct{})
	go func() {
		defer close(written)
		s.write(ctx, stream)
	}()
	err = s.read(ctx, stream, unwelcome)
	s.end(err)
	<-written
	// A stream that was ended on purpose only reports that it was canceled.
	return context.Cause(ctx)
}

func (s *session) read(ctx context.Context, stream trellisv1.WorkerService_SessionClient, unwelcome *time.Timer) error {
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return errEnded
		}
		if err != nil {
			return err
		}
		unwelcome.Stop()
		if node, ok := grpcpeer.FromContext(stream.Context()); ok && s.node == "" {
			s.node = node.Addr.String()
		}
		select {
		case s.responses <- response:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (s *session) write(ctx context.Context, stream trellisv1.WorkerService_SessionClient) {
	for {
		select {
		case request := <-s.requests:
			if err := stream.Send(request); err != nil {
				// The reader learns why, unless the fault is here: a request that could not be encoded.
				if !errors.Is(err, io.EOF) {
					s.end(err)
				}
				return
			}
			if request.GetGoodbye() != nil {
				stream.CloseSend() // never fails
				return
			}
		case <-ctx.Done():
			return
		}
		select {
		case s.ready <- struct{}{}:
		case <-ctx.Done():
			return
		}
	}
}

// refused reports whether the coordinator would give the same answer to every retry.
func refused(err error) bool {
	switch status.Code(err) {
	case codes.FailedPrecondition, codes.InvalidArgument, codes.Unauthenticated, codes.PermissionDenied,
		codes.Unimplemented:
		return true
	}
	return false
}

// refusal is an ErrRefused that says why, with the status of its cause.
type refusal struct{ cause error }

func (r *refusal) Error() string { return ErrRefused.Error() + ": " + reason(r.cause) }

func (r *refusal) Unwrap() []error { return []error{ErrRefused, r.cause} }

// reason returns the part of a call's error that people need: "dial tcp [::1]:7070: connect: connection refused",
// without gRPC's wrapping.
func reason(err error) string {
	var answer interface {
		error
		GRPCStatus() *status.Status
	}
	if !errors.As(err, &answer) {
		return err.Error()
	}
	// Text that wraps it is kept.
	message := strings.Replace(err.Error(), answer.Error(), answer.GRPCStatus().Message(), 1)
	message = strings.TrimPrefix(message, `connection error: desc = "`)
	message = strings.TrimPrefix(message, "transport: Error while dialing: ")
	message = strings.TrimPrefix(message, "error reading server preface: ")
	return strings.TrimSuffix(message, `"`)
}
