package worker

import (
	"context"
	"fmt"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
)

// trainings notes where each training began.
func trainings(epochs *[]int) func(*harness, *Config) {
	return func(_ *harness, c *Config) {
		train := c.train
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
			return train(ctx, c, report)
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
			if !reflect.DeepEqual(got[i], want[i]) {
				t.Errorf("report of the resumed run is %+v, want %+v", got[i], want[i])
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
	at := func(epochs int) position { return positionAt(t, 1, epochs) }

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
		p.keep(synthetic(1, "run", 10), at(3))
		if got := p.take(synthetic(2, "run", 10)); got.epoch() != 3 {
			t.Errorf("got epoch %d, want 3", got.epoch())
		}
		if got := p.take(synthetic(3, "run", 10)); got.epoch() != 0 {
			t.Errorf("got epoch %d the second time, want the beginning", got.epoch())
		}
	})
	t.Run("other milestones", func(t *testing.T) {
		var p positions
		p.keep(synthetic(1, "run", 10), at(3))
		other := synthetic(2, "run", 10)
		other.Config.Milestones = []uint32{2, 10}
		if got := p.take(other); got.checkpoint != nil || got.epoch() != 0 {
			t.Errorf("got epoch %d, want the beginning", got.epoch())
		}
	})
	t.Run("other study", func(t *testing.T) {
		var p positions
		p.keep(synthetic(1, "run", 10), at(3))
		other := synthetic(2, "run", 10)
		other.Study = "other"
		if got := p.take(other); got.epoch() != 3 {
			t.Errorf("got epoch %d, want 3", got.epoch())
		}
	})
	t.Run("checkpoint further on", func(t *testing.T) {
		for _, test := range []struct{ checkpoint, epochs, want int }{{2, 2, 3}, {3, 3, 3}, {4, 4, 0}, {0, 9, 3}} {
			var p positions
			p.keep(synthetic(1, "run", 10), at(3))
			a := synthetic(2, "run", 10)
			a.Checkpoint, a.Epochs = &trellisv1.Checkpoint{Epoch: uint32(test.checkpoint)}, uint32(test.epochs)
			if got := p.take(a); got.epoch() != test.want {
				t.Errorf("checkpoint of epoch %d: got epoch %d, want %d", test.checkpoint, got.epoch(), test.want)
			}
		}
	})
	// A position whose training began with another worker's checkpoint lacks the reports before.
	t.Run("reports missing", func(t *testing.T) {
		for _, test := range []struct{ first, epochs, want int }{{4, 3, 6}, {4, 9, 6}, {4, 2, 0}, {4, 0, 0}, {7, 6, 6}, {7, 5, 0}} {
			var p positions
			p.keep(synthetic(1, "run", 10), positionAt(t, test.first, 6))
			a := synthetic(2, "run", 10)
			a.Epochs = uint32(test.epochs)
			if got := p.take(a); got.epoch() != test.want {
				t.Errorf("reports from epoch %d, %d epochs recorded: got epoch %d, want %d", test.first, test.epochs, got.epoch(),
					test.want)
			}
		}
	})
	t.Run("replaced", func(t *testing.T) {
		var p positions
		p.keep(synthetic(1, "run", 10), at(3))
		p.keep(synthetic(2, "run", 10), at(5))
		if got := p.take(synthetic(3, "run", 10)); got.epoch() != 5 || len(p.kept) != 0 {
			t.Errorf("got epoch %d and %d others, want 5 and none", got.epoch(), len(p.kept))
		}
	})
	t.Run("bounded", func(t *testing.T) {
		var p positions
		for i := range maxPositions + 3 {
			p.keep(synthetic(1, fmt.Sprint(i), 10), at(3))
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

// positionAt is a position after some epochs, of which those from the first on were trained here.
func positionAt(t *testing.T, first, epochs int) position {
	t.Helper()
	var p position
	config := TrainerConfig(synthetic(1, "run", epochs).Config)
	config.EpochTime = 0
	config.Checkpoint = func(c *trainer.Checkpoint) error { p.checkpoint = c.Clone(); return nil }
	_, err := trainer.Train(t.Context(), config, func(r trainer.Report) error {
		if r.Epoch >= first {
			p.reports = append(p.reports, r)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A run that is to be compared is trained from the start, whatever the worker has kept of an earlier attempt.
func TestFromStart(t *testing.T) {
	for _, fromStart := range []bool{false, true} {
		kept := &positions{}
		a := synthetic(1, "run", 10)
		at := position{checkpoint: new(trainer.Checkpoint), reports: make([]trainer.Report, 0)}
		kept.keep(a, at)
		again := synthetic(2, "run", 10)
		again.FromStart = fromStart
		if found := kept.take(again); (found.checkpoint == nil) != fromStart {
			t.Errorf("from the start: %v, goes on from %v", fromStart, found)
		}
	}
}
