package worker

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/worker/dial"
)

func TestLostStream(t *testing.T) {
	inBubble(t, nil, func(h *harness) {
		p := h.connect()
		p.assign(synthetic(1, "run", 10))
		p.reports(1, 1, 4)
		p.acknowledge(1, 2)
		synctest.Wait()
		h.leave()
		if n := h.running.Load(); n != 1 {
			t.Fatalf("%d runs in training without the coordinator, want 1", n)
		}
		time.Sleep(3500 * time.Millisecond)
		h.comeBack()
		p = h.connect(1)
		if !slices.Equal(p.hello.GetAttempts(), []uint64{1}) {
			t.Errorf("hello names attempts %v, want 1", p.hello.GetAttempts())
		}
		p.reports(1, 3, 10)
		p.acknowledge(1, 10)
		p.outcome(1)
		synctest.Wait()
		// An outcome is owed like a report.
		h.leave()
		h.comeBack()
		p = h.connect(1)
		p.outcome(1)
		p.acknowledgeOutcome(1)
		p.quiet(time.Minute)
		if n := h.count("lost the coordinator; reconnecting"); n != 2 {
			t.Errorf("the log tells %d times that the coordinator was lost, want 2:\n%s", n, h.logs)
		}
	})
}

// Whatever the coordinator takes, records and loses, each attempt's reports come in order, without gaps, and none comes
// again once the worker knows that it is recorded.
func TestLostStreams(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	const epochs = 40
	inBubble(t, nil, func(h *harness) {
		type state struct{ seen, acknowledged int }
		attempts := map[uint64]*state{1: {}, 2: {}}
		p := h.connect()
		p.assign(synthetic(1, "a", epochs))
		p.assign(synthetic(2, "b", epochs))
		sessions := 1
		for len(attempts) > 0 {
			for steps := random.IntN(12); steps > 0 && len(attempts) > 0; steps-- {
				request := p.next()
				for _, packed := range request.GetReports().GetReports() {
					a := attempts[packed.GetAttempt()]
					if a == nil {
						t.Fatalf("got %v, want nothing after the outcome is acknowledged", packed)
					}
					for _, report := range p.unpack(packed) {
						if report.Epoch != a.seen+1 {
							t.Fatalf("got epoch %d of attempt %d, want %d", report.Epoch, packed.GetAttempt(), a.seen+1)
						}
						a.seen++
					}
				}
				if outcome := request.GetOutcome(); outcome != nil {
					a := attempts[outcome.GetAttempt()]
					if a.seen != epochs {
						t.Fatalf("got outcome after epoch %d", a.seen)
					}
					if random.IntN(2) == 0 {
						p.acknowledgeOutcome(outcome.GetAttempt())
						delete(attempts, outcome.GetAttempt())
					}
				}
				for number, a := range attempts {
					if random.IntN(3) == 0 {
						a.acknowledged += random.IntN(a.seen - a.acknowledged + 1)
						p.acknowledge(number, a.acknowledged)
					}
				}
			}
			synctest.Wait()
			h.leave()
			time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
			h.comeBack()
			p = h.session()
			sessions++
			var standing []uint64
			for _, number := range p.hello.GetAttempts() {
				if attempts[number] == nil {
					t.Fatalf("hello names attempt %d, whose outcome is acknowledged", number)
				}
				attempts[number].seen = attempts[number].acknowledged
				standing = append(standing, number)
			}
			if len(standing) != len(attempts) {
				t.Fatalf("hello names attempts %v, want %d", standing, len(attempts))
			}
			p.welcome(standing...)
		}
		t.Logf("%d sessions", sessions)
	})
}

func TestStaleAttempts(t *testing.T) {
	inBubble(t, nil, func(h *harness) {
		p := h.connect()
		p.assign(synthetic(1, "a", 100))
		p.assign(synthetic(2, "b", 6))
		time.Sleep(2500 * time.Millisecond)
		h.leave()
		h.comeBack()
		p = h.session()
		if !slices.Equal(p.hello.GetAttempts(), []uint64{1, 2}) {
			t.Errorf("hello names attempts %v, want 1 and 2", p.hello.GetAttempts())
		}
		p.welcome(2)
		synctest.Wait()
		if n := h.running.Load(); n != 1 {
			t.Errorf("%d runs in training, want 1", n)
		}
		p.reports(2, 1, 6)
		p.outcome(2)
		p.acknowledgeOutcome(2)
		p.quiet(time.Minute)
	})
}

func TestCoordinatorAway(t *testing.T) {
	away := func(h *harness, _ *Config) { h.away = true }
	inBubble(t, away, func(h *harness) {
		time.Sleep(10 * time.Minute)
		dials := h.dialTimes()
		// From 0.1 s, growing by 1.6, to 5 s, each up to 40% shorter or longer.
		low, high := 100*time.Millisecond, 100*time.Millisecond
		for i := 1; i < len(dials); i++ {
			pause := dials[i] - dials[i-1]
			if pause < low*6/10 || pause > high*14/10+time.Millisecond {
				t.Errorf("pause %d is %v, want about %v", i, pause, low)
			}
			low, high = min(low*16/10, 5*time.Second), min(high*16/10, 5*time.Second)
		}
		if len(dials) < 100 || len(dials) > 200 {
			t.Errorf("%d tries in 10 minutes", len(dials))
		}
		const message = "can't reach the coordinator; will retry"
		if n := h.count(message); n != 1 || !strings.Contains(h.logs.String(), "connection refused") {
			t.Errorf("the log tells %d times that the coordinator is not there, want once and why:\n%s", n, h.logs)
		}
		h.comeBack()
		start := time.Now()
		p := h.connect()
		if took := time.Since(start); took > 7*time.Second {
			t.Errorf("the worker found the coordinator after %v", took)
		}
		p.assign(synthetic(1, "run", 1))
		p.reports(1, 1, 1)
		if n := h.count("connected"); n != 0 && n != 1 {
			t.Errorf("the log tells %d times that the worker is connected, want once:\n%s", n, h.logs)
		}
	})
}

// Errors that pass: the worker tries again, at growing intervals, and says so once.
func TestSessionsThatFail(t *testing.T) {
	for _, test := range []struct {
		name string
		fail func(p *peer)
		// takes is how long a session lasts.
		takes time.Duration
	}{
		{"unavailable", func(p *peer) { p.end <- status.Error(codes.Unavailable, "not the leader") }, 0},
		{"aborted", func(p *peer) { p.end <- status.Error(codes.Aborted, "replaced") }, 0},
		{"internal", func(p *peer) { p.end <- status.Error(codes.Internal, "oops") }, 0},
		{"ended", func(p *peer) { p.end <- nil }, 0},
		{"no welcome", func(*peer) {}, welcomeTimeout},
		{"assignment before welcome", func(p *peer) { p.assign(synthetic(1, "run", 1)) }, 0},
		{"welcome without heartbeat", func(p *peer) { p.welcomeAs(&trellisv1.Welcome{}) }, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, nil, func(h *harness) {
				last := time.Now()
				for i := range 20 {
					test.fail(h.session())
					pause := time.Since(last) - test.takes
					if i == 0 {
						pause = time.Since(last)
					}
					last = time.Now()
					if want := retryDelayMean(i); pause < want*59/100 || pause > want*141/100 {
						t.Errorf("pause %d is %v, want about %v", i, pause, want)
					}
				}
				if n := h.running.Load(); n != 0 {
					t.Errorf("%d runs in training", n)
				}
				if n := h.count("can't reach the coordinator; will retry"); n != 1 {
					t.Errorf("the log tells %d times that the coordinator is not there, want once:\n%s", n, h.logs)
				}
				p := h.connect()
				p.assign(synthetic(1, "run", 1))
				p.reports(1, 1, 1)
			})
		})
	}
}

// retryDelayMean is retryDelay without its jitter, computed the slow way.
func retryDelayMean(failures int) time.Duration {
	if failures == 0 {
		return 0
	}
	delay := 100 * time.Millisecond
	for ; failures > 1; failures-- {
		delay = min(delay*16/10, 5*time.Second)
	}
	return delay
}

func TestRetryDelay(t *testing.T) {
	for failures := range 30 {
		mean := retryDelayMean(failures)
		low, high := 2*mean, time.Duration(0)
		for range 1000 {
			delay := retryDelay(failures)
			low, high = min(low, delay), max(high, delay)
		}
		if low < mean*59/100 || high > mean*141/100 || failures > 0 && (low > mean*65/100 || high < mean*135/100) {
			t.Errorf("after %d failures, the delays lie between %v and %v, want %v less or more 40%%", failures, low, high, mean)
		}
	}
}

// A coordinator that welcomes workers and then fails is not called again at once for ever.
func TestSessionsThatFailAfterWelcome(t *testing.T) {
	inBubble(t, nil, func(h *harness) {
		start := time.Now()
		for range 20 {
			p := h.connect()
			p.welcome() // a second one
		}
		if took := time.Since(start); took < 30*time.Second {
			t.Errorf("20 sessions within %v", took)
		}
		p := h.session()
		p.welcomeAs(&trellisv1.Welcome{HeartbeatMilliseconds: 1000})
		p.next()
		p.end <- status.Error(codes.Unavailable, "restarting")
		start = time.Now()
		h.session()
		if took := time.Since(start); took > 140*time.Millisecond {
			t.Errorf("a session after a good one took %v", took)
		}
		// That it was good does not count for ever.
		h.coordinator.refuse.Store(true)
		h.leave()
		h.comeBack()
		time.Sleep(time.Minute)
		if n := h.coordinator.refused.Load(); n < 10 || n > 30 {
			t.Errorf("%d tries in a minute", n)
		}
	})
}

func TestRefused(t *testing.T) {
	for _, code := range []codes.Code{
		codes.FailedPrecondition, codes.InvalidArgument, codes.Unauthenticated, codes.PermissionDenied, codes.Unimplemented,
	} {
		t.Run(code.String(), func(t *testing.T) {
			inBubble(t, nil, func(h *harness) {
				h.session().end <- status.Error(code, "speaks version 1, want version 2")
				err := h.returned()
				want := "work for coordinator at coordinator:7070: the coordinator refuses this worker: " +
					"speaks version 1, want version 2"
				if !errors.Is(err, ErrRefused) || err.Error() != want {
					t.Errorf("Run returned %q, want %q", err, want)
				}
			})
		})
	}
}

// A worker that was known and is not any more says so, once, and not that there is no coordinator.
func TestDeniedLater(t *testing.T) {
	inBubble(t, nil, func(h *harness) {
		p := h.connect()
		for range 3 {
			p.end <- status.Error(codes.Unauthenticated, "unknown token")
			p = h.session()
		}
		want := "the coordinator refuses this worker's certificate: replace its file; trying again"
		if n := strings.Count(h.logs.String(), want); n != 1 || strings.Contains(h.logs.String(), "reach") {
			t.Errorf("logged %d times that the worker is refused:\n%s", n, h.logs)
		}
		other := &Worker{config: Config{Credentials: dial.Credentials{TokenFile: "worker.token"}}}
		want = "the coordinator refuses this worker's token: put another into worker.token"
		if got := other.denial(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestReason(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
		want string
	}{
		{"plain", errNoWelcome, "no welcome within 10s"},
		{"status", status.Error(codes.Unavailable, "not the leader"), "not the leader"},
		{"dial", status.Error(codes.Unavailable, `connection error: desc = "transport: Error while dialing: `+
			`dial tcp 127.0.0.1:1: connect: connection refused"`), "dial tcp 127.0.0.1:1: connect: connection refused"},
		{
			"wrapped", fmt.Errorf("fetch: %w", status.Error(codes.Unavailable, "gone")),
			"fetch: gone",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := reason(test.err); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
