package worker

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
)

// trainings notes where each training began.
func trainings(epochs *[]int) func(*harness, *Config) {
	return func(_ *harness, c *Config) {
		c.train = func(ctx context.Context, c trainer.Config, report func(trainer.Report) error) (trainer.Result, error) {
			begin := 1
			if c.Resume != nil {
				begin = c.Resume.Epoch() + 1
			}
			*epochs = append(*epochs, begin)
			// A checkpoint is valid until the callback returns.
			keep := c.Checkpoint
			c.Checkpoint = func(checkpoint *trainer.Checkpoint) error {
				defer func() { *checkpoint = trainer.Checkpoint{} }()
				return keep(checkpoint)
			}
			return trainer.Train(ctx, c, report)
		}
	}
}

// A run that comes back goes on where it was, and looks as if it had been trained from the beginning.
func TestResume(t *testing.T) {
	var began []int
	inBubble(t, trainings(&began), func(h *harness) {
		p := h.connect()
		assign := func(attempt uint64) {
			a := synthetic(attempt, "run", 10)
			a.Config.Milestones = []uint32{2, 10}
			p.assign(a)
		}
		assign(1)
		want := p.reports(1, 1, 10)
		p.outcome(1)
		p.acknowledgeOutcome(1)
		// Interrupted in the fifth epoch, and again in the eighth. Of the first reports, some are acknowledged: for the
		// attempts to come, that means nothing.
		assign(2)
		p.reports(2, 1, 4)
		p.acknowledge(2, 3)
		time.Sleep(500 * time.Millisecond)
		p.stop(2)
		synctest.Wait()
		assign(3)
		p.reports(3, 1, 4)
		p.acknowledge(3, 4)
		p.reports(3, 5, 7)
		p.acknowledge(3, 7)
		time.Sleep(500 * time.Millisecond)
		p.stop(3)
		synctest.Wait()
		assign(4)
		got := p.reports(4, 1, 10)
		p.outcome(4)
		for i := range want {
			w := proto.CloneOf(want[i])
			w.Attempt = 4
			if !proto.Equal(got[i], w) {
				t.Errorf("report of the resumed run is %v, want %v", got[i], w)
			}
		}
		if g, w := fmt.Sprint(began), "[1 1 5 8]"; g != w {
			t.Errorf("trainings began at epochs %s, want %s", g, w)
		}
	})
}

// An attempt that never got a slot does not lose what an earlier one reached.
func TestResumeAfterWaiting(t *testing.T) {
	var began []int
	configure := func(h *harness, c *Config) {
		c.Slots = 1
		trainings(&began)(h, c)
	}
	inBubble(t, configure, func(h *harness) {
		p := h.connect()
		p.assign(synthetic(1, "run", 10))
		p.reports(1, 1, 4)
		p.stop(1)
		synctest.Wait()
		p.assign(synthetic(2, "other", 1))
		synctest.Wait()
		p.assign(synthetic(3, "run", 10))
		p.reports(3, 1, 4)
		p.stop(3)
		p.reports(2, 1, 1)
		p.outcome(2)
		p.acknowledgeOutcome(2)
		p.assign(synthetic(4, "run", 10))
		p.reports(4, 1, 10)
		if g, w := fmt.Sprint(began), "[1 1 5]"; g != w {
			t.Errorf("trainings began at epochs %s, want %s", g, w)
		}
	})
}

func TestPositions(t *testing.T) {
	at := func(attempt uint64, epochs int) position {
		p := position{checkpoint: &trainer.Checkpoint{}}
		for epoch := range epochs {
			p.reports = append(p.reports, &trellisv1.Report{Attempt: attempt, Epoch: uint32(epoch + 1)})
		}
		return p
	}

	t.Run("unknown run", func(t *testing.T) {
		var p positions
		if got := p.take(synthetic(1, "run", 10)); got.checkpoint != nil || got.epoch() != 0 {
			t.Errorf("got epoch %d, want the beginning", got.epoch())
		}
	})
	t.Run("nothing trained", func(t *testing.T) {
		var p positions
		p.keep(synthetic(1, "run", 10), position{})
		if len(p.kept) > 0 {
			t.Error("the beginning is kept")
		}
	})
	t.Run("taken once", func(t *testing.T) {
		var p positions
		p.keep(synthetic(1, "run", 10), at(1, 3))
		if got := p.take(synthetic(2, "run", 10)); got.epoch() != 3 {
			t.Errorf("got epoch %d, want 3", got.epoch())
		}
		if got := p.take(synthetic(3, "run", 10)); got.epoch() != 0 {
			t.Errorf("got epoch %d the second time, want the beginning", got.epoch())
		}
	})
	t.Run("other milestones", func(t *testing.T) {
		var p positions
		p.keep(synthetic(1, "run", 10), at(1, 3))
		other := synthetic(2, "run", 10)
		other.Config.Milestones = []uint32{2, 10}
		if got := p.take(other); got.checkpoint != nil || got.epoch() != 0 {
			t.Errorf("got epoch %d, want the beginning", got.epoch())
		}
	})
	t.Run("other study", func(t *testing.T) {
		var p positions
		kept := at(1, 3)
		p.keep(synthetic(1, "run", 10), kept)
		other := synthetic(2, "run", 10)
		other.Study = "other"
		got := p.take(other)
		for i, report := range got.reports {
			if report.GetStudy() != "other" || report.GetAttempt() != 2 || report.GetEpoch() != uint32(i+1) {
				t.Errorf("report %d is %v, want the new attempt's", i, report)
			}
			if kept.reports[i].GetAttempt() != 1 {
				t.Error("a report that may still be sent was changed")
			}
		}
		if len(got.reports) != 3 {
			t.Errorf("got %d reports, want 3", len(got.reports))
		}
	})
	t.Run("replaced", func(t *testing.T) {
		var p positions
		p.keep(synthetic(1, "run", 10), at(1, 3))
		p.keep(synthetic(2, "run", 10), at(2, 5))
		if got := p.take(synthetic(3, "run", 10)); got.epoch() != 5 || len(p.kept) != 0 {
			t.Errorf("got epoch %d and %d others, want 5 and none", got.epoch(), len(p.kept))
		}
	})
	t.Run("bounded", func(t *testing.T) {
		var p positions
		for i := range maxPositions + 3 {
			p.keep(synthetic(1, fmt.Sprint(i), 10), at(1, 3))
		}
		if len(p.kept) != maxPositions {
			t.Errorf("%d are kept, want %d", len(p.kept), maxPositions)
		}
		for i := range maxPositions + 3 {
			got, want := p.take(synthetic(2, fmt.Sprint(i), 10)).epoch(), 3
			if i < 3 {
				want = 0
			}
			if got != want {
				t.Errorf("run %d: got epoch %d, want %d", i, got, want)
			}
		}
	})
}
