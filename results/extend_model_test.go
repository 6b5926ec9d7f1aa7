package results

import (
	"cmp"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// The model's extensions and retries: what a study has is a list of trials, to which those are added that are not in it
// yet.

func (m *model) extend(index uint64, name string, e Extension) (added uint64, err error) {
	study := m.study(name)
	switch {
	case study == nil:
		return 0, ErrNotFound
	case study.indices != e.Indices:
		return 0, ErrStudyChanged
	case study.state == lifecycle.StudyCanceled:
		return 0, ErrIllegalMove
	}
	var missing []*trellisv1.Trial
	for _, trial := range e.Trials {
		if !slices.ContainsFunc(study.trials, func(its *trellisv1.Trial) bool {
			return its.Run == trial.Run && its.Parameters.MaxEpochs == trial.Parameters.MaxEpochs
		}) {
			missing = append(missing, trial)
		}
	}
	if len(missing) == 0 && (study.settled || !e.Settled) {
		return 0, ErrInvalid
	}
	if all := uint64(len(study.trials) + len(missing)); len(missing) > 0 && e.MaxTrials > 0 && all > e.MaxTrials {
		return 0, ErrInvalid
	}
	if study.state == lifecycle.StudyCompleted {
		study.state = lifecycle.StudyRunning
	}
	if e.Spec != nil {
		study.earlierSpecs++
	}
	study.indices, study.settled = e.NextIndices, e.Settled
	var runs []*trellisv1.Run
	for _, run := range e.Runs {
		if known := m.run(name, run.Id); known != nil {
			known.lengthen(index, run.Milestones)
		} else {
			runs = append(runs, run)
		}
	}
	study.trials = append(study.trials, missing...)
	study.add(index, runs)
	return uint64(len(missing)), nil
}

// add gives a study runs, which come after those that it has.
func (s *modelStudy) add(index uint64, runs []*trellisv1.Run) {
	order := slices.Clone(runs)
	slices.SortFunc(order, func(a, b *trellisv1.Run) int {
		inGrid := cmp.Compare(a.FirstTrial, b.FirstTrial)
		if s.pruning != nil {
			inGrid = cmp.Compare(a.Id, b.Id)
		}
		return cmp.Or(cmp.Compare(b.Parameters.MaxEpochs, a.Parameters.MaxEpochs), inGrid)
	})
	had := len(s.runs)
	for _, run := range runs {
		s.runs = append(s.runs, &modelRun{
			Run: run, place: had + slices.Index(order, run), study: s.name, state: lifecycle.RunPending, test: map[uint32]float64{}, changed: index,
			metrics: map[string][]float64{}, testMetrics: map[uint32]*trellisv1.Metrics{}, late: map[uint32]lateTest{}, spared: run.Spared,
		})
	}
}

// lengthen gives a run the milestones that it does not have. What it has passed is answered now, with the results on
// the test images of any epoch with the same best weights.
func (r *modelRun) lengthen(index uint64, milestones []uint32) {
	has := slices.Clone(r.Milestones)
	all := slices.Compact(slices.Sorted(slices.Values(slices.Concat(has, milestones))))
	if slices.Equal(all, has) {
		return
	}
	// Those of epochs that were no milestones are gone.
	r.checkpoints = r.keptCheckpoints()
	r.changed = index
	maxEpochs := all[len(all)-1]
	if r.state == lifecycle.RunSucceeded && r.reason == trellisv1.StopReason_STOP_REASON_MAX_EPOCHS &&
		len(r.train) < int(maxEpochs) {
		r.state, r.reason = lifecycle.RunPending, 0
	}
	r.Run = proto.CloneOf(r.Run)
	r.Milestones, r.Parameters.MaxEpochs = all, maxEpochs
	for _, milestone := range all {
		passed := int(milestone) <= len(r.train) || r.state == lifecycle.RunSucceeded
		if slices.Contains(has, milestone) || !passed {
			continue
		}
		late := lateTest{}
		if at, known := r.testedAt(min(int(milestone), len(r.train))); known {
			late.loss, late.metrics = new(r.test[at]), r.testMetrics[at]
		}
		r.late[milestone] = late
	}
}

func (m *model) retry(index uint64, name string, pruned bool) (retried uint64, err error) {
	study := m.study(name)
	switch {
	case study == nil:
		return 0, ErrNotFound
	case study.state == lifecycle.StudyCanceled:
		return 0, ErrIllegalMove
	}
	for _, run := range study.runs {
		if run.state == lifecycle.RunFailed || pruned && run.state == lifecycle.RunPruned {
			run.spared = run.spared || run.state == lifecycle.RunPruned
			run.state, run.failures, run.changed = lifecycle.RunPending, nil, index
			retried++
		}
	}
	if retried == 0 {
		return 0, ErrIllegalMove
	}
	if study.state == lifecycle.StudyCompleted {
		study.state = lifecycle.StudyRunning
	}
	study.settled = false
	return retried, nil
}

// mostRuns is how many runs a study of a machine may have.
const mostRuns = 14

// extend adds values to the axes of a study as a user does, and now and then what must be refused: every configuration,
// old or new, gets every seed and every number of epochs. All that the study has is in the command too, under new
// indices, as it is in those of the coordinator.
func (m *storeMachine) extend(t *rapid.T) {
	m.index++
	name := studyNames.Draw(t, "study")
	study := m.model.study(name)
	if study == nil || len(study.runs) > mostRuns/2 && rapid.IntRange(0, 3).Draw(t, "seldom") > 0 {
		study = &modelStudy{}
	}
	few := rapid.IntRange(0, 2)
	seeds := rapid.SliceOfNDistinct(rapid.Uint32Range(1, 3), 0, few.Draw(t, "seeds"), rapid.ID).Draw(t, "seeds added")
	epochs := rapid.SliceOfNDistinct(rapid.Uint32Range(1, 8), 0, few.Draw(t, "epochs"), rapid.ID).Draw(t,
		"epochs added")
	configurations := rapid.SliceOfNDistinct(rapid.IntRange(0, 5), 0, few.Draw(t, "configurations"), rapid.ID).Draw(t,
		"configurations added")
	e := Extension{Indices: study.indices, Settled: rapid.IntRange(0, 5).Draw(t, "settled") == 0}
	if rapid.IntRange(0, 9).Draw(t, "stale") == 0 {
		e.Indices--
	}
	e.NextIndices = e.Indices
	if rapid.IntRange(0, 9).Draw(t, "limited") == 0 {
		e.MaxTrials = rapid.Uint64Range(1, 12).Draw(t, "most trials")
	}
	m.product(t, &e, study, configurations, seeds, epochs)
	if rapid.Bool().Draw(t, "with spec") && study.name != "" {
		e.Spec = m.specOf(t, name)
		e.Spec.Seeds = trellisv1.AxisOf[uint32](seeds...)
	}
	want, refused := m.model.extend(m.index, name, Extension{
		Indices: e.Indices, NextIndices: e.NextIndices, Spec: e.Spec, Settled: e.Settled, MaxTrials: e.MaxTrials,
		Runs: cloneAll(e.Runs), Trials: cloneAll(e.Trials),
	})
	m.model.follow(m.index)
	got, err := m.store.ExtendStudy(m.index, at(m.index), name, e)
	replica, replicaErr := m.replica.ExtendStudy(m.index, at(m.index), name, e)
	m.agree(t, fmt.Sprintf("extend study %s by %+v", name, e), err, replicaErr, refused)
	if got != want || replica != want {
		t.Fatalf("study %s is extended by %d trials, in the replica by %d, want %d", name, got, replica, want)
	}
	if e.Spec != nil {
		scribble(e.Spec)
	}
	for _, run := range e.Runs {
		scribble(run)
	}
	for _, trial := range e.Trials {
		scribble(trial)
	}
}

func (m *storeMachine) specOf(t *rapid.T, name string) *trellisv1.StudySpec {
	study, err := m.store.Snapshot().Study(nil, name)
	if err != nil {
		t.Fatal(err)
	}
	return proto.CloneOf(study.Spec)
}

// seedOf is the seed of a run, by its id, and the id of the run of the same configuration with seed 1.
func seedOf(id string) (seed uint32, configuration string) {
	if _, err := fmt.Sscanf(id, "seed%d-%s", &seed, &configuration); err != nil {
		return 1, id
	}
	return seed, configuration
}

func withSeed(configuration string, seed uint32) string {
	if seed == 1 {
		return configuration
	}
	return fmt.Sprintf("seed%d-%s", seed, configuration)
}

// product adds the product of a study's configurations and new ones, its seeds and new ones, and epochs to an
// extension.
func (m *storeMachine) product(t *rapid.T, e *Extension, study *modelStudy, configurations []int, seeds, epochs []uint32) {
	all := map[string][]uint32{}
	latent := map[string]uint32{}
	var ids []string
	for _, run := range study.runs {
		seed, id := seedOf(run.Id)
		if all[id] == nil {
			ids = append(ids, id)
		}
		all[id], latent[id] = append(all[id], run.Milestones...), uint32(run.Parameters.Numeric("latent_dim"))
		seeds = append(seeds, seed)
	}
	for _, number := range configurations {
		id := fmt.Sprintf("run%d", number)
		if all[id] == nil {
			ids, all[id], latent[id] = append(ids, id), []uint32{uint32(number%5 + 1)}, uint32(number%3+1)
		}
	}
	seeds = slices.Compact(slices.Sorted(slices.Values(seeds)))
	for _, id := range ids {
		milestones := slices.Compact(slices.Sorted(slices.Values(slices.Concat(all[id], epochs))))
		for _, seed := range seeds {
			if id := withSeed(id, seed); m.model.run(study.name, id) != nil || len(study.runs)+len(e.Runs) < mostRuns {
				run, trials := testRun(id, latent[seedless(id)], e.NextIndices, milestones...)
				run.Parameters.Seed, run.Spared = seed, rapid.IntRange(0, 3).Draw(t, "spared") == 0
				for _, trial := range trials {
					trial.Parameters.Seed = seed
				}
				e.Runs, e.Trials = append(e.Runs, run), append(e.Trials, trials...)
				e.NextIndices += uint64(len(trials))
			}
		}
	}
}

func seedless(id string) string {
	_, configuration := seedOf(id)
	return configuration
}

// retry takes up what has failed, and now and then what was pruned.
func (m *storeMachine) retry(t *rapid.T) {
	m.index++
	name := studyNames.Draw(t, "study")
	pruned := rapid.IntRange(0, 3).Draw(t, "pruned") == 0
	want, refused := m.model.retry(m.index, name, pruned)
	m.model.follow(m.index)
	got, err := m.store.RetryStudy(m.index, at(m.index), trajectory.CountMachines, name, pruned)
	replica, replicaErr := m.replica.RetryStudy(m.index, at(m.index), trajectory.CountMachines, name, pruned)
	m.agree(t, "retry study "+name, err, replicaErr, refused)
	if got != want || replica != want {
		t.Fatalf("%d runs of study %s are retried, in the replica %d, want %d", got, name, replica, want)
	}
}

// failNext fails a run that is held for good.
func (m *storeMachine) failNext(t *rapid.T) {
	run := m.drawHeld(t)
	m.put(t, []*trellisv1.RecordCommand_Entry{
		failureEntry(run.study, run.Id, run.attempt, trellisv1.FailureClass_FAILURE_CLASS_OUT_OF_MEMORY, "too large"),
	})
}
