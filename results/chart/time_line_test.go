//go:build !race

package chart

import (
	"math"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// TestTimeLine compares bars with the attempts that there were.
func TestTimeLine(tb *testing.T) {
	rapid.Check(tb, func(t *rapid.T) {
		d := draw(t, drawSpec(t))
		got, err := TimeLine(d.Snapshot(), &trellisv1.GetTimeLineRequest{Study: "s"})
		ok(t, err)
		study, err := d.Snapshot().Study(nil, "s")
		ok(t, err)
		shown, ends := map[uint64]bool{}, map[[2]uint32]*trellisv1.GetTimeLineResponse_Bar{}
		for _, bar := range got.Bars {
			its, there := d.given[bar.Attempt]
			if !there || its.run != bar.Run || its.worker != got.Workers[bar.Worker] || bar.Attempts != 1 ||
				!bar.From.AsTime().Equal(timeOf(its.began).AsTime()) {
				t.Fatalf("bar %v of %s, want %+v", bar, got.Workers[bar.Worker], its)
			}
			shown[bar.Attempt] = true
			slot := [2]uint32{bar.Worker, bar.Slot}
			before := ends[slot]
			if before != nil && (before.To == nil || before.To.AsTime().After(bar.From.AsTime())) {
				t.Fatalf("bar %v overlaps %v", bar, before)
			}
			ends[slot] = bar
			d.checkEnd(bar, its, len(study.Refuted) > 0)
		}
		for number, its := range d.given {
			// Audits and disagreements end, and are forgotten, when the program turns out not to be deterministic.
			if (its.ended == 0 || its.failed) && !shown[number] && len(study.Refuted) == 0 {
				t.Fatalf("attempt %d, %+v, has no bar", number, its)
			}
		}
		for _, trial := range d.done("") {
			if run, err := d.Snapshot().Run(nil, "s", trial.Run); err != nil || run.State != lifecycle.RunSucceeded {
				continue
			}
			if !slices.ContainsFunc(got.Bars, func(b *trellisv1.GetTimeLineResponse_Bar) bool {
				return b.Run == trial.Run && b.End == trellisv1.AttemptEnd_ATTEMPT_END_SUCCEEDED
			}) {
				t.Fatalf("run %s has no bar of its end: %v", trial.Run, got.Bars)
			}
		}
	})
}

// checkEnd compares how a bar ends with what became of its attempt. Of a refuted program, what ended audits and
// disagreements is forgotten.
func (d *drawn) checkEnd(bar *trellisv1.GetTimeLineResponse_Bar, its given, refuted bool) {
	held, failed := bar.End == trellisv1.AttemptEnd_ATTEMPT_END_HELD, bar.End == trellisv1.AttemptEnd_ATTEMPT_END_FAILED
	if refuted && (its.failed && !failed || its.ended == 0 && !held) {
		return
	}
	if held != (its.ended == 0) || failed != its.failed || held != (bar.To == nil) || failed != (bar.Failed == 1) ||
		bar.Epochs > its.epochs {
		d.Fatalf("bar %v, want %+v", bar, its)
	}
	if bar.To == nil {
		return
	}
	to := bar.To.AsTime()
	run, err := d.Snapshot().Run(nil, "s", bar.Run)
	ok(d, err)
	// What changes a run after its end makes the bar longer.
	ended := timeOf(its.ended).AsTime()
	if !bar.Estimated && (to.Before(ended) || run.ModifyIndex == its.ended && !to.Equal(ended)) {
		d.Fatalf("bar %v ends at %v, want %v", bar, to, ended)
	}
	if took := to.Sub(bar.From.AsTime()).Seconds(); bar.Estimated && took > float64(its.epochs)/4 {
		d.Fatalf("bar %v takes %v seconds for %d epochs", bar, took, its.epochs)
	}
}

// TestWindows: a window has the bars that reach into it, and bars that are put together keep their number and their
// time.
func TestWindows(tb *testing.T) {
	rapid.Check(tb, func(t *rapid.T) {
		d := draw(t, drawSpec(t))
		all, err := TimeLine(d.Snapshot(), &trellisv1.GetTimeLineRequest{Study: "s"})
		ok(t, err)
		from := rapid.Uint64Range(1, d.index+1).Draw(t, "from")
		to := from + rapid.Uint64Range(1, 30).Draw(t, "length")
		window := &trellisv1.GetTimeLineRequest{Study: "s", From: timeOf(from), To: timeOf(to)}
		part, err := TimeLine(d.Snapshot(), window)
		ok(t, err)
		var want, got []uint64
		for _, bar := range all.Bars {
			ends := bar.To != nil && bar.To.AsTime().Before(timeOf(from).AsTime())
			if !ends && !bar.From.AsTime().After(timeOf(to).AsTime()) {
				want = append(want, bar.Attempt)
			}
		}
		for _, bar := range part.Bars {
			got = append(got, bar.Attempt)
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("between %d and %d: %v, want %v of %v", from, to, got, want, all.Bars)
		}
		few := rapid.Uint32Range(1, 12).Draw(t, "bars")
		joined, err := TimeLine(d.Snapshot(), &trellisv1.GetTimeLineRequest{Study: "s", Bars: few})
		ok(t, err)
		if len(joined.Bars) > int(few) {
			t.Fatalf("%d bars, wanted %d", len(joined.Bars), few)
		}
		if len(joined.Workers) < int(joined.WorkersTotal) || len(joined.Bars) == int(few) {
			return // There may have been no room for all.
		}
		sum := func(of *trellisv1.GetTimeLineResponse) (attempts, failed uint32, seconds float64) {
			for _, bar := range of.Bars {
				attempts, failed, seconds = attempts+bar.Attempts, failed+bar.Failed, seconds+bar.Seconds
			}
			return attempts, failed, seconds
		}
		a, b, c := sum(joined)
		x, y, z := sum(all)
		if a != x || b != y || math.Abs(c-z) > 1e-6 {
			t.Fatalf("%d attempts, %d failed, %v seconds; before they were put together %d, %d, %v", a, b, c, x, y, z)
		}
	})
}

// An attempt that diverged has reported an epoch more than the run has, and has ended it all the same.
func TestDivergedAttemptHasEndedTheRun(t *testing.T) {
	attempts := attemptsOf(&trellisv1.Run{
		State: lifecycle.RunSucceeded, Epochs: 11, StopReason: trellisv1.StopReason_STOP_REASON_DIVERGED,
		Trainings: []*trellisv1.Training{
			{Attempt: 1, Worker: "a", Until: 5}, {Attempt: 2, Worker: "b", After: 5, Until: 12},
		},
	}, nil)
	if len(attempts) != 2 || attempts[0].end != trellisv1.AttemptEnd_ATTEMPT_END_RETURNED ||
		attempts[1].end != trellisv1.AttemptEnd_ATTEMPT_END_SUCCEEDED {
		t.Errorf("got %v", attempts)
	}
}

// An attempt that has trained a run to its end has done so, whatever the study is extended by later.
func TestExtensionLeavesEndsOfAttempts(t *testing.T) {
	const (
		held, succeeded = trellisv1.AttemptEnd_ATTEMPT_END_HELD, trellisv1.AttemptEnd_ATTEMPT_END_SUCCEEDED
		returned        = trellisv1.AttemptEnd_ATTEMPT_END_RETURNED
		audited         = trellisv1.AttemptEnd_ATTEMPT_END_AUDITED
	)
	s := newLengthened(t)
	s.grant(held)
	s.train(1, 1, false, returned)
	s.grant(returned, held)
	s.train(1, 2, true, returned, succeeded)
	s.grant(returned, succeeded, held) // The audit.
	s.train(1, 2, true, returned, succeeded, audited)
	s.extend(4, returned, succeeded, audited)
	s.grant(returned, succeeded, audited, held)
	s.train(3, 3, false, returned, succeeded, audited, returned)
	s.grant(returned, succeeded, audited, returned, held)
	s.train(4, 4, true, returned, succeeded, audited, returned, succeeded)
	s.extend(5, returned, succeeded, audited, returned, succeeded)
}

// lengthened is a study of one run, which is extended by more epochs.
type lengthened struct {
	*testing.T
	*results.Store
	index, attempt uint64
	run            string
}

func newLengthened(t *testing.T) *lengthened {
	store, err := results.New()
	ok(t, err)
	s := &lengthened{T: t, Store: store}
	spec := &trellisv1.StudySpec{
		Name: "s", Program: &trellisv1.Program{Command: []string{"x"}, Prefix: true, Deterministic: true},
		Objective: &trellisv1.Objective{Metric: "x", Direction: trellisv1.Direction_DIRECTION_MINIMIZE}, Audit: 1,
		Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
			"lr": trellisv1.AxisOf(0.1), "max_epochs": trellisv1.AxisOf(2),
		}}},
	}
	ok(t, store.CreateStudy(s.next(), timeOf(s.index), &trellisv1.Study{Name: "s", Numerics: "1", Spec: spec}))
	ok(t, store.SetWorker(s.next(), timeOf(s.index), trajectory.LatestRules, &trellisv1.Worker{
		Name: "w", State: trellisv1.WorkerState_WORKER_STATE_READY, Slots: 1, Machine: "m",
	}))
	return s
}

func (s *lengthened) next() uint64 {
	s.index++
	return s.index
}

// check compares how the attempts of the time line ended, in the order in which they began.
func (s *lengthened) check(want []trellisv1.AttemptEnd) {
	s.Helper()
	line, err := TimeLine(s.Snapshot(), &trellisv1.GetTimeLineRequest{Study: "s"})
	ok(s, err)
	var got []trellisv1.AttemptEnd
	for _, bar := range line.Bars {
		got = append(got, bar.End)
	}
	if !slices.Equal(got, want) {
		s.Fatalf("attempts ended as %v, want %v", got, want)
	}
}

// grant gives the run to the worker.
func (s *lengthened) grant(want ...trellisv1.AttemptEnd) {
	s.Helper()
	runs, err := s.Snapshot().NextRuns(nil, 1)
	ok(s, err)
	if len(runs) == 0 {
		s.Fatal("there is no run to train")
	}
	s.run = runs[0].Id
	s.attempt = results.AttemptNumber(s.next(), 0)
	for _, err := range s.Grant(s.index, timeOf(s.index), []*trellisv1.Grant{{Study: "s", Run: s.run, Worker: "w"}}) {
		ok(s, err)
	}
	s.check(want)
}

// train reports epochs, and ends the attempt: with the run, or by handing it back.
func (s *lengthened) train(first, last uint32, ends bool, want ...trellisv1.AttemptEnd) {
	s.Helper()
	outcome := &trellisv1.Outcome{Study: "s", Run: s.run, Attempt: s.attempt}
	outcome.Result = &trellisv1.Outcome_Return_{Return: &trellisv1.Outcome_Return{}}
	if ends {
		outcome.Result = &trellisv1.Outcome_Success_{Success: &trellisv1.Outcome_Success{
			Epochs: last, StopReason: trellisv1.StopReason_STOP_REASON_MAX_EPOCHS,
		}}
	}
	for _, err := range s.Record(s.next(), timeOf(s.index), trajectory.LatestRules, []*trellisv1.RecordCommand_Entry{
		{Entry: &trellisv1.RecordCommand_Entry_Reports{Reports: &trellisv1.Reports{
			Study: "s", Run: s.run, Attempt: s.attempt, FirstEpoch: first, Epochs: last - first + 1,
			Metrics: map[string]*trellisv1.Series{"x": {Values: make([]float64, last-first+1)}},
			Seconds: make([]float64, last-first+1),
		}}},
		{Entry: &trellisv1.RecordCommand_Entry_Outcome{Outcome: outcome}},
	}) {
		ok(s, err)
	}
	s.check(want)
}

// extend adds trials that are longer than those that there are.
func (s *lengthened) extend(epochs int64, want ...trellisv1.AttemptEnd) {
	s.Helper()
	study, err := s.Snapshot().Study(nil, "s")
	ok(s, err)
	spec := proto.CloneOf(study.Spec)
	axis := spec.Grid[0].Axes["max_epochs"]
	axis.Integers = append(axis.Integers, epochs)
	_, err = s.ExtendStudy(s.next(), timeOf(s.index), "s", results.Extension{
		Indices: study.Indices, Spec: spec, KeepDifference: true, Indexed: true,
	})
	ok(s, err)
	s.check(want)
}
