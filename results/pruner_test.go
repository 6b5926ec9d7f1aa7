package results

import (
	"cmp"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// TestPruningModel checks the store against the model where mostly stages end: with a replica that is restored now and
// then, with lost workers, and with studies that are paused.
func TestPruningModel(t *testing.T) {
	skipShort(t)
	drawFew(t)
	pruned := 0
	rapid.Check(t, func(rt *rapid.T) {
		m := newStoreMachine(t)
		m.create(rt)
		m.apply(rt, &trellisv1.Worker{Name: "w", State: lifecycle.WorkerReady, Slots: 3})
		m.grant(rt)
		rt.Repeat(map[string]func(*rapid.T){
			"":        m.check,
			"create":  m.create,
			"study":   m.setStudy,
			"worker":  m.setWorker,
			"grant":   m.grantNext,
			"grant 2": m.grantNext,
			"stage":   m.endStageNext,
			"stage 2": m.endStageNext,
			"stage 3": m.endStageNext,
			"success": m.succeedNext,
			"lose":    m.loseHolder,
			"restore": m.restore,
			"refill":  m.recordAndGrant,
		})
		for _, run := range m.model.allRuns() {
			if run.state == lifecycle.RunPruned {
				pruned++
			}
		}
	})
	if pruned == 0 {
		t.Error("no run has been pruned")
	}
}

func ashaOf(minEpochs, factor uint32) *trellisv1.Pruning {
	return &trellisv1.Pruning{Method: &trellisv1.Pruning_Asha{Asha: &trellisv1.SuccessiveHalving{
		MinEpochs: minEpochs, ReductionFactor: factor,
	}}}
}

func medianOf(minEpochs, interval, minRuns uint32) *trellisv1.Pruning {
	return &trellisv1.Pruning{Method: &trellisv1.Pruning_Median{Median: &trellisv1.MedianStopping{
		MinEpochs: minEpochs, Interval: interval, MinRuns: minRuns,
	}}}
}

// flatCurves are runs whose validation loss is the same at all epochs.
func flatCurves(maxEpochs uint32, losses ...float64) (curves []curve) {
	for i, loss := range losses {
		run, trials := testRun(string(rune('a'+i)), 16, uint64(i), maxEpochs)
		curves = append(curves, curve{run, trials, slices.Repeat([]float64{loss}, int(maxEpochs))})
	}
	return curves
}

func checkLog(t *testing.T, got []string, want string) {
	t.Helper()
	if text := strings.Join(got, "\n"); text != strings.TrimSpace(want) {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
}

// TestASHAByHand follows every decision: rungs at 1, 2 and 4 epochs, half of the runs go on.
func TestASHAByHand(t *testing.T) {
	p := newPool(t, &trellisv1.StudySpec{Name: "s", Pruning: ashaOf(1, 2)}, 1, flatCurves(8, .3, .4, .6, .5, .45, .2))
	p.train()
	checkLog(t, p.log, `
a1 pruned
a1 pending, b1 pruned
a2 pruned, b1 pruned
a2 pruned, b1 pruned, c1 pruned
a2 pruned, b1 pending, c1 pruned, d1 pruned
a2 pending, b2 pruned, c1 pruned, d1 pruned
a4 pruned, b2 pruned, c1 pruned, d1 pruned
a4 pruned, b2 pruned, c1 pruned, d1 pruned, e1 pruned
a4 pruned, b2 pruned, c1 pruned, d1 pruned, e1 pruned, f1 pending
a4 pruned, b2 pruned, c1 pruned, d1 pruned, e1 pruned, f2 pending
a4 pruned, b2 pruned, c1 pruned, d1 pruned, e1 pruned, f4 pending
a4 pruned, b2 pruned, c1 pruned, d1 pruned, e1 pruned, f8 succeeded
`)
	study, err := p.store.Snapshot().Study(nil, "s")
	ok(t, err)
	if progress := study.Progress; study.State != lifecycle.StudyCompleted || progress.TrialsPruned != 5 ||
		progress.TrialsSucceeded != 1 ||
		progress.RunsPruned != 5 || progress.EpochsLeft != 0 {
		t.Errorf("the study is %v", study)
	}
}

// TestASHAKeepsTheBest: of two runs, none is among the best third, so both are held; the better one goes on alone.
func TestASHAKeepsTheBest(t *testing.T) {
	p := newPool(t, &trellisv1.StudySpec{Name: "s", Pruning: ashaOf(2, 3)}, 2, flatCurves(8, .3, .2))
	p.train()
	checkLog(t, p.log, `
a2 pruned
a2 pruned, b2 pending
a2 pruned, b6 pending
a2 pruned, b8 succeeded
`)
}

// TestASHAKeepsTheBestThatWorks: where the best run has failed, the next best is trained to its end.
func TestASHAKeepsTheBestThatWorks(t *testing.T) {
	p := newPool(t, &trellisv1.StudySpec{Name: "s", Pruning: ashaOf(2, 3)}, 2, flatCurves(8, .3, .2))
	p.fails = func(run *trellisv1.Run) bool { return run.Id == "b" && run.Epochs == 2 }
	p.train()
	checkLog(t, p.log, `
a2 pruned
a2 pruned, b2 pending
a2 pending, b2 failed
a6 pending, b2 failed
a8 succeeded, b2 failed
`)
}

// TestASHAOfNoNumbers: a loss that is no number ranks last, and runs without any number are nobody's best.
func TestASHAOfNoNumbers(t *testing.T) {
	nan := math.NaN()
	p := newPool(t, &trellisv1.StudySpec{Name: "s", Pruning: ashaOf(1, 2)}, 1,
		flatCurves(2, nan, math.Inf(-1), .5, nan))
	p.train()
	checkLog(t, p.log, `
a1 pruned
a1 pending, b1 pruned
a2 succeeded, b1 pruned
a2 succeeded, b1 pruned, c1 pending
a2 succeeded, b1 pruned, c2 succeeded
a2 succeeded, b1 pruned, c2 succeeded, d1 pruned
`)
	p = newPool(t, &trellisv1.StudySpec{Name: "s", Pruning: ashaOf(1, 3)}, 1, flatCurves(2, nan, nan))
	p.train()
	checkLog(t, p.log, `
a1 pruned
a1 pruned, b1 pruned
`)
	if study, err := p.store.Snapshot().Study(nil, "s"); err != nil || study.State != lifecycle.StudyCompleted {
		t.Errorf("the study is %v, error %v", study, err)
	}
}

// TestASHACountsWhatEnded: a run that early stopping has ended counts at all rungs that it could have come to, with its
// best.
func TestASHACountsWhatEnded(t *testing.T) {
	curves := flatCurves(8, .2, .3, .4)
	curves[0].validation = []float64{.2}
	p := newPool(t, &trellisv1.StudySpec{Name: "s", Pruning: ashaOf(2, 2)}, 1, curves)
	p.train()
	checkLog(t, p.log, `
a1 succeeded
a1 succeeded, b2 pruned
a1 succeeded, b2 pruned, c2 pruned
`)
	// At rung 2, b is the second of two, and neither of the three runs but a is the best one.
	curves = flatCurves(8, .5, .3, .4)
	curves[0].validation = []float64{.5}
	p = newPool(t, &trellisv1.StudySpec{Name: "s", Pruning: ashaOf(2, 2)}, 1, curves)
	p.train()
	checkLog(t, p.log, `
a1 succeeded
a1 succeeded, b2 pending
a1 succeeded, b4 pending
a1 succeeded, b8 succeeded
a1 succeeded, b8 succeeded, c2 pruned
`)
}

// TestMedianByHand: judged after epochs 2 and 4, once two others have come so far.
func TestMedianByHand(t *testing.T) {
	curves := flatCurves(5, .4, .4, .5, .4, .4, .1)
	// On average .45 and lowest .4: at the median of the means of a, b and c, which is .4, it goes on.
	curves[3].validation = []float64{.5, .4, .4, .4, .4}
	// Below the median of .4, .4, .45 and .5 by its lowest loss at first, and above that of .4, .4 and .425 after four
	// epochs.
	curves[4].validation = []float64{.6, .41, .41, .41, .41}
	p := newPool(t, &trellisv1.StudySpec{Name: "s", Pruning: medianOf(2, 2, 2)}, 1, curves)
	p.train()
	checkLog(t, p.log, `
a2 pending
a4 pending
a5 succeeded
a5 succeeded, b2 pending
a5 succeeded, b4 pending
a5 succeeded, b5 succeeded
a5 succeeded, b5 succeeded, c2 pruned
a5 succeeded, b5 succeeded, c2 pruned, d2 pending
a5 succeeded, b5 succeeded, c2 pruned, d4 pending
a5 succeeded, b5 succeeded, c2 pruned, d5 succeeded
a5 succeeded, b5 succeeded, c2 pruned, d5 succeeded, e2 pending
a5 succeeded, b5 succeeded, c2 pruned, d5 succeeded, e4 pruned
a5 succeeded, b5 succeeded, c2 pruned, d5 succeeded, e4 pruned, f2 pending
a5 succeeded, b5 succeeded, c2 pruned, d5 succeeded, e4 pruned, f4 pending
a5 succeeded, b5 succeeded, c2 pruned, d5 succeeded, e4 pruned, f5 succeeded
`)
}

// drawCurves draws runs of one or two trials each, which fall, jump and end as they like.
func drawCurves(t *rapid.T) (curves []curve) {
	first := uint64(0)
	for i := range rapid.IntRange(1, 20).Draw(t, "runs") {
		milestones := []uint32{rapid.Uint32Range(1, 20).Draw(t, "epochs")}
		if rapid.Bool().Draw(t, "two trials") {
			milestones = append(milestones, milestones[0]+rapid.Uint32Range(1, 20).Draw(t, "more"))
		}
		run, trials := testRun(string(rune('a'+i)), 16, first, milestones...)
		first += uint64(len(trials))
		length := rapid.IntRange(1, int(run.Parameters.MaxEpochs)).Draw(t, "length")
		if rapid.Bool().Draw(t, "to its end") {
			length = int(run.Parameters.MaxEpochs)
		}
		curves = append(curves, curve{run, trials, rapid.SliceOfN(rapid.OneOf(
			rapid.SampledFrom(someLosses), rapid.Float64Range(0, 1),
		), length, length).Draw(t, "losses")})
	}
	return curves
}

// TestPruningProperties: whatever the runs give, and however often their worker is lost or the store restored, the
// study ends, the best of every rung have gone on, and what is answered is what it would be without pruning.
func TestPruningProperties(t *testing.T) {
	skipShort(t)
	drawFew(t)
	rapid.Check(t, func(rt *rapid.T) {
		curves := drawCurves(rt)
		slots := rapid.Uint32Range(1, 4).Draw(rt, "slots")
		exact := newPool(t, &trellisv1.StudySpec{Name: "s"}, slots, curves)
		exact.train()
		spec := &trellisv1.StudySpec{Name: "s", Pruning: ashaOf(rapid.Uint32Range(1, 3).Draw(rt, "first"),
			rapid.Uint32Range(2, 4).Draw(rt, "eta"))}
		if rapid.Bool().Draw(rt, "median") {
			spec.Pruning = medianOf(rapid.Uint32Range(1, 3).Draw(rt, "first"),
				rapid.Uint32Range(1, 3).Draw(rt, "interval"), 2)
		}
		losses := rapid.SliceOfN(rapid.IntRange(0, 9), 50, 50).Draw(rt, "lost workers")
		losing := func(p *pool) {
			turn := 0
			p.lose = func() bool { turn++; return losses[turn%len(losses)] == 0 && turn < 200 }
		}
		p, restored := newPool(t, spec, slots, curves), newPool(t, spec, slots, curves)
		losing(p)
		losing(restored)
		restored.restores = true
		p.train()
		restored.train()
		if mustHash(t, p.store.Snapshot()) != mustHash(t, restored.store.Snapshot()) {
			rt.Fatalf("what is restored after each stage decides otherwise:\n%s\nnot\n%s",
				strings.Join(restored.log, "\n"), strings.Join(p.log, "\n"))
		}
		study, err := p.store.Snapshot().Study(nil, "s")
		if err != nil || study.State != lifecycle.StudyCompleted {
			rt.Fatalf("the study is %v, error %v", study, err)
		}
		checkBestWentOn(rt, p, spec)
		want := exact.answered()
		for index, got := range p.answered() {
			if !proto.Equal(got, want[index]) {
				rt.Fatalf("trial:\n got %v\nwant %v", got, want[index])
			}
		}
	})
}

// checkBestWentOn checks every rung of an ASHA study that has ended, anew from the curves.
func checkBestWentOn(t *rapid.T, p *pool, spec *trellisv1.StudySpec) {
	asha := spec.Pruning.GetAsha()
	if asha == nil {
		return
	}
	runs := p.runs()
	for rung := asha.MinEpochs; rung < 40; rung *= asha.ReductionFactor {
		type result struct {
			loss float64
			run  *trellisv1.Run
		}
		var come []result
		for _, run := range runs {
			ended := run.State == lifecycle.RunSucceeded && run.Parameters.MaxEpochs >= rung
			if run.Epochs < rung && !ended {
				continue
			}
			loss := math.Inf(1)
			for _, l := range p.curves[run.Id].validation[:min(int(run.Epochs), int(rung))] {
				if l < loss && !math.IsInf(l, 0) {
					loss = l
				}
			}
			come = append(come, result{loss, run})
		}
		slices.SortFunc(come, func(a, b result) int {
			return cmp.Or(cmp.Compare(a.loss, b.loss), cmp.Compare(a.run.FirstTrial, b.run.FirstTrial))
		})
		for place, result := range come[:len(come)/int(asha.ReductionFactor)] {
			if result.run.State == lifecycle.RunPruned && result.run.Epochs == rung {
				t.Fatalf("run %s is held at rung %d, where it is number %d of %d", result.run.Id, rung, place+1,
					len(come))
			}
		}
	}
}

// TestPlacesOfPruning: neighbors in the grid are not handed out one after the other where the study prunes.
func TestPlacesOfPruning(t *testing.T) {
	for _, test := range []struct {
		pruning *trellisv1.Pruning
		want    string
	}{{nil, "cba"}, {ashaOf(1, 2), "abc"}} {
		curves := flatCurves(2, 1, 2, 3)
		slices.Reverse(curves)
		for i := range curves {
			curves[i].run, curves[i].trials = testRun(curves[i].run.Id, 16, uint64(i), 2)
		}
		p := newPool(t, &trellisv1.StudySpec{Name: "s", Pruning: test.pruning}, 3, curves)
		next, err := p.store.Snapshot().NextRuns(nil, 3)
		ok(t, err)
		got := ""
		for _, run := range next {
			got += run.Id
		}
		if got != test.want {
			t.Errorf("%v: runs in the order %s, want %s", test.pruning, got, test.want)
		}
	}
}

// TestASHAKeepsTheBestBesideSealed: half of the runs go on, among them all of a section, which is sealed when the last
// run ends. The best of the other half is held, and goes on if it is better than what those have come to.
func TestASHAKeepsTheBestBesideSealed(t *testing.T) {
	const runs = 2*sectionSize + 4
	for _, test := range []struct {
		last      float64
		succeeded uint64
	}{{last: .5, succeeded: runs / 2}, {last: 2, succeeded: runs/2 + 1}} {
		study := indexedStudy("s", 100, 3)
		axes := study.Spec.Grid[0].Axes
		axes["latent_dim"] = &trellisv1.Axis{Linear: &trellisv1.Range{From: 1, To: runs, Count: runs}}
		axes["learning_rate"] = trellisv1.AxisOf(1)
		study.Spec.Pruning, study.Spec.Order = ashaOf(2, 2), trellisv1.Order_ORDER_AS_WRITTEN
		study.Spec.Objective = &trellisv1.Objective{Of: trellisv1.Objective_SUMMARY_LAST}
		p := newIndexedPool(t, study.Spec, 1, runs, func(place uint32) []float64 {
			good, poor := .3+float64(place)/1000, 1+float64(place)/1000
			switch {
			case place < sectionSize:
				return []float64{good, good, test.last}
			case place == runs-4, place == runs-3: // The last ones to end.
				return []float64{good, good, 2}
			}
			return []float64{poor, poor, 1}
		})
		p.silent = true
		p.train()
		ended, err := p.store.Snapshot().Study(nil, "s")
		ok(t, err)
		if ended.State != lifecycle.StudyCompleted || ended.Progress.RunsSucceeded != test.succeeded {
			t.Errorf("where the others come to %v, the study is %v with %v", test.last, ended.State, ended.Progress)
		}
		if sealed, err := p.store.Snapshot().hasSealed("s"); err != nil || !sealed {
			t.Errorf("sealed: %t, %v", sealed, err)
		}
	}
}

// What is audited after a study has ended concerns a few runs, not all: they were looked at when the last one ended.
func TestAuditsOfPrunedStudyReadFewRuns(t *testing.T) {
	const count, epochs = 12_800, 2
	study := indexedStudy("s", count, epochs)
	study.Spec.Pruning, study.Spec.Audit = ashaOf(epochs, 2), 0.001
	store := newStore(t)
	ok(t, store.CreateStudy(1, at(1), study))
	ok(t, store.SetWorker(2, at(2), trajectory.LatestRules, &trellisv1.Worker{
		Name: "worker", State: lifecycle.WorkerReady, Slots: count,
	}))
	trainNext(t, store, "s", 3, count, epochs)
	due, err := store.Snapshot().NextRuns(nil, 2)
	ok(t, err)
	if len(due) != 2 || due[0].State != lifecycle.RunSucceeded {
		t.Fatalf("%v are to be audited", due)
	}
	losses, err := store.Snapshot().Losses(nil, "s", due[0].Id)
	ok(t, err)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	attempt := grant1(t, store, 1000, "s", due[0].Id, "worker")
	record(t, store, 1001,
		columnEntry("s", due[0].Id, attempt, 1, losses.TrainLoss, losses.ValidationLoss, losses.TestLoss))
	if runtime.ReadMemStats(&after); after.TotalAlloc-before.TotalAlloc > 4<<20 {
		t.Errorf("an audit takes %d bytes", after.TotalAlloc-before.TotalAlloc)
	}
}

// A dispute that is decided, and a new suspect, concern few of a study's runs. All runs are read then, but the change
// does not hold those that are sealed.
func TestChangesLeaveSectionsSealed(t *testing.T) {
	const count, epochs = 1200, 2
	study := indexedStudy("s", count, epochs)
	study.Spec.Pruning = ashaOf(epochs, 2)
	store := newStore(t)
	ok(t, store.CreateStudy(1, at(1), study))
	ok(t, store.SetWorker(2, at(2), trajectory.LatestRules, &trellisv1.Worker{
		Name: "worker", State: lifecycle.WorkerReady, Slots: count,
	}))
	trainNext(t, store, "s", 3, count, epochs)
	for suspect, due := range map[string]int{"another": 0, "worker": count} {
		c := store.begin(1000, at(1000))
		its, err := c.sections.catalog("s")
		ok(t, err)
		h, err := c.sections.at(its, 0)
		ok(t, err)
		h.edit().Truncate(0)
		h.edit().Run.State = lifecycle.RunPending
		ok(t, c.taken("s"))
		ok(t, c.follow())
		if looked := len(c.sections.inOrder); looked > 2 {
			t.Errorf("the change has looked at %d sections after a run was taken back", looked)
		}
		stored, err := c.studies.get(textKey("s"))
		ok(t, err)
		c.studies.edit(stored).Suspects, c.suspected = []string{suspect}, []string{"s"}
		ok(t, c.audit())
		audited := 0
		for _, edit := range c.sections.inOrder {
			for slot := range edit.now().members {
				if edit.after != nil && edit.changed(slot) && trajectory.AuditDue(edit.after.members[slot].Run) {
					audited++
				}
			}
		}
		// All but that which has been taken back.
		if looked := len(c.sections.inOrder); audited != max(due-1, 0) || due == 0 && looked > 2 {
			t.Errorf("%s is suspect: %d runs are audited, not %d, and %d sections were looked at", suspect, audited, due-1, looked)
		}
		c.abort()
	}
}
