package results

import (
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// drill trains a study as workers do, by losses that depend on run and epoch alone.
type drill struct {
	t     testing.TB
	store *Store
	index uint64
	// until is where the attempt that holds a run ends, and milestones where it reports a test loss: as it was told at
	// its grant.
	until      map[string]uint32
	milestones map[string][]uint32
	// trained counts the epochs that were trained of each run.
	trained map[string]uint32
}

func newDrill(t testing.TB, runs []*trellisv1.Run, trials []*trellisv1.Trial) *drill {
	t.Helper()
	d := &drill{
		t: t, store: newStore(t), index: 10, until: map[string]uint32{}, milestones: map[string][]uint32{}, trained: map[string]uint32{},
	}
	ok(t, d.store.SetWorker(1, at(1), trajectory.LatestRules,
		&trellisv1.Worker{Name: "w", State: lifecycle.WorkerReady, Slots: 100}))
	ok(t, d.store.CreateListed(2, at(2), &trellisv1.Study{Name: "s"}, runs, trials))
	return d
}

// lossOf are the digits of a run: few values, so that there are ties.
func lossOf(run string, epoch uint32) float64 {
	sum := fnv.New32a()
	fmt.Fprint(sum, run, epoch)
	return float64(sum.Sum32()%7) / 8
}

// endOf is the epoch after which a run stops by itself, the third run that begins with "early".
func endOf(run string) uint32 {
	if strings.HasPrefix(run, "early") {
		return 3
	}
	return 1 << 30
}

func (d *drill) run(id string) *trellisv1.Run {
	run, err := d.store.Snapshot().Run(nil, "s", id)
	ok(d.t, err)
	return run
}

// grant leases the run that is next, if there is one.
func (d *drill) grant() (id string) {
	next, err := d.store.Snapshot().NextRuns(nil, 1)
	ok(d.t, err)
	if len(next) == 0 {
		return ""
	}
	d.index++
	grant1(d.t, d.store, d.index, "s", next[0].Id, "w")
	d.until[next[0].Id], d.milestones[next[0].Id] = next[0].Parameters.MaxEpochs, next[0].Milestones
	return next[0].Id
}

// epoch reports the next epoch of a run that is leased, and its end if that is it. It goes on from what is recorded, as
// from a checkpoint.
func (d *drill) epoch(id string) {
	run := d.run(id)
	if epoch := run.Epochs + 1; epoch <= min(d.until[id], endOf(id)) {
		var test *float64
		if slices.Contains(d.milestones[id], epoch) || epoch == endOf(id) {
			test = proto.Float64(-float64(bestEpochAt(id, epoch)))
		}
		d.index++
		record(d.t, d.store, d.index, reportEntry("s", id, run.Attempt, epoch, lossOf(id+"train", epoch),
			lossOf(id, epoch), test))
		d.trained[id]++
		if epoch < min(d.until[id], endOf(id)) {
			return
		}
	}
	run = d.run(id)
	success := successEntry("s", id, run.Attempt, run.Epochs)
	if run.Epochs < endOf(id) {
		success.GetOutcome().GetSuccess().StopReason = trellisv1.StopReason_STOP_REASON_MAX_EPOCHS
	}
	d.index++
	record(d.t, d.store, d.index, success)
	delete(d.until, id)
}

func bestEpochAt(run string, epoch uint32) (best uint32) {
	for e := range epoch + 1 {
		if e > 0 && (best == 0 || lossOf(run, e) < lossOf(run, best)) {
			best = e
		}
	}
	return best
}

// finish trains until nothing is left to do.
func (d *drill) finish() {
	for len(d.until) > 0 || d.grant() != "" {
		for _, id := range slices.Sorted(maps.Keys(d.until)) {
			d.epoch(id)
		}
	}
}

// answers are the study's trials, by run and max_epochs.
func (d *drill) answers() map[string]*trellisv1.Trial {
	list, err := d.store.Snapshot().ListTrials(&trellisv1.ListTrialsRequest{Study: "s", PageSize: 1000, Losses: true})
	ok(d.t, err)
	answers := map[string]*trellisv1.Trial{}
	for _, trial := range list.Trials {
		answers[fmt.Sprintf("%s up to %d", trial.Run, trial.Parameters.MaxEpochs)] = trial
	}
	return answers
}

// extended is what an extension adds: these runs, with trials numbered from the study's indices on.
func extension(indices uint64, runs map[string][]uint32) Extension {
	e := Extension{Indices: indices, NextIndices: indices, MaxTrials: 1000}
	for i, id := range slices.Sorted(maps.Keys(runs)) {
		run, trials := testRun(id, uint32(i%3+1), e.NextIndices, runs[id]...)
		run.Parameters.Values["latent_dim"] = trellisv1.ValueOf(latentOf(id))
		for _, trial := range trials {
			trial.Parameters.Values["latent_dim"] = trellisv1.ValueOf(latentOf(id))
		}
		e.Runs, e.Trials = append(e.Runs, run), append(e.Trials, trials...)
		e.NextIndices += uint64(len(trials))
	}
	return e
}

func latentOf(id string) uint32 { return uint32(id[len(id)-1]) }

// TestExtendedAsInOneGo: whatever a study had done when it was extended, in the end it has the answers and losses of
// one that was created with everything, and no epoch was trained twice.
func TestExtendedAsInOneGo(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		ids := []string{"early-a", "early-b", "run-c", "run-d", "run-e"}
		draw := func(what string, least int) map[string][]uint32 {
			runs := map[string][]uint32{}
			for _, id := range rapid.SliceOfNDistinct(rapid.SampledFrom(ids), least, len(ids), rapid.ID).Draw(rt,
				what) {
				runs[id] = rapid.SliceOfNDistinct(rapid.Uint32Range(1, 6), 1, 4, rapid.ID).Draw(rt, id)
				slices.Sort(runs[id])
			}
			return runs
		}
		whole := draw("created", 1)
		created := extension(0, whole)
		d := newDrill(t, created.Runs, created.Trials)
		for range rapid.IntRange(1, 3).Draw(rt, "extensions") {
			for range rapid.IntRange(0, 12).Draw(rt, "steps") {
				if d.grant() == "" && len(d.until) == 0 {
					break
				}
				if held := slices.Sorted(maps.Keys(d.until)); len(held) > 0 {
					d.epoch(rapid.SampledFrom(held).Draw(rt, "epoch of"))
				}
			}
			study, err := d.store.Snapshot().Study(nil, "s")
			ok(t, err)
			more := draw("added", 0)
			e := extension(study.Indices, more)
			merged := map[string][]uint32{}
			adds := false
			for _, id := range ids {
				if all := slices.Compact(slices.Sorted(slices.Values(slices.Concat(whole[id],
					more[id])))); len(all) > 0 {
					adds, merged[id] = adds || len(all) > len(whole[id]), all
				}
			}
			whole = merged
			d.index++
			before := mustHash(t, d.store.Snapshot())
			_, err = d.store.ExtendStudy(d.index, at(d.index), "s", e)
			if adds != (err == nil) || !adds && (!errors.Is(err, ErrInvalid) ||
				mustHash(t, d.store.Snapshot()) != before) {
				rt.Fatalf("extended by %v, which adds something: %v; error %v", more, adds, err)
			}
			checkIndexes(rt, d.store.Snapshot())
		}
		d.finish()
		once := extension(0, whole)
		want := newDrill(t, once.Runs, once.Trials)
		want.finish()
		compareDrills(rt, d, want)
	})
}

func compareDrills(t *rapid.T, got, want *drill) {
	if !maps.Equal(got.trained, want.trained) {
		t.Fatalf("trained %v epochs, in one go %v", got.trained, want.trained)
	}
	answers, wanted := got.answers(), want.answers()
	if len(answers) != len(wanted) {
		t.Fatalf("%d trials, in one go %d", len(answers), len(wanted))
	}
	for key, want := range wanted {
		got := proto.CloneOf(answers[key])
		if got == nil || got.State != lifecycle.TrialSucceeded {
			t.Fatalf("trial %s: %v", key, got)
		}
		got.Index = want.Index
		// What nobody had asked for when it was trained may be unknown.
		if got.TestLoss == nil {
			got.TestLoss = want.TestLoss
		}
		if !proto.Equal(got, want) {
			t.Fatalf("trial %s:\n          got %v\nin one go it is %v", key, got, want)
		}
	}
	study, err := got.store.Snapshot().Study(nil, "s")
	if err != nil || study.State != lifecycle.StudyCompleted {
		t.Fatalf("the study is %v and error %v", study, err)
	}
}

// TestCostOfLengthened: what runs have got since is counted when they get it. It is asked for at every report.
func TestCostOfLengthened(t *testing.T) {
	its, err := sealedStore(t).Snapshot().catalog("s")
	ok(t, err)
	if runs, trials, epochs := its.Cost(); runs != 2 || trials != 6 || epochs != 10 {
		t.Errorf("%d runs, %d trials, %d epochs", runs, trials, epochs)
	}
	if allocations := testing.AllocsPerRun(10, func() { its.Cost() }); allocations > 0 {
		t.Errorf("it takes %v allocations", allocations)
	}
}
