package results

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/pruning"
	"trellis/results/trajectory"
)

// curve is what a run would give: its validation losses up to its own end, which comes before its maximum of epochs if
// early stopping ends it.
type curve struct {
	run        *trellisv1.Run
	trials     []*trellisv1.Trial
	validation []float64
}

// pool is a worker that trains runs of given curves, as many at once as it has slots, in virtual time: an epoch takes
// one unit of it. It reports at the end of each stage.
type pool struct {
	t      testing.TB
	store  *Store
	study  string
	slots  uint32
	index  uint64
	curves map[string]curve
	// lose may say of a stage that its reports are recorded, but that the worker is lost before it says that it has
	// ended.
	lose func() bool
	// fails may say of a run that goes on that it fails for good before its next epoch.
	fails func(*trellisv1.Run) bool
	// restores says that the store is written and restored after every stage.
	restores bool
	now      int
	held     []heldStage
	// log has how all runs with epochs stood after the end of each stage, unless the pool is silent.
	log    []string
	silent bool
}

// heldStage is an attempt that ends at a time.
type heldStage struct {
	run     *trellisv1.Run
	attempt uint64
	// until is the epoch at which it ends.
	until uint32
	ends  int
}

// newPool creates a study of the curves' runs, and a worker.
func newPool(t testing.TB, spec *trellisv1.StudySpec, slots uint32, curves []curve) *pool {
	p := &pool{t: t, store: newStore(t), study: spec.Name, slots: slots, index: 2, curves: map[string]curve{}}
	var runs []*trellisv1.Run
	var trials []*trellisv1.Trial
	for _, curve := range curves {
		p.curves[curve.run.Id] = curve
		runs, trials = append(runs, curve.run), append(trials, curve.trials...)
	}
	ok(t, p.store.CreateListed(1, at(1), &trellisv1.Study{Name: spec.Name, Spec: spec}, runs, trials))
	ok(t, p.store.SetWorker(2, at(2), trajectory.LatestRules,
		&trellisv1.Worker{Name: "w", State: lifecycle.WorkerReady, Slots: slots}))
	return p
}

// newIndexedPool creates a study whose runs follow from the spec, and a worker. curveOf gives the validation losses of
// the run at a place.
func newIndexedPool(
	t testing.TB, spec *trellisv1.StudySpec, slots uint32, runs int, curveOf func(place uint32) []float64,
) *pool {
	p := &pool{t: t, store: newStore(t), study: spec.Name, slots: slots, index: 2, curves: map[string]curve{}}
	ok(t, p.store.CreateStudy(1, at(1), &trellisv1.Study{Name: spec.Name, Numerics: "1", Spec: spec}))
	ok(t, p.store.SetWorker(2, at(2), trajectory.LatestRules,
		&trellisv1.Worker{Name: "w", State: lifecycle.WorkerReady, Slots: slots}))
	all, err := p.store.Snapshot().NextRuns(nil, runs)
	ok(t, err)
	if len(all) != runs {
		t.Fatalf("the study has %d runs, not %d", len(all), runs)
	}
	for _, run := range all {
		p.curves[run.Id] = curve{run: run, validation: curveOf(run.Place)}
	}
	return p
}

func (p *pool) next() uint64 { p.index++; return p.index }

// train works until the study has ended.
func (p *pool) train() {
	for {
		for p.grantNext() {
		}
		if len(p.held) == 0 {
			return
		}
		first := 0
		for i, held := range p.held {
			if held.ends < p.held[first].ends {
				first = i
			}
		}
		held := p.held[first]
		p.held = append(p.held[:first], p.held[first+1:]...)
		p.now = held.ends
		p.end(held)
		if !p.silent {
			p.log = append(p.log, p.states())
		}
		if p.restores {
			data := written(p.t, p.store)
			p.store = newStore(p.t)
			ok(p.t, p.store.Restore(bytes.NewReader(data)))
		}
	}
}

// grantNext leases a run, if one waits and a slot is free.
func (p *pool) grantNext() bool {
	snapshot := p.store.Snapshot()
	free, err := snapshot.FreeWorkers(nil)
	ok(p.t, err)
	pending, err := snapshot.NextRuns(nil, 1)
	ok(p.t, err)
	if len(free) == 0 || len(pending) == 0 {
		return false
	}
	run := pending[0]
	study, err := snapshot.Study(nil, p.study)
	ok(p.t, err)
	attempt := grant1(p.t, p.store, p.next(), p.study, run.Id, "w")
	until := min(pruning.Stage(study, run), uint32(len(p.curves[run.Id].validation)))
	p.held = append(p.held, heldStage{run, attempt, until, p.now + int(until-run.Epochs)})
	return true
}

// end reports what an attempt has trained, and how it ended.
func (p *pool) end(held heldStage) {
	curve := p.curves[held.run.Id]
	if p.fails != nil && p.fails(held.run) {
		record(p.t, p.store, p.next(),
			failureEntry(p.study, held.run.Id, held.attempt, trellisv1.FailureClass_FAILURE_CLASS_OUT_OF_MEMORY,
				"too large"))
		return
	}
	var entries []*trellisv1.RecordCommand_Entry
	if losses := curve.validation[held.run.Epochs:held.until]; len(losses) > 0 {
		entries = append(entries, columnEntry(p.study, held.run.Id, held.attempt, held.run.Epochs+1, losses, losses,
			nil))
	}
	if p.lose != nil && p.lose() {
		record(p.t, p.store, p.next(), entries...)
		ok(p.t, p.store.SetWorker(p.next(), at(p.index), trajectory.LatestRules,
			&trellisv1.Worker{Name: "w", State: lifecycle.WorkerLost}))
		ok(p.t, p.store.SetWorker(p.next(), at(p.index), trajectory.LatestRules,
			&trellisv1.Worker{Name: "w", State: lifecycle.WorkerReady, Slots: p.slots}))
		p.held = nil
		return
	}
	// Early stopping ends a curve below the maximum of epochs, and may do so where a stage ends.
	end := stageEntry(p.study, held.run.Id, held.attempt, held.until)
	if int(held.until) == len(curve.validation) && held.until < held.run.Parameters.MaxEpochs {
		end = successEntry(p.study, held.run.Id, held.attempt, held.until)
	}
	record(p.t, p.store, p.next(), append(entries, end)...)
}

// runs returns all runs of the study, by id.
func (p *pool) runs() map[string]*trellisv1.Run {
	changed, err := p.store.Snapshot().RunsChangedSince(p.study, 0)
	ok(p.t, err)
	runs := map[string]*trellisv1.Run{}
	for _, run := range changed {
		runs[run.Id] = run
	}
	return runs
}

// answered returns the study's trials that have been answered, by index.
func (p *pool) answered() map[uint64]*trellisv1.Trial {
	answered := map[uint64]*trellisv1.Trial{}
	list, err := p.store.Snapshot().ListTrials(&trellisv1.ListTrialsRequest{
		Study: p.study, PageSize: 1000, Filter: `state == "succeeded"`, Losses: true,
	})
	ok(p.t, err)
	if list.NextPageToken != "" {
		p.t.Fatal("more trials than fit on a page")
	}
	for _, trial := range list.Trials {
		answered[trial.Index] = trial
	}
	return answered
}

// states says how the runs stand that have epochs, by id.
func (p *pool) states() string {
	var texts []string
	for id, run := range p.runs() {
		if run.Epochs > 0 {
			texts = append(texts, fmt.Sprintf("%s%d %s", id, run.Epochs, lifecycle.Name(run.State)))
		}
	}
	slices.Sort(texts)
	return strings.Join(texts, ", ")
}
