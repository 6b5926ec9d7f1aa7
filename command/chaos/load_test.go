package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
)

// simulated is a worker that trains nothing: it knows the answers, or says that it is still busy.
type simulated struct {
	name  string
	slots uint32
	// answer returns what to send for an assignment; nil for a run that goes on for ever.
	answer func(*trellisv1.Assignment) []*trellisv1.SessionRequest
	// assigned, if set, is called with each assignment as it arrives.
	assigned func(*trellisv1.Assignment)

	// sending is held during each Send.
	sending sync.Mutex
	stream  trellisv1.WorkerService_SessionClient

	mu       sync.Mutex
	attempts map[uint64]uint64
}

// run serves one session until it ends, which is an error unless ctx is done.
func (s *simulated) run(ctx context.Context, conn *grpc.ClientConn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := trellisv1.NewWorkerServiceClient(conn).Session(ctx, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	s.stream, s.attempts = stream, map[uint64]uint64{}
	if err := s.send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Hello{Hello: &trellisv1.Hello{
		Protocol: trellisv1.SessionProtocol, Numerics: trainer.NumericsVersion, Worker: s.name, Slots: s.slots,
		Key: slices.Repeat([]byte(s.name), 16)[:16],
	}}}); err != nil {
		return err
	}
	var beating sync.WaitGroup
	defer beating.Wait()
	defer cancel()
	for {
		response, err := stream.Recv()
		if err != nil {
			return err
		}
		for _, part := range response.Parts() {
			if welcome := part.GetWelcome(); welcome != nil {
				interval := time.Duration(welcome.GetHeartbeatMilliseconds()) * time.Millisecond
				beating.Go(func() { s.beat(ctx, interval) })
			}
			if assignment := part.GetAssignment(); assignment != nil {
				if err := s.take(assignment); err != nil {
					return err
				}
			}
			if stop := part.GetStop(); stop != nil {
				s.mu.Lock()
				delete(s.attempts, stop.GetAttempt())
				s.mu.Unlock()
			}
		}
	}
}

func (s *simulated) take(assignment *trellisv1.Assignment) error {
	if s.assigned != nil {
		s.assigned(assignment)
	}
	if s.answer == nil {
		s.mu.Lock()
		s.attempts[assignment.GetAttempt()] = 0
		s.mu.Unlock()
		return nil
	}
	for _, request := range s.answer(assignment) {
		if err := s.send(request); err != nil {
			return err
		}
	}
	return nil
}

func (s *simulated) send(request *trellisv1.SessionRequest) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	return s.stream.Send(request)
}

// beat sends heartbeats that say that all runs make progress.
func (s *simulated) beat(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		heartbeat := &trellisv1.Heartbeat{}
		s.mu.Lock()
		for attempt := range s.attempts {
			s.attempts[attempt]++
			heartbeat.Attempts = append(heartbeat.Attempts, &trellisv1.AttemptProgress{
				Attempt: attempt, Steps: s.attempts[attempt],
			})
		}
		s.mu.Unlock()
		if s.send(
			&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Heartbeat{Heartbeat: heartbeat}}) != nil {
			return
		}
	}
}

// loadVariable makes this process a number of simulated workers: "address first count".
const loadVariable = "TRELLIS_CHAOS_LOAD"

// becameLoad runs simulated workers, each with a connection of its own, until SIGTERM. Any session that ends earlier is
// written to standard error. It returns false in a process that is to test.
func becameLoad() bool {
	text := os.Getenv(loadVariable)
	if text == "" {
		return false
	}
	fields := strings.Fields(text)
	first, _ := strconv.Atoi(fields[1])
	count, _ := strconv.Atoi(fields[2])
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var all sync.WaitGroup
	for n := range count {
		conn, err := grpc.NewClient("passthrough:///"+fields[0],
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithReadBufferSize(4<<10), grpc.WithWriteBufferSize(4<<10))
		if err != nil {
			fmt.Fprintln(os.Stderr, "session:", err)
			os.Exit(1)
		}
		defer conn.Close()
		all.Go(func() {
			s := &simulated{name: fmt.Sprintf("simulated-%d", first+n), slots: 1}
			if err := s.run(ctx, conn); ctx.Err() == nil {
				fmt.Fprintf(os.Stderr, "session: %s: %v\n", s.name, errors.Join(errors.New("it has ended"), err))
			}
		})
		// They come one after the other, as machines do that are switched on.
		pause(ctx, 2*time.Millisecond)
	}
	all.Wait()
	return true
}
