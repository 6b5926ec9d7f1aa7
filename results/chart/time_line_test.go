//go:build !race

package chart

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
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
			if before := ends[slot]; before != nil && (before.To == nil || before.To.AsTime().After(bar.From.AsTime())) {
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

// checkEnd compares how a bar ends with what became of its attempt. Of a refuted program, what ended audits and disagreements is
// forgotten.
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
		part, err := TimeLine(d.Snapshot(), &trellisv1.GetTimeLineRequest{Study: "s", From: timeOf(from), To: timeOf(to)})
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
		Trainings: []*trellisv1.Training{{Attempt: 1, Worker: "a", Until: 5}, {Attempt: 2, Worker: "b", After: 5, Until: 12}},
	})
	if len(attempts) != 2 || attempts[0].end != trellisv1.AttemptEnd_ATTEMPT_END_RETURNED ||
		attempts[1].end != trellisv1.AttemptEnd_ATTEMPT_END_SUCCEEDED {
		t.Errorf("got %v", attempts)
	}
}
