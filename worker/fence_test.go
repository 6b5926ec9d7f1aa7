package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
	"trellis/trainer/network"
)

// testPatience is how long a worker of the tests trains on without its coordinator.
const testPatience = testLease * 4 / 5

// A worker without its coordinator stops when the lease is about to run out, and goes on when it is welcomed: as if
// nothing had happened, under the same attempt.
func TestSuspend(t *testing.T) {
	var began []int
	inBubble(t, both(&began), func(h *harness) {
		data := serveImages(h, network.Side, network.Side)
		p := h.connect()
		p.assign(data.networkAssignment(1, "run", 60))
		want := p.reports(1, 1, 60)
		p.outcome(1)
		p.acknowledgeOutcome(1)

		p.assign(data.networkAssignment(2, "run", 60))
		got := p.reports(2, 1, 3)
		p.acknowledge(2, 2)
		time.Sleep(500 * time.Millisecond)
		h.leave()
		// The lease was renewed up to a second before.
		time.Sleep(testPatience - time.Second)
		if n := h.running.Load(); n != 1 {
			t.Errorf("%d runs in training without the coordinator, want 1", n)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := h.running.Load(); n != 0 {
			t.Errorf("%d runs in training after %v without the coordinator, want none", n, testPatience)
		}
		time.Sleep(time.Hour)
		h.comeBack()
		p = h.session()
		if !slices.Equal(p.hello.GetAttempts(), []uint64{2}) {
			t.Errorf("hello names attempts %v, want 2", p.hello.GetAttempts())
		}
		if n := h.running.Load(); n != 0 {
			t.Errorf("%d runs in training before the welcome, want none", n)
		}
		p.welcome(2)
		got = append(got[:2], p.reports(2, 3, 60)...)
		p.outcome(2)
		if !slices.EqualFunc(got, want, sameLosses) {
			t.Errorf("losses differ: %+v, want %+v", got, want)
		}
		// 3.5 s less what has passed since the lease was last renewed, and the patience, are over in the middle of an
		// epoch, which is trained again.
		if last := int(testPatience/time.Second) + 2; !slices.Equal(began, []int{1, 1, last + 1}) {
			t.Errorf("trainings began at epochs %v, want 1, 1 and %d", began, last+1)
		}
		const message = "training is suspended until the coordinator confirms the attempts"
		if n := h.count(message); n != 1 {
			t.Errorf("the log tells %d times of it, want once:\n%s", n, h.logs)
		}
	})
}

// A worker whose heartbeats no longer arrive stops before its lease ends, though nobody has told it that the connection is
// gone: the lease began when it sent the last heartbeat that arrived.
func TestSilentCoordinatorSuspends(t *testing.T) {
	var began []int
	inBubble(t, both(&began), func(h *harness) {
		const beat = testLease / 5
		data := serveImages(h, network.Side, network.Side)
		p := h.session()
		p.deaf.Store(true)
		p.welcomeAs(&trellisv1.Welcome{
			HeartbeatMilliseconds: uint32(beat.Milliseconds()), LeaseMilliseconds: uint32(testLease.Milliseconds()),
		})
		p.assign(data.networkAssignment(1, "run", 200))
		first := p
		var lost atomic.Bool
		var last atomic.Pointer[time.Time]
		go func() {
			for {
				var request *trellisv1.SessionRequest
				select {
				case request = <-first.requests:
				case <-first.stream.Context().Done():
					return
				}
				if heartbeat := request.GetHeartbeat(); heartbeat != nil && !lost.Load() {
					now := time.Now()
					last.Store(&now)
					time.Sleep(beat / 2) // The answer takes its time.
					_ = first.renew(&trellisv1.LeaseRenewal{Heartbeat: heartbeat.GetNumber()})
				}
			}
		}()
		time.Sleep(2*testLease + beat/4)
		if n := h.running.Load(); n != 1 {
			t.Fatalf("%d runs in training with a lease that is renewed, want 1", n)
		}
		lost.Store(true)
		time.Sleep(time.Until(last.Load().Add(testPatience - time.Millisecond)))
		if n := h.running.Load(); n != 1 {
			t.Errorf("%d runs in training before the patience is over, want 1", n)
		}
		time.Sleep(time.Until(last.Load().Add(testLease)))
		synctest.Wait()
		if n := h.running.Load(); n != 0 {
			t.Errorf("%d runs in training %v after the last heartbeat that arrived, want none", n, testLease)
		}
		p = h.session()
		if !slices.Equal(p.hello.GetAttempts(), []uint64{1}) {
			t.Errorf("hello names attempts %v, want 1", p.hello.GetAttempts())
		}
		p.welcome(1)
		synctest.Wait()
		if n := h.running.Load(); n != 1 {
			t.Errorf("%d runs in training after the welcome, want 1", n)
		}
	})
}

// Who is back in time has nothing to fear later.
func TestShortLossSuspendsNothing(t *testing.T) {
	inBubble(t, nil, func(h *harness) {
		p := h.connect()
		p.assign(synthetic(1, "run", 100))
		p.reports(1, 1, 3)
		h.leave()
		time.Sleep(testPatience / 2)
		h.comeBack()
		p = h.connect(1)
		p.reports(1, 1, 100)
		if n := h.count("training is suspended until the coordinator confirms the attempts"); n != 0 {
			t.Errorf("the training was suspended:\n%s", h.logs)
		}
	})
}

// An epoch that was reported, but whose checkpoint was not taken before the training was suspended, is not reported again.
func TestSuspendWhileCheckpointWaits(t *testing.T) {
	var began []int
	inBubble(t, both(&began), func(h *harness) {
		h.coordinator.artifacts.uploading = func(_ int, stream trellisv1.ArtifactService_UploadArtifactServer) error {
			return sleep(stream.Context(), stallTimeout-time.Second)
		}
		p := h.session()
		p.welcomeWithCheckpoints(time.Hour)
		assignment := serveImages(h, network.Side, network.Side).networkAssignment(1, "run", maxUploads+5)
		for epoch := range uint32(maxUploads + 4) {
			assignment.Config.Milestones = append(assignment.Config.Milestones, epoch+1)
		}
		p.assign(assignment)
		p.reports(1, 1, maxUploads+2)
		h.leave()
		time.Sleep(time.Hour)
		h.comeBack()
		p = h.session()
		p.welcomeWithCheckpoints(time.Hour, 1)
		p.reports(1, 1, maxUploads+2)
		text, _, _ := p.exchange(1)
		if next := fmt.Sprintf("r%d", maxUploads+3); strings.Count(text, "r") != 3 || !strings.Contains(text, next) {
			t.Errorf("got %s, want reports from epoch %s on, each once", text, next)
		}
		if want := []int{1, maxUploads + 2}; !slices.Equal(began, want) {
			t.Errorf("trainings began at epochs %v, want %v", began, want)
		}
	})
}

// A checkpoint that could not be had at first may be there when training that was suspended in its first epoch goes on. What
// was reported of that epoch does not stand before what follows the checkpoint.
func TestSuspendBeforeFirstCheckpoint(t *testing.T) {
	ofEpoch4 := encodedCheckpoint(t, 4)
	var began []int
	configure := func(h *harness, c *Config) {
		trainings(&began)(h, c)
		train, calls := c.train, 0
		c.train = func(ctx context.Context, c trainer.Config, report func(trainer.Report) error) (trainer.Result, error) {
			if calls++; calls == 1 {
				// Interrupted between a report and its checkpoint.
				c.Checkpoint = func(*trainer.Checkpoint) error {
					<-ctx.Done()
					return ctx.Err()
				}
			}
			return train(ctx, c, report)
		}
	}
	inBubble(t, configure, func(h *harness) {
		store := h.coordinator.artifacts
		store.downloading = func(call int, _ trellisv1.ArtifactService_DownloadArtifactServer) error {
			if call == 1 {
				return status.Error(codes.PermissionDenied, "not yet")
			}
			return nil
		}
		p := h.connect()
		a := synthetic(1, "run", 6)
		a.Epochs = 4
		a.Checkpoint = &trellisv1.Checkpoint{Epoch: 4, Sha256: store.put(ofEpoch4), Size: uint64(len(ofEpoch4))}
		p.assign(a)
		p.reports(1, 1, 1)
		h.leave()
		time.Sleep(testPatience + time.Second)
		h.comeBack()
		p = h.connect(1)
		p.reports(1, 5, 6)
		if outcome := p.outcome(1); outcome.GetSuccess().GetEpochs() != 6 {
			t.Errorf("outcome is %v, want success", outcome)
		}
	})
}

// Those that wait for a slot are suspended too, and a suspended run that has become another's is remembered.
func TestSuspendedAttemptIsDropped(t *testing.T) {
	var began []int
	configure := func(h *harness, c *Config) {
		c.Slots = 1
		trainings(&began)(h, c)
	}
	inBubble(t, configure, func(h *harness) {
		p := h.connect()
		p.assign(synthetic(1, "a", 100))
		synctest.Wait()
		p.assign(synthetic(2, "b", 3))
		p.reports(1, 1, 2)
		time.Sleep(500 * time.Millisecond)
		h.leave()
		time.Sleep(10 * time.Minute)
		h.comeBack()
		p = h.session()
		if !slices.Equal(p.hello.GetAttempts(), []uint64{1, 2}) {
			t.Errorf("hello names attempts %v, want 1 and 2", p.hello.GetAttempts())
		}
		p.welcome(2)
		p.reports(2, 1, 3)
		p.outcome(2)
		p.acknowledgeOutcome(2)
		p.quiet(time.Minute)
		p.assign(synthetic(3, "a", 100))
		// The lease was last renewed half a second before the coordinator left.
		trained := int(testPatience/time.Second) + 1
		p.reports(3, 1, trained)
		p.reports(3, trained+1, trained+1)
		if want := []int{1, 1, trained + 1}; !slices.Equal(began, want) {
			t.Errorf("trainings began at epochs %v, want %v", began, want)
		}
	})
}

func TestDrainWhileSuspended(t *testing.T) {
	for _, back := range []bool{true, false} {
		t.Run(fmt.Sprint("coordinator comes back: ", back), func(t *testing.T) {
			inBubble(t, nil, func(h *harness) {
				p := h.connect()
				p.assign(synthetic(1, "a", 100))
				p.reports(1, 1, 2)
				p.acknowledge(1, 2)
				time.Sleep(500 * time.Millisecond)
				h.leave()
				time.Sleep(time.Minute)
				h.worker.Drain()
				synctest.Wait()
				start := time.Now()
				if !back {
					if err := h.returned(); !errors.Is(err, ErrNotHandedBack) || time.Since(start) != testLease {
						t.Errorf("Run returned %v after %v", err, time.Since(start))
					}
					return
				}
				h.comeBack()
				p = h.session()
				p.welcome(1)
				if !p.hello.GetDraining() {
					p.drain() // The session was opened before the drain.
				}
				// The lease was last renewed half a second before the coordinator left.
				p.reports(1, 3, int(testPatience/time.Second)+1)
				p.handedBack(1)
				p.acknowledgeOutcome(1)
				p.goodbye()
				if err := h.returned(); err != nil {
					t.Errorf("Run returned %v", err)
				}
			})
		})
	}
}

// Training that takes its time to stop may be wanted again before it has, and its end counts if it comes to that.
func TestSuspendSlowTraining(t *testing.T) {
	for _, succeeds := range []bool{true, false} {
		t.Run(fmt.Sprint("comes to its end: ", succeeds), func(t *testing.T) {
			trainings := 0
			slow := func(_ *harness, c *Config) {
				c.train = func(ctx context.Context, c trainer.Config, _ func(trainer.Report) error) (trainer.Result, error) {
					if trainings++; trainings == 1 {
						<-ctx.Done()
						time.Sleep(time.Minute)
					}
					if succeeds || trainings == 2 {
						return trainer.Result{StopReason: trainer.MaxEpochs, Epochs: 3}, nil
					}
					return trainer.Result{}, ctx.Err()
				}
			}
			inBubble(t, slow, func(h *harness) {
				p := h.connect()
				p.assign(synthetic(1, "a", 3))
				synctest.Wait()
				h.leave()
				time.Sleep(testPatience + time.Second)
				h.comeBack()
				p = h.session()
				p.welcome(1)
				if outcome := p.outcome(1); outcome.GetSuccess() == nil {
					t.Errorf("outcome is %v", outcome)
				}
				if want := map[bool]int{true: 1, false: 2}[succeeds]; trainings != want {
					t.Errorf("%d trainings, want %d", trainings, want)
				}
			})
		})
	}
}

// A process that has been stopped past its lease and continued notices, without being told. It says nothing more of any
// attempt before the coordinator has said which of them stand.
func TestStoodStill(t *testing.T) {
	var ahead atomic.Int64
	skewed := func(_ *harness, c *Config) {
		c.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	}
	inBubble(t, skewed, func(h *harness) {
		p := h.connect()
		p.assign(synthetic(1, "a", 100))
		time.Sleep(100 * time.Millisecond)
		p.assign(synthetic(2, "b", 100))
		p.reports(1, 1, 1)
		p.reports(2, 1, 1)
		p.acknowledge(1, 1)
		p.acknowledge(2, 1)
		synctest.Wait()
		// For a moment: nothing happens.
		ahead.Add(int64(testPatience / 2))
		p.reports(1, 2, 2)
		p.reports(2, 2, 2)
		// For longer, while an epoch of each ends.
		ahead.Add(int64(testLease))
		select {
		case request := <-p.requests:
			t.Errorf("got %v on the old session", request)
		case <-p.stream.Context().Done():
		}
		p = h.session()
		synctest.Wait()
		if n := h.running.Load(); n != 0 {
			t.Errorf("%d runs in training before the welcome, want none", n)
		}
		p.welcome(2)
		for range 10 {
			for _, reports := range p.next().GetReports().GetReports() {
				if reports.GetAttempt() != 2 {
					t.Errorf("got %v, want reports of attempt 2 only", reports)
				}
			}
		}
		if n := h.count("training is suspended until the coordinator confirms the attempts"); n != 1 {
			t.Errorf("the log tells %d times of it, want once:\n%s", n, h.logs)
		}
	})
}

// A worker that holds nothing sends few heartbeats, and none is answered. When it gets a run, it says at once that it
// lives, and trains on for its patience although the last heartbeat that arrived is old.
func TestIdleWorkersBeatRarely(t *testing.T) {
	var began []int
	inBubble(t, both(&began), func(h *harness) {
		const beat = testLease / 5
		data := serveImages(h, network.Side, network.Side)
		p := h.session()
		p.deaf.Store(true)
		p.welcomeAs(&trellisv1.Welcome{
			HeartbeatMilliseconds: uint32(beat.Milliseconds()), LeaseMilliseconds: uint32(testLease.Milliseconds()),
		})
		heartbeats := make(chan time.Time, 100)
		go func() {
			for {
				select {
				case request := <-p.requests:
					if request.GetHeartbeat() != nil {
						heartbeats <- time.Now()
					}
				case <-p.stream.Context().Done():
					return
				}
			}
		}()
		time.Sleep(10*beat + time.Millisecond)
		if n := len(heartbeats); n != 2 {
			t.Errorf("an idle worker has sent %d heartbeats in %v, want 2", n, 10*beat)
		}
		for len(heartbeats) > 0 {
			<-heartbeats
		}
		assigned := time.Now()
		p.assign(data.networkAssignment(1, "run", 200))
		synctest.Wait()
		if len(heartbeats) != 1 || (<-heartbeats).After(assigned) {
			t.Error("the worker does not say at once that it lives")
		}
		time.Sleep(testPatience - beat)
		if n := h.running.Load(); n != 1 {
			t.Errorf("%d runs in training within the patience after the first assignment, want 1", n)
		}
		if n := len(heartbeats); n < 2 {
			t.Errorf("a worker that trains has sent %d heartbeats in %v", n, testPatience-beat)
		}
		time.Sleep(testLease - testPatience + beat)
		synctest.Wait()
		if n := h.running.Load(); n != 0 {
			t.Errorf("%d runs in training a lease after the assignment with nothing confirmed, want none", n)
		}
	})
}
