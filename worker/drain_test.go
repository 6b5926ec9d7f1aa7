package worker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
)

func (p *peer) drain() {
	p.Helper()
	if request := p.next(); request.GetDrain() == nil {
		p.Fatalf("got %v, want drain", request)
	}
}

func (p *peer) goodbye() {
	p.Helper()
	if request := p.next(); request.GetGoodbye() == nil {
		p.Fatalf("got %v, want goodbye", request)
	}
}

func (p *peer) handedBack(attempt uint64) {
	p.Helper()
	if outcome := p.outcome(attempt); outcome.GetReturn() == nil {
		p.Fatalf("got %v, want attempt %d handed back", outcome, attempt)
	}
}

func TestDrain(t *testing.T) {
	inBubble(t, nil, func(h *harness) {
		p := h.connect()
		p.assign(synthetic(1, "a", 100))
		time.Sleep(100 * time.Millisecond)
		p.assign(synthetic(2, "b", 2))
		p.reports(1, 1, 1)
		p.reports(2, 1, 1)
		p.reports(1, 2, 2)
		p.reports(2, 2, 2)
		p.outcome(2) // trained to its end: no reason to hand it back
		synctest.Wait()
		h.worker.Drain()
		h.worker.Drain()
		p.drain()
		synctest.Wait()
		if n := h.running.Load(); n != 0 {
			t.Errorf("%d runs in training after drain", n)
		}
		p.handedBack(1)
		// It takes nothing more.
		p.assign(synthetic(3, "c", 100))
		p.handedBack(3)
		p.acknowledge(1, 2)
		p.acknowledgeOutcome(1)
		p.acknowledgeOutcome(2)
		p.quiet(10 * time.Minute) // not before all is acknowledged
		p.acknowledgeOutcome(3)
		p.goodbye()
		start := time.Now()
		if err := h.returned(); err != nil {
			t.Errorf("Run returned %v", err)
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("Run returned %v after goodbye", took)
		}
	})
}

// A drain goes on after a lost stream: with the reports first that are still owed.
func TestDrainWithLostStream(t *testing.T) {
	inBubble(t, nil, func(h *harness) {
		p := h.connect()
		p.assign(synthetic(1, "a", 100))
		p.reports(1, 1, 3)
		p.acknowledge(1, 1)
		synctest.Wait()
		h.worker.Drain()
		synctest.Wait()
		h.leave()
		time.Sleep(testLease / 2)
		h.comeBack()
		p = h.session()
		if !p.hello.GetDraining() || len(p.hello.GetAttempts()) != 1 {
			t.Errorf("hello is %v, want draining with one attempt", p.hello)
		}
		p.welcome(1)
		p.reports(1, 2, 3)
		p.handedBack(1)
		time.Sleep(2 * testLease)
		p.acknowledgeOutcome(1)
		p.goodbye()
		if err := h.returned(); err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
}

// A coordinator that does not come back can't keep the worker for ever: by then it gives the runs to others.
func TestDrainWithoutCoordinator(t *testing.T) {
	for _, test := range []struct {
		name string
		// leaveFirst says that the coordinator leaves before the drain begins.
		leaveFirst bool
		// refuse says that it is there, but takes no session.
		refuse bool
	}{{"gone before", true, false}, {"gone meanwhile", false, false}, {"not ready", false, true}} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, nil, func(h *harness) {
				p := h.connect()
				p.assign(synthetic(1, "a", 100))
				p.reports(1, 1, 3)
				if test.leaveFirst {
					h.leave()
					time.Sleep(time.Minute)
				}
				h.worker.Drain()
				synctest.Wait()
				h.leave()
				start := time.Now()
				if test.refuse {
					h.comeBack()
					h.coordinator.refuse.Store(true)
				}
				if err := h.returned(); !errors.Is(err, ErrNotHandedBack) {
					t.Errorf("Run returned %v, want ErrNotHandedBack", err)
				}
				if took := time.Since(start); took != testLease {
					t.Errorf("Run waited %v, want the lease of %v", took, testLease)
				}
			})
		})
	}
}

// Who holds nothing may leave.
func TestDrainOfIdleWorker(t *testing.T) {
	for _, test := range []struct {
		name  string
		reach func(h *harness)
	}{
		{"coordinator was never there", func(h *harness) { h.leave(); time.Sleep(time.Minute) }},
		{"coordinator has left", func(h *harness) { h.connect(); h.leave(); time.Sleep(time.Minute) }},
		{"before welcome", func(h *harness) { h.session() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, nil, func(h *harness) {
				test.reach(h)
				h.worker.Drain()
				start := time.Now()
				if err := h.returned(); err != nil {
					t.Errorf("Run returned %v", err)
				}
				if took := time.Since(start); took > 0 {
					t.Errorf("Run took %v to return", took)
				}
			})
		})
	}
}

// The coordinator may be too busy to end the session.
func TestGoodbyeWithoutAnswer(t *testing.T) {
	inBubble(t, nil, func(h *harness) {
		p := h.connect()
		synctest.Wait()
		h.worker.Drain()
		p.drain()
		// Goodbye is received by nobody.
		start := time.Now()
		if err := h.returned(); err != nil {
			t.Errorf("Run returned %v", err)
		}
		if took := time.Since(start); took != goodbyeTimeout {
			t.Errorf("Run returned after %v, want %v", took, goodbyeTimeout)
		}
	})
}

// A run that reaches its end at the moment of the drain is not handed back. One that was interrupted is, whatever error
// the trainer made of that.
func TestDrainMeetsEnd(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
	}{{"success", nil}, {"interrupted", errors.New("report epoch 3: context canceled")}} {
		t.Run(test.name, func(t *testing.T) {
			atEnd := func(_ *harness, c *Config) {
				c.train = func(
					ctx context.Context, _ trainer.Config, _ func(trainer.Report) error,
				) (trainer.Result, error) {
					<-ctx.Done()
					return trainer.Result{StopReason: trainer.MaxEpochs, Epochs: 3}, test.err
				}
			}
			inBubble(t, atEnd, func(h *harness) {
				p := h.connect()
				p.assign(synthetic(1, "a", 3))
				synctest.Wait()
				h.worker.Drain()
				p.drain()
				outcome := p.outcome(1)
				if got := outcome.GetSuccess() != nil; got != (test.err == nil) || outcome.GetFailure() != nil {
					t.Errorf("outcome is %v", outcome)
				}
				p.acknowledgeOutcome(1)
				p.goodbye()
				if err := h.returned(); err != nil {
					t.Errorf("Run returned %v", err)
				}
			})
		})
	}
}

// A stopped attempt is no longer the worker's to hand back.
func TestDrainAfterStop(t *testing.T) {
	inBubble(t, nil, func(h *harness) {
		p := h.connect()
		p.assign(synthetic(1, "a", 100))
		p.reports(1, 1, 1)
		p.stop(1)
		synctest.Wait()
		h.worker.Drain()
		p.drain()
		p.goodbye()
		if err := h.returned(); err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
}

// A drain ends in time, also if a coordinator that is there does not acknowledge what was handed back.
func TestDrainTimeout(t *testing.T) {
	const limit = 20 * time.Second
	limited := func(_ *harness, c *Config) { c.DrainTimeout = limit }
	inBubble(t, limited, func(h *harness) {
		p := h.connect()
		p.assign(synthetic(1, "a", 100))
		p.reports(1, 1, 1)
		synctest.Wait()
		start := time.Now()
		h.worker.Drain()
		p.drain()
		p.handedBack(1)
		if err := h.returned(); !errors.Is(err, ErrDrainTimeout) {
			t.Errorf("Run returned %v, want ErrDrainTimeout", err)
		}
		if took := time.Since(start); took != limit {
			t.Errorf("it took %v, want %v", took, limit)
		}
	})
}

// A program may end when a drain has no time left for its checkpoint. Without a coordinator the drain then waits for
// its end, and does not spin: by the clock of these tests, it would spin forever.
func TestNoTimeForACheckpoint(t *testing.T) {
	limited := func(_ *harness, c *Config) { c.DrainTimeout = 20 * time.Second }
	inBubble(t, limited, func(h *harness) {
		p := h.session()
		p.welcomeWithCheckpoints(time.Hour)
		synctest.Wait()
		ctx, give := context.WithCancel(context.Background()) // The bubble's.
		defer give()
		a := newAttempt(ctx, synthetic(1, "run", 1), position{})
		a.uploads.open(h.worker, a)
		h.leave()
		synctest.Wait()
		upload := encoded{checkpoint: &trellisv1.Checkpoint{Epoch: 1}, content: []byte("x")}
		if err := a.uploads.enqueue(a.ctx, upload); err != nil {
			t.Fatal(err)
		}
		h.worker.Drain()
		time.Sleep(19 * time.Second)
		start := time.Now()
		time.AfterFunc(5*time.Second, a.end)
		a.uploads.finish()
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("it waited %v, want 5s", took)
		}
	})
}

// Programs are killed in time for the upload of their last checkpoints, as far as it is known how long that takes.
func TestProgramsEndInTimeForTheirCheckpoints(t *testing.T) {
	for _, test := range []struct{ limit, longest, want time.Duration }{
		{0, time.Second, 0},
		{20 * time.Second, 0, 16 * time.Second},
		{20 * time.Second, 3 * time.Second, 12 * time.Second},
		{20 * time.Second, time.Minute, 4500 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := &Worker{config: Config{DrainTimeout: test.limit}, drain: make(chan struct{})}
			a := newAttempt(t.Context(), &trellisv1.Assignment{}, position{})
			defer a.end()
			a.uploads.longest.Store(int64(test.longest))
			hurry, settled := w.hurry(a)
			time.Sleep(time.Hour)
			if hurry.Err() != nil {
				t.Errorf("%v: before the drain", test)
			}
			start := time.Now()
			w.Drain()
			select {
			case <-hurry.Done():
			case <-time.After(time.Hour):
				start = time.Now()
			}
			if took := time.Since(start); took != test.want {
				t.Errorf("%v: %v", test, took)
			}
			settled()
			w.goroutines.Wait()
		})
	}
}

// A worker leaves when it has held no run for long enough, and says whether that was for want of runs.
func TestExitWhenIdle(t *testing.T) {
	const patience = 10 * time.Minute
	idle := func(_ *harness, c *Config) { c.ExitWhenIdle = patience }
	for _, test := range []struct {
		name string
		// work returns since when the worker has nothing to do.
		work func(h *harness) time.Time
		want error
	}{
		{"never had one", func(h *harness) time.Time {
			start := time.Now()
			p := h.connect()
			time.Sleep(patience)
			p.drain()
			p.goodbye()
			return start
		}, nil},
		{"after the last", func(h *harness) time.Time {
			p := h.connect()
			time.Sleep(patience - time.Second)
			p.assign(synthetic(1, "a", 2))
			p.reports(1, 1, 2)
			p.outcome(1)
			time.Sleep(2 * patience) // It holds the run as long as its outcome is not acknowledged.
			start := time.Now()
			p.acknowledge(1, 2)
			p.acknowledgeOutcome(1)
			time.Sleep(patience)
			p.drain()
			p.goodbye()
			return start
		}, nil},
		{"given one after its goodbye", func(h *harness) time.Time {
			start := time.Now()
			p := h.connect()
			time.Sleep(patience)
			p.drain()
			synctest.Wait() // The goodbye is under way.
			p.assign(synthetic(1, "a", 2))
			synctest.Wait()
			p.goodbye() // Whoever hears this gives the run to another worker.
			return start
		}, ErrHandedBack},
		{"coordinator was never there", func(h *harness) time.Time { h.leave(); return time.Now() }, ErrCutOff},
		{"coordinator has left", func(h *harness) time.Time {
			h.connect()
			time.Sleep(patience - time.Second)
			h.leave()
			return time.Now()
		}, ErrCutOff},
		{"coordinator has just come back", func(h *harness) time.Time {
			h.leave()
			time.Sleep(patience - 10*time.Second)
			h.comeBack()
			p := h.connect()
			start := time.Now()
			time.Sleep(patience)
			p.drain()
			p.goodbye()
			return start
		}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, idle, func(h *harness) {
				start := test.work(h)
				if err := h.returned(); !errors.Is(err, test.want) {
					t.Errorf("Run returned %v, want %v", err, test.want)
				}
				if took := time.Since(start); took < patience || took > patience+goodbyeTimeout {
					t.Errorf("it left after %v, want %v", took, patience)
				}
			})
		})
	}
}

// heldStream says nothing after a drain until it is released.
type heldStream struct {
	grpc.ClientStream
	release <-chan struct{}
}

func (s heldStream) SendMsg(message any) error {
	err := s.ClientStream.SendMsg(message)
	if request, ok := message.(*trellisv1.SessionRequest); ok && request.GetDrain() != nil {
		select {
		case <-s.release:
		case <-s.Context().Done():
		}
	}
	return err
}

// A run may also come after the worker has begun to leave and before its goodbye. The worker hands it back itself.
func TestExitWhenIdleMeetsARun(t *testing.T) {
	const patience = 10 * time.Minute
	var release chan struct{}
	configure := func(_ *harness, c *Config) {
		release = make(chan struct{})
		c.ExitWhenIdle = patience
		c.DialOptions = append(c.DialOptions, grpc.WithStreamInterceptor(func(ctx context.Context,
			description *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer,
			options ...grpc.CallOption,
		) (grpc.ClientStream, error) {
			stream, err := open(ctx, description, conn, method, options...)
			return heldStream{stream, release}, err
		}))
	}
	inBubble(t, configure, func(h *harness) {
		p := h.connect()
		time.Sleep(patience)
		p.drain()
		p.assign(synthetic(1, "a", 2))
		synctest.Wait()
		close(release)
		p.handedBack(1)
		p.acknowledgeOutcome(1)
		p.goodbye()
		if err := h.returned(); !errors.Is(err, ErrHandedBack) {
			t.Errorf("Run returned %v, want %v", err, ErrHandedBack)
		}
	})
}
