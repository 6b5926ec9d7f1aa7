package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
)

// simulated is a worker that trains nothing. What it is assigned takes its time, and has losses that nobody trained.
type simulated struct {
	name  string
	slots uint32
	// waited is called with how long a slot was free, from its run's outcome until its next assignment.
	waited func(time.Duration)

	stream trellisv1.WorkerService_SessionClient
	// welcomed says that it has had a welcome.
	welcomed bool
	sending  sync.Mutex
	mu       sync.Mutex
	// training is how many runs it has.
	training int
	// freed has when slots became free that have no run again.
	freed []time.Time
}

// run serves one session until it ends.
func (s *simulated) run(ctx context.Context, conn *grpc.ClientConn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := trellisv1.NewWorkerServiceClient(conn).Session(ctx, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	s.sending.Lock()
	s.stream, s.welcomed = stream, false
	s.sending.Unlock()
	if err := s.send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Hello{Hello: &trellisv1.Hello{
		Protocol: trellisv1.SessionProtocol, Numerics: trainer.NumericsVersion, Worker: s.name, Slots: s.slots,
		Key: slices.Repeat([]byte(s.name), 16)[:16],
	}}}); err != nil {
		return err
	}
	for {
		response, err := stream.Recv()
		if err != nil {
			return err
		}
		for _, part := range response.Parts() {
			if welcome := part.GetWelcome(); welcome != nil {
				s.welcomed = true
				go s.beat(ctx, time.Duration(welcome.GetHeartbeatMilliseconds())*time.Millisecond)
			}
			if assignment := part.GetAssignment(); assignment != nil {
				s.fill()
				go s.train(assignment)
			}
		}
	}
}

// fill notes that a free slot has a run again.
func (s *simulated) fill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.training++
	if len(s.freed) > 0 {
		s.waited(time.Since(s.freed[0]))
		s.freed = s.freed[1:]
	}
}

// train reports an epoch whenever about the time of one has passed, and then the run's end.
func (s *simulated) train(assignment *trellisv1.Assignment) {
	config := assignment.GetConfig()
	epochs, pace := config.GetParameters().GetMaxEpochs(), 0.5+rand.Float64()
	for epoch := range epochs {
		time.Sleep(time.Duration(pace * float64(config.GetSynthetic().GetEpochTime().AsDuration())))
		reports := &trellisv1.Reports{
			Study: assignment.GetStudy(), Run: assignment.GetRun(), Attempt: assignment.GetAttempt(),
			FirstEpoch: epoch + 1, TrainLoss: []float64{1}, ValidationLoss: []float64{1}, Seconds: []float64{1},
		}
		if epoch+1 == epochs {
			reports.TestLoss = map[uint32]float64{epochs: 1}
		}
		if s.send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Reports{
			Reports: &trellisv1.ReportBatch{Reports: []*trellisv1.Reports{reports}},
		}}) != nil {
			return
		}
	}
	s.mu.Lock()
	s.training--
	s.freed = append(s.freed, time.Now())
	s.mu.Unlock()
	_ = s.send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Outcome{Outcome: &trellisv1.Outcome{
		Study: assignment.GetStudy(), Run: assignment.GetRun(), Attempt: assignment.GetAttempt(),
		Result: &trellisv1.Outcome_Success_{Success: &trellisv1.Outcome_Success{
			StopReason: trellisv1.StopReason_STOP_REASON_MAX_EPOCHS, Epochs: epochs,
		}},
	}}})
}

func (s *simulated) send(request *trellisv1.SessionRequest) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	return s.stream.Send(request)
}

// beat sends heartbeats until the session ends. The first comes some time within the interval, as those of workers do
// that were not started together.
func (s *simulated) beat(ctx context.Context, interval time.Duration) {
	timer := time.NewTimer(rand.N(interval))
	defer timer.Stop()
	for number := uint64(1); ; number++ {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		if s.send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Heartbeat{
			Heartbeat: &trellisv1.Heartbeat{Number: number},
		}}) != nil {
			return
		}
		timer.Reset(s.pause(interval))
	}
}

// pause is how long a worker waits for its next heartbeat: five times as long while it holds nothing.
func (s *simulated) pause(interval time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.training == 0 {
		return 5 * interval
	}
	return interval
}

// workersVariable makes this process a number of simulated workers: see crowd.
const workersVariable = "TRELLIS_SCALE_WORKERS"

// crowd is the simulated workers of one process.
type crowd struct {
	address string
	// first and count are the numbers in their names. Sessions says how many share a connection, slots is of each.
	first, count, sessions, slots int
}

const crowdFormat = "%s %d %d %d %d"

// startCrowd starts a process of simulated workers. What they write is in its log.
func (l *lab) startCrowd(c crowd) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{Cmd: exec.Command(self), name: fmt.Sprint("simulated-", c.first)}
	p.Env = append(os.Environ(), workersVariable+"="+
		fmt.Sprintf(crowdFormat, c.address, c.first, c.count, c.sessions, c.slots))
	return p, l.launch(p)
}

// hostOf is the loopback address of the n-th connection: a host has a thousand, as many as a coordinator takes from
// one.
func hostOf(n int) net.IP { return net.IPv4(127, 1, 0, byte(1+n/1000)) }

// from connects from an address.
func from(host net.IP) func(context.Context, string) (net.Conn, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: host}}
	return func(ctx context.Context, address string) (net.Conn, error) {
		return dialer.DialContext(ctx, "tcp", address)
	}
}

// becameWorkers makes this process what workersVariable says, until SIGTERM. It writes how long slots waited, in
// microseconds, and which sessions ended early. It returns false in a process that measures.
func becameWorkers() bool {
	text := os.Getenv(workersVariable)
	if text == "" {
		return false
	}
	var c crowd
	if _, err := fmt.Sscanf(text, crowdFormat, &c.address, &c.first, &c.count, &c.sessions, &c.slots); err != nil {
		fmt.Println("session:", err)
		return true
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var all sync.WaitGroup
	var conn *grpc.ClientConn
	var writing sync.Mutex
	for n := range c.count {
		if n%c.sessions == 0 {
			var err error
			conn, err = grpc.NewClient("passthrough:///"+c.address,
				grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(),
				grpc.WithReadBufferSize(4<<10), grpc.WithWriteBufferSize(4<<10),
				grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: time.Minute, Timeout: 10 * time.Second}),
				grpc.WithContextDialer(from(hostOf((c.first+n)/c.sessions))))
			if err != nil {
				fmt.Println("session:", err)
				return true
			}
		}
		all.Go(func() {
			s := &simulated{
				name: fmt.Sprint("simulated-", c.first+n), slots: uint32(c.slots),
				waited: func(d time.Duration) {
					writing.Lock()
					defer writing.Unlock()
					fmt.Println(d.Microseconds())
				},
			}
			for {
				err := s.run(ctx, conn)
				if ctx.Err() != nil {
					return
				}
				if s.welcomed {
					writing.Lock()
					fmt.Printf("session: %s has ended: %s\n", s.name, strings.ReplaceAll(err.Error(), "\n", " "))
					writing.Unlock()
				}
				// Many come at a time. Workers that are refused for that come again, as those do that have lost their sessions.
				time.Sleep(time.Second + rand.N(time.Second))
			}
		})
		time.Sleep(time.Millisecond) // As machines that are switched on one after the other.
	}
	all.Wait()
	return true
}
