package coordinator

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/coordinator/connection"
	trellisv1 "trellis/proto/trellis/v1"
)

// hostileSize is how much is thrown at a coordinator.
type hostileSize struct {
	// sessions is how many workers try to connect.
	sessions int
	limits   Limits
	// descriptors is the limit of the coordinator's process. Zero: the machine's.
	descriptors uint64
	// peakMB is how much memory the process may take.
	peakMB uint64
	// points is how many points the studies have that are planned and read. The most that a study may have is a million.
	points int
}

// Many more workers try to connect than the limits allow, over few connections and over one each. As many are served as
// the limits say; the others are refused with the limit's name. Who was there before trains on.
func TestManySessions(t *testing.T) {
	many := hostile
	if testing.Short() { // A third of the sessions meets a third of the limits in the same way.
		many.sessions /= 3
		many.limits.Sessions, many.limits.SessionsEach = many.limits.Sessions/3, many.limits.SessionsEach/3
		many.limits.Connections, many.limits.ConnectionsAddress = many.limits.Connections/3, many.limits.ConnectionsAddress/3
	}
	for _, kind := range []struct {
		name string
		// perConnection is how many sessions share a connection.
		perConnection int
		limits        Limits
	}{
		{"over few connections", maxStreams * 3 / 4, many.limits},
		{"over one connection each", 1, many.limits},
		// Nothing but the descriptors is in their way.
		{"up to the last descriptor", 1, Limits{
			Sessions: 1e6, SessionsEach: 1e6, Connections: 1e6, ConnectionsAddress: 1e6, Calls: 1e6, CallsEach: 1e6,
		}},
	} {
		t.Run(kind.name, func(t *testing.T) {
			if kind.limits != many.limits {
				skipShort(t)
			}
			// Silent workers keep their sessions.
			target := newTarget(t, hostileConfig{
				Limits: kind.limits, Descriptors: hostile.descriptors, Lease: time.Hour,
			})
			honest, holds := make(chan int, 1), make(chan struct{})
			go func() { honest <- trainSlowly(t, target, 2000, holds) }()
			<-holds
			stop := target.latency("127.0.0.9")
			began := time.Now()
			flood := newFlood(target, kind.perConnection)
			flood.connect(many.sessions)
			took := time.Since(began)
			worst, calls := stop()
			limits := kind.limits.withDefaults()
			connections := limits.connections().Within(cmp.Or(hostile.descriptors, connection.MaxDescriptors())).All
			limit := min(int(limits.Sessions), connections*kind.perConnection)
			open := flood.answers[codes.OK]
			// The honest worker and the other client count too.
			if open < limit*9/10-2 || open > limit {
				t.Errorf("%d sessions are open, and the limit is %d", open, limit)
			}
			refused := flood.answers[codes.ResourceExhausted]
			if closed := flood.answers[codes.Unavailable]; refused+closed+open != many.sessions || refused == 0 {
				t.Errorf("%d open, %d refused and %d closed of %d: %v", open, refused, closed, many.sessions,
					flood.answers)
			}
			if kind.perConnection > 1 && refused+open != many.sessions {
				t.Errorf("not all were told why: %v", flood.answers)
			}
			peak := target.status("VmHWM") >> 10
			if peak > hostile.peakMB*memoryFactor {
				t.Errorf("peak memory %d MB, want at most %d", peak, hostile.peakMB)
			}
			if epochs := <-honest; epochs < 2000 {
				t.Errorf("the honest worker's reports: %d epochs were recorded", epochs)
			}
			if said := flood.said; len(said) > 0 {
				t.Logf("refusals: %v", said)
			}
			t.Logf("%d sessions in %v: %d served, %d refused, %d closed; another client's slowest of %d calls took %v; "+
				"peak memory %d MB", many.sessions, took.Round(time.Millisecond), open, refused,
				flood.answers[codes.Unavailable], calls, worst, peak)
			flood.leave()
			after := target.client("127.0.0.5")
			target.eventually("there is room again", func() bool {
				return greet(t, after, fmt.Sprintf("after-%d", rand.Uint64())) == nil
			})
		})
	}
}

// limitIn is what a refusal calls its limit.
var limitIn = regexp.MustCompile(` limit [a-z-]+`)

// flood is many workers that connect from many hosts.
type flood struct {
	*target
	perConnection int
	ctx           context.Context
	leave         func()

	mu      sync.Mutex
	answers map[codes.Code]int
	// said counts the refusals by what they say.
	said map[string]int
}

func newFlood(target *target, perConnection int) *flood {
	f := &flood{
		target: target, perConnection: perConnection, answers: map[codes.Code]int{}, said: map[string]int{},
	}
	f.ctx, f.leave = context.WithCancel(context.Background())
	target.Cleanup(f.leave)
	return f
}

// connect opens so many sessions, which stay open until the flood leaves.
func (f *flood) connect(sessions int) {
	hosts := max(4, sessions/1000)
	var parts sync.WaitGroup
	next := make(chan int)
	for range 48 {
		parts.Go(func() {
			for first := range next {
				group := first / f.perConnection
				client := f.client(fmt.Sprintf("127.0.%d.%d", 1+group%hosts/200, 1+group%hosts%200))
				served := false
				for n := first; n < min(first+f.perConnection, sessions); n++ {
					served = f.greet(client, n) || served
				}
				if served {
					context.AfterFunc(f.ctx, func() { client.conn.Close() })
				} else {
					client.conn.Close()
				}
			}
		})
	}
	for first := 0; first < sessions; first += f.perConnection {
		next <- first
	}
	close(next)
	parts.Wait()
}

// greet opens a session, and says whether it is served.
func (f *flood) greet(client *clients, n int) bool {
	err := greetWith(f.ctx, client, fmt.Sprintf("flood-%d", n))
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[status.Code(err)]++
	if err != nil {
		f.said[status.Code(err).String()+limitIn.FindString(err.Error())]++
	}
	return err == nil
}

// greetWith opens a session that stays open until ctx is done.
func greetWith(ctx context.Context, client *clients, name string) error {
	ctx, cancel := context.WithCancel(ctx)
	timer := time.AfterFunc(time.Minute, cancel)
	defer timer.Stop()
	stream, err := client.workers.Session(ctx, grpc.WaitForReady(false))
	if err == nil {
		_ = stream.Send(&trellisv1.SessionRequest{
			Message: &trellisv1.SessionRequest_Hello{Hello: helloFrom(name, 1)},
		})
		_, err = stream.Recv()
	}
	if err != nil {
		cancel()
	}
	context.AfterFunc(ctx, cancel)
	return err
}

// trainSlowly is a worker that reports some epochs after the others, and returns how many were recorded. It closes holds
// once it has a run.
func trainSlowly(t *testing.T, target *target, epochs uint32, holds chan<- struct{}) (recorded int) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	held := sync.OnceFunc(func() { close(holds) })
	defer held()
	client := target.client("127.0.0.8")
	spec := syntheticSpec("honest", []uint32{4}, []uint32{epochs})
	if _, err := client.studies.CreateStudy(ctx, &trellisv1.CreateStudyRequest{Spec: spec}); err != nil {
		t.Errorf("the honest worker's study: %v", err)
		return 0
	}
	stream, err := client.workers.Session(ctx)
	if err != nil {
		t.Errorf("the honest worker's session: %v", err)
		return 0
	}
	hello := helloFrom("honest", 1)
	err = stream.Send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Hello{Hello: hello}})
	var a *trellisv1.Assignment
	for err == nil && a == nil {
		var response *trellisv1.SessionResponse
		if response, err = stream.Recv(); err == nil {
			a = response.GetAssignment()
		}
	}
	held()
	const each = 40 // It waits for the acknowledgement of each report, which takes up to a tenth of a second.
	losses := make([]float64, each)
	for epoch := uint32(1); err == nil && epoch <= epochs; {
		for i := range losses {
			losses[i] = 1 / float64(epoch+uint32(i))
		}
		err = stream.Send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Reports{
			Reports: &trellisv1.ReportBatch{Reports: []*trellisv1.Reports{
				reportsOf(a, epoch, losses...),
			}},
		}})
		for err == nil && uint32(recorded) < epoch+each-1 {
			var response *trellisv1.SessionResponse
			if response, err = stream.Recv(); err == nil {
				recorded = max(recorded, int(response.GetAcknowledgement().GetEpoch()))
			}
		}
		epoch += each
	}
	if err != nil {
		t.Errorf("the honest worker, after %d epochs: %v", recorded, err)
	}
	return recorded
}
