package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
)

func TestAttempt(t *testing.T) {
	inBubble(t, nil, func(h *harness) {
		p := h.session()
		want := &trellisv1.Hello{
			Protocol: trellisv1.SessionProtocol, Numerics: trainer.NumericsVersion, Worker: h.worker.Name(), Slots: 2,
			Version: "1.2.3", Processor: processor(), Machine: machine(), Key: h.worker.key,
			Capacity: h.worker.config.capacity(context.Background()),
		}
		if !proto.Equal(p.hello, want) {
			t.Errorf("hello is %v, want %v", p.hello, want)
		}
		p.welcome()
		assignment := synthetic(7, "run", 3)
		p.assign(assignment)
		start := time.Now()
		for epoch := 1; epoch <= 3; epoch++ {
			report := p.reports(7, epoch, epoch)[0]
			if elapsed := time.Since(start); elapsed != time.Duration(epoch)*time.Second {
				t.Errorf("report of epoch %d came after %v", epoch, elapsed)
			}
			if report.Elapsed != time.Second || report.TrainLoss <= 0 || report.ValidationLoss <= 0 ||
				(report.TestLoss != nil) != (epoch == 3) {
				t.Errorf("report of epoch %d is %+v", epoch, report)
			}
		}
		outcome := p.outcome(7)
		wantOutcome := &trellisv1.Outcome{
			Study: "study", Run: "run", Attempt: 7,
			Result: &trellisv1.Outcome_Success_{Success: &trellisv1.Outcome_Success{
				StopReason: trellisv1.StopReason_STOP_REASON_MAX_EPOCHS, Epochs: 3,
			}},
		}
		if !proto.Equal(outcome, wantOutcome) {
			t.Errorf("outcome is %v, want %v", outcome, wantOutcome)
		}
		p.acknowledge(7, 3)
		p.acknowledgeOutcome(7)
		p.quiet(time.Minute)
		h.leave()
		h.comeBack()
		if p = h.connect(); len(p.hello.GetAttempts()) > 0 {
			t.Errorf("hello names attempts %v after their outcome is acknowledged", p.hello.GetAttempts())
		}
		p.quiet(time.Minute)
	})
}

func TestOutcomes(t *testing.T) {
	type trainFunc = func(context.Context, trainer.Config) (trainer.Result, error)
	ends := func(reason trainer.StopReason) trainFunc {
		return func(context.Context, trainer.Config) (trainer.Result, error) {
			return trainer.Result{StopReason: reason, Epochs: 4}, nil
		}
	}
	fails := func(message string) trainFunc {
		return func(context.Context, trainer.Config) (trainer.Result, error) {
			return trainer.Result{}, errors.New(message)
		}
	}
	for _, test := range []struct {
		name  string
		train trainFunc
		alter func(*trellisv1.RunConfig)
		// success is the reason of one, failure is in the message of one.
		success trellisv1.StopReason
		failure string
		// class is the failure's. Default: the trainer's.
		class trellisv1.FailureClass
		// length is the message's, if it matters.
		length int
	}{
		{name: "max epochs", train: ends(trainer.MaxEpochs), success: trellisv1.StopReason_STOP_REASON_MAX_EPOCHS},
		{
			name: "early stopping", train: ends(trainer.EarlyStopped),
			success: trellisv1.StopReason_STOP_REASON_EARLY_STOPPING,
		},
		{name: "diverged", train: ends(trainer.Diverged), success: trellisv1.StopReason_STOP_REASON_DIVERGED},
		{name: "error", train: fails("no such layer"), failure: "no such layer"},
		{name: "long error", train: fails(strings.Repeat("é", 5000)), failure: "éé", length: maxMessage + len("...")},
		{name: "error that is not UTF-8", train: fails("bad \xff byte"), failure: "bad \uFFFD byte"},
		{
			name: "panic", train: func(context.Context, trainer.Config) (trainer.Result, error) { panic("shape mismatch") },
			failure: "trainer panicked: shape mismatch",
		},
		{name: "canceled by itself", train: fails(context.Canceled.Error()), failure: "context canceled"},
		{
			name: "other arithmetic", train: ends(trainer.MaxEpochs),
			alter: func(c *trellisv1.RunConfig) { c.Numerics = "0" }, failure: `version "0" of the arithmetic`,
		},
		{
			name: "no configuration", train: ends(trainer.MaxEpochs),
			alter: func(c *trellisv1.RunConfig) { proto.Reset(c) }, failure: `version "" of the arithmetic`,
		},
		{
			name: "invalid configuration", alter: func(c *trellisv1.RunConfig) { c.Parameters.Values["latent_dim"] = trellisv1.IntegerValue(0) },
			failure: "latent dimension is 0", class: trellisv1.FailureClass_FAILURE_CLASS_INPUT,
		},
		{
			name: "disk", train: func(context.Context, trainer.Config) (trainer.Result, error) {
				return trainer.Result{}, fmt.Errorf("load: %w", &fs.PathError{Op: "read", Path: "file", Err: syscall.EIO})
			},
			failure: "load: read file: input/output error", class: trellisv1.FailureClass_FAILURE_CLASS_WORKER,
		},
		{
			name: "unknown model", alter: func(c *trellisv1.RunConfig) { c.Model = "transformer" },
			failure: `does not know the model "transformer"`, class: trellisv1.FailureClass_FAILURE_CLASS_WORKER,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			configure := func(_ *harness, c *Config) {
				if test.train != nil {
					c.train = func(ctx context.Context, c trainer.Config, _ func(trainer.Report) error) (trainer.Result, error) {
						return test.train(ctx, c)
					}
				}
			}
			inBubble(t, configure, func(h *harness) {
				p := h.connect()
				// The worker is as well after a failure as before.
				for attempt := uint64(1); attempt <= 3; attempt++ {
					assignment := synthetic(attempt, "run", 4)
					if test.alter != nil {
						test.alter(assignment.Config)
					}
					p.assign(assignment)
					outcome := p.outcome(attempt)
					p.acknowledgeOutcome(attempt)
					if test.failure == "" {
						if s := outcome.GetSuccess(); s.GetStopReason() != test.success || s.GetEpochs() != 4 {
							t.Errorf("outcome is %v, want success by %v", outcome, test.success)
						}
						continue
					}
					failure := outcome.GetFailure()
					if failure.GetClass() != cmp.Or(test.class, trellisv1.FailureClass_FAILURE_CLASS_TRAINER) || failure.GetAttempt() != attempt ||
						failure.GetWorker() != h.worker.Name() || !strings.Contains(failure.GetMessage(), test.failure) {
						t.Errorf("outcome is %v, want a failure with %q", outcome, test.failure)
					}
					if n := len(failure.GetMessage()); test.length > 0 && n != test.length {
						t.Errorf("message has %d bytes, want %d", n, test.length)
					}
				}
			})
		})
	}
}

func TestTrainerConfig(t *testing.T) {
	got := TrainerConfig(&trellisv1.RunConfig{
		Model:         "conv-autoencoder",
		Parameters:    &trellisv1.Parameters{MaxEpochs: 30, Seed: 5, Values: trellisv1.ValuesOf(map[string]any{"latent_dim": 8, "learning_rate": 0.01, "weight_decay": 0.1, "batch_size": 64})},
		EarlyStopping: &trellisv1.EarlyStopping{Patience: 3, MinDelta: 0.5},
		Milestones:    []uint32{10, 30},
	})
	want := trainer.Config{
		Model: "conv-autoencoder", LatentDim: 8, LearningRate: 0.01, WeightDecay: 0.1, MaxEpochs: 30, Seed: 5, BatchSize: 64,
		EarlyStopping: trainer.EarlyStopping{Patience: 3, MinDelta: 0.5}, Milestones: []int{10, 30},
	}
	if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
		t.Errorf("got %s\nwant %s", g, w)
	}
}

func TestHeartbeat(t *testing.T) {
	inBubble(t, nil, func(h *harness) {
		p := h.session()
		p.deaf.Store(true)
		p.welcomeAs(&trellisv1.Welcome{HeartbeatMilliseconds: 1500, LeaseMilliseconds: 6000})
		start := time.Now()
		next := func() *trellisv1.Heartbeat {
			for {
				if request := p.next(); request.GetReports() == nil {
					return request.GetHeartbeat()
				}
			}
		}
		for i := 1; i <= 3; i++ {
			heartbeat := next()
			if heartbeat == nil || len(heartbeat.GetAttempts()) > 0 {
				t.Errorf("got %v, want a heartbeat without attempts", heartbeat)
			}
			// It holds nothing, so every fifth one is enough.
			if at := time.Since(start); at != time.Duration(i)*7500*time.Millisecond {
				t.Errorf("heartbeat %d came after %v", i, at)
			}
		}
		p.assign(synthetic(1, "a", 100))
		assigned := time.Now()
		if heartbeat := next(); len(heartbeat.GetAttempts()) != 1 || !time.Now().Equal(assigned) {
			t.Errorf("%v after its first assignment it sends %v, want a heartbeat at once", time.Since(assigned), heartbeat)
		}
		p.assign(synthetic(2, "b", 100))
		var last uint64
		for range 3 {
			attempts := next().GetAttempts()
			if len(attempts) != 2 || attempts[0].GetAttempt() != 1 || attempts[1].GetAttempt() != 2 {
				t.Fatalf("heartbeat names %v, want attempts 1 and 2", attempts)
			}
			// The synthetic model makes three steps in an epoch, that is in a second.
			if steps := attempts[0].GetSteps(); steps < last+3 || steps > last+6 {
				t.Errorf("attempt has made %d steps, after %d 1.5 s before", steps, last)
			}
			last = attempts[0].GetSteps()
		}
	})
}

func TestStop(t *testing.T) {
	inBubble(t, nil, func(h *harness) {
		p := h.connect()
		p.assign(synthetic(1, "run", 100))
		p.reports(1, 1, 3)
		p.stop(1)
		p.stop(1) // unknown by now
		p.stop(99)
		synctest.Wait()
		if n := h.running.Load(); n != 0 {
			t.Errorf("%d runs go on after they have been stopped", n)
		}
		p.quiet(time.Minute)
		h.leave()
		h.comeBack()
		if p = h.session(); len(p.hello.GetAttempts()) > 0 {
			t.Errorf("hello names attempts %v, which have been stopped", p.hello.GetAttempts())
		}
	})
}

// A slot is taken until the training has really ended, however early the coordinator thinks that it is free.
func TestSlots(t *testing.T) {
	stubborn := func(_ *harness, c *Config) {
		c.train = func(ctx context.Context, c trainer.Config, _ func(trainer.Report) error) (trainer.Result, error) {
			<-ctx.Done()
			time.Sleep(3 * time.Second)
			return trainer.Result{}, ctx.Err()
		}
	}
	inBubble(t, stubborn, func(h *harness) {
		p := h.connect()
		attempt := uint64(0)
		for range 10 {
			for range 4 {
				attempt++
				p.assign(synthetic(attempt, fmt.Sprint(attempt), 1))
			}
			synctest.Wait()
			if n := h.running.Load(); n != 2 && attempt == 4 {
				t.Errorf("%d runs in training, want 2", n)
			}
			for a := attempt - 3; a <= attempt; a++ {
				p.stop(a)
			}
		}
		p.assign(synthetic(attempt+1, "last", 1))
		synctest.Wait()
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if n := h.running.Load(); n != 1 {
			t.Errorf("%d runs in training after all but one have been stopped", n)
		}
		if n := h.most.Load(); n != 2 {
			t.Errorf("at most %d runs were in training at once, want 2", n)
		}
	})
}

func TestDuplicateAssignment(t *testing.T) {
	inBubble(t, nil, func(h *harness) {
		p := h.connect()
		p.assign(synthetic(1, "run", 3))
		p.assign(synthetic(1, "run", 3))
		p.reports(1, 1, 3)
		p.outcome(1)
		p.quiet(time.Minute)
	})
}

// A stream that takes nothing holds up no training.
func TestStreamThatDoesNotMove(t *testing.T) {
	// Far more than a stream holds: of the 24 bytes and more of a report, a message's and twice the window's.
	const epochs = 5 * maxBatch
	inBubble(t, nil, func(h *harness) {
		p := h.connect()
		assignment := synthetic(1, "run", epochs)
		assignment.Config.Synthetic.EpochTime = nil
		p.assign(assignment)
		synctest.Wait()
		if n := h.running.Load(); n != 0 {
			t.Fatal("the training waits for the stream")
		}
		// While the first ones were under way the others piled up: of these comes as much as may be under way, in batches. How
		// many come in the first round, and in which batches, depends on how fast the training was.
		for epoch, rounds := 0, 0; epoch < epochs; rounds++ {
			bytes, largest, left := 0, 0, epochs-epoch
			for epoch < epochs {
				request := p.waiting()
				if request == nil {
					break
				}
				batch := request.GetReports()
				if len(batch.GetReports()) != 1 {
					t.Fatalf("got %v, want reports of one attempt", request)
				}
				bytes += proto.Size(batch)
				largest = max(largest, proto.Size(batch))
				for _, report := range p.unpack(batch.GetReports()[0]) {
					if epoch++; report.Epoch != epoch {
						t.Fatalf("got epoch %d, want %d", report.Epoch, epoch)
					}
				}
			}
			// A batch is a half of what waits, or a half of that, and so on, so that it fits.
			if least := unacknowledgedBytes / 2; rounds > 0 && left*24 > 2*unacknowledgedBytes && largest < least {
				t.Errorf("round %d: the largest of the batches has %d bytes, want %d or more", rounds, largest, least)
			}
			if left == epochs-epoch {
				t.Fatalf("round %d: no report after %d epochs are acknowledged", rounds, epoch)
			}
			p.acknowledge(1, epoch)
		}
		p.outcome(1)
	})
}

func TestCancel(t *testing.T) {
	cause := errors.New("second signal")
	for _, test := range []struct {
		name  string
		reach func(h *harness)
	}{
		{"while connecting", func(h *harness) { h.leave() }},
		{"before welcome", func(h *harness) { h.session() }},
		{"while training", func(h *harness) {
			p := h.connect()
			p.assign(synthetic(1, "a", 100))
			p.reports(1, 1, 2)
		}},
		{"while draining", func(h *harness) {
			p := h.connect()
			p.assign(synthetic(1, "a", 100))
			p.reports(1, 1, 2)
			h.worker.Drain()
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, nil, func(h *harness) {
				test.reach(h)
				synctest.Wait()
				start := time.Now()
				h.stop(cause)
				if err := h.returned(); !errors.Is(err, cause) {
					t.Errorf("Run returned %v, want the cause", err)
				}
				if took := time.Since(start); took > 0 {
					t.Errorf("Run took %v to return", took)
				}
			})
		})
	}
}

// TestTrainerConfigHasAllParameters: another value of any parameter is another configuration.
func TestTrainerConfigHasAllParameters(t *testing.T) {
	none := TrainerConfig(&trellisv1.RunConfig{Parameters: new(trellisv1.Parameters)})
	parameters := map[string]*trellisv1.Parameters{"max_epochs": {MaxEpochs: 3}, "seed": {Seed: 3}}
	for _, model := range trainer.Models() {
		for _, axis := range model.Axes {
			parameters[axis.Name] = &trellisv1.Parameters{Values: trellisv1.ValuesOf(map[string]any{axis.Name: 3})}
		}
	}
	for name, p := range parameters {
		if reflect.DeepEqual(TrainerConfig(&trellisv1.RunConfig{Parameters: p}), none) {
			t.Errorf("%s is not passed on", name)
		}
	}
}
