package results

import (
	"cmp"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// model is the store done the simplest way: no transactions, no indexes, nothing kept that can be computed. It is what
// the store is checked against.
type model struct {
	studies []*modelStudy
	workers map[string]*modelWorker
	// rules are those of the command.
	rules trajectory.Rules
}

type modelStudy struct {
	name    string
	fresh   bool
	state   trellisv1.StudyState
	pruning *trellisv1.Pruning
	settle  bool
	runs    []*modelRun
	trials  []*trellisv1.Trial
	// What extensions change: the index of the next trial, whether nothing is left to be settled, how many specs it had
	// before.
	indices      uint64
	settled      bool
	earlierSpecs int
}

type modelRun struct {
	*trellisv1.Run
	// place is where it stands in the order in which the study's runs are to be leased.
	place             int
	study             string
	state             trellisv1.RunState
	attempt           uint64
	worker            string
	attemptEpochs     uint32
	train, validation []float64
	test              map[uint32]float64
	metrics           map[string][]float64
	// seconds has one per epoch that was trained for the study, and 0 for each before the last of these that was taken
	// over.
	seconds     []float32
	testMetrics map[uint32]*trellisv1.Metrics
	failures    []modelFailure
	checkpoints []*trellisv1.Checkpoint
	changed     uint64
	reason      trellisv1.StopReason
	// shared counts the epochs that were taken over, sharedFrom is the study that the last of them came from.
	shared     int
	sharedFrom string
	// spared runs are not pruned. What the last command left: state, and how far the run counted at rungs. What this
	// one has done so far: how far it counts now, and the rung at which it was judged.
	spared          bool
	before          trellisv1.RunState
	cameTo          int
	counted, judged int
	// late are the results on the test images of the milestones that it was given after it had passed them.
	late map[uint32]lateTest
}

// lateTest has no loss if none is known.
type lateTest struct {
	loss    *float64
	metrics *trellisv1.Metrics
}

type modelFailure struct {
	class trellisv1.FailureClass
	// machine is the worker's.
	worker, machine   string
	epochs, runEpochs int
}

type modelWorker struct {
	state   trellisv1.WorkerState
	slots   uint32
	machine string
}

func newModel() *model { return &model{workers: map[string]*modelWorker{}} }

func (m *model) study(name string) *modelStudy {
	for _, study := range m.studies {
		if study.name == name {
			return study
		}
	}
	return nil
}

func (m *model) run(study, id string) *modelRun {
	if study := m.study(study); study != nil {
		for _, run := range study.runs {
			if run.Id == id {
				return run
			}
		}
	}
	return nil
}

// allRuns returns every run, those of the oldest study first.
func (m *model) allRuns() (runs []*modelRun) {
	for _, study := range m.studies {
		runs = append(runs, study.runs...)
	}
	return runs
}

func (m *model) heldRuns() []*modelRun {
	return slices.DeleteFunc(m.allRuns(), func(r *modelRun) bool { return r.state != lifecycle.RunLeased })
}

func (r *modelRun) ended() bool {
	return r.state != lifecycle.RunPending && r.state != lifecycle.RunLeased
}

func (m *model) held(worker string) int {
	held := 0
	for _, run := range m.heldRuns() {
		if run.worker == worker {
			held++
		}
	}
	return held
}

func (m *model) create(index uint64, study *modelStudy, runs []*trellisv1.Run, trials []*trellisv1.Trial) error {
	if m.study(study.name) != nil {
		return ErrExists
	}
	study.state, study.trials, study.indices = lifecycle.StudyRunning, trials, trials[len(trials)-1].Index+1
	study.add(index, runs)
	m.studies = append(m.studies, study)
	return nil
}

func (m *model) setStudy(index uint64, name string, state trellisv1.StudyState) error {
	study := m.study(name)
	switch {
	case study == nil:
		return ErrNotFound
	case state == lifecycle.StudyCompleted:
		return ErrIllegalMove
	case study.state == state:
		return nil
	case study.state == lifecycle.StudyCompleted || study.state == lifecycle.StudyCanceled:
		return ErrIllegalMove
	}
	study.state = state
	for _, run := range study.runs {
		switch {
		case state == lifecycle.StudyCanceled && !run.ended():
			run.state, run.changed = lifecycle.RunCanceled, index
		case state == lifecycle.StudyPaused && run.state == lifecycle.RunLeased:
			run.state, run.changed = lifecycle.RunPending, index
		}
	}
	return nil
}

func (m *model) deleteStudy(name string) error {
	study := m.study(name)
	if study == nil {
		return ErrNotFound
	}
	m.studies = slices.DeleteFunc(m.studies, func(s *modelStudy) bool { return s == study })
	return nil
}

func (m *model) grant(index uint64, place int, grant *trellisv1.Grant) error {
	run, holder := m.run(grant.Study, grant.Run), m.workers[grant.Worker]
	switch {
	case run == nil || holder == nil:
		return ErrNotFound
	case m.study(grant.Study).state != lifecycle.StudyRunning || run.state != lifecycle.RunPending ||
		holder.state != lifecycle.WorkerReady:
		return ErrIllegalMove
	case m.held(grant.Worker) >= int(holder.slots) || m.isTrained(run):
		return ErrIllegalMove
	}
	run.state, run.attempt, run.worker, run.changed = lifecycle.RunLeased, 1024*index+uint64(place), grant.Worker, index
	run.attemptEpochs = 0
	if kept := run.keptCheckpoints(); len(kept) > 0 {
		run.attemptEpochs = kept[len(kept)-1].Epoch
	}
	return nil
}

func (m *model) report(index uint64, reports *trellisv1.Reports) error {
	run := m.run(reports.Study, reports.Run)
	if run == nil || run.state != lifecycle.RunLeased || run.attempt != reports.Attempt {
		return ErrStale
	}
	count := len(reports.TrainLoss)
	last := int(reports.FirstEpoch) + count - 1
	if count == 0 || len(reports.ValidationLoss) != count || len(reports.Seconds) != count ||
		reports.FirstEpoch < 1 || last > int(run.Parameters.MaxEpochs) {
		return ErrInvalid
	}
	for epoch := range reports.TestLoss {
		if epoch < reports.FirstEpoch || int(epoch) > last {
			return ErrInvalid
		}
	}
	if !validMetrics(reports) {
		return ErrInvalid
	}
	if int(reports.FirstEpoch) > len(run.train)+1 {
		return ErrGap
	}
	if len(run.train) > 0 && !slices.Equal(slices.Sorted(maps.Keys(run.metrics)),
		slices.Sorted(maps.Keys(reports.Metrics))) {
		m.fail(index, run, trellisv1.FailureClass_FAILURE_CLASS_CONFLICT)
		return ErrConflict
	}
	recorded := len(run.train)
	for i := range count {
		epoch := reports.FirstEpoch + uint32(i)
		train, validation := reports.TrainLoss[i], reports.ValidationLoss[i]
		test, hasTest := reports.TestLoss[epoch]
		if int(epoch) > recorded {
			run.train, run.validation = append(run.train, train), append(run.validation, validation)
			run.seconds = append(append(run.seconds, make([]float32, len(run.train)-1-len(run.seconds))...), 0.5)
			for name, series := range reports.Metrics {
				run.metrics[name] = append(run.metrics[name], series.Values[i])
			}
			if hasTest {
				run.test[epoch] = test
			}
			if metrics, ok := reports.TestMetrics[epoch]; ok {
				run.testMetrics[epoch] = proto.CloneOf(metrics)
			}
			continue
		}
		same := sameLoss(run.train[epoch-1], train) && sameLoss(run.validation[epoch-1], validation)
		if known, ok := run.test[epoch]; ok && hasTest {
			same = same && sameLoss(known, test) &&
				maps.EqualFunc(run.testMetrics[epoch].GetValues(), reports.TestMetrics[epoch].GetValues(), sameLoss)
		}
		for name, series := range reports.Metrics {
			same = same && sameLoss(run.metrics[name][epoch-1], series.Values[i])
		}
		if !same {
			m.fail(index, run, trellisv1.FailureClass_FAILURE_CLASS_CONFLICT)
			return ErrConflict
		}
	}
	run.attemptEpochs, run.changed = max(run.attemptEpochs, uint32(last)), index
	return nil
}

var metricName = regexp.MustCompile(`^[a-z_]{1,64}$`)

func validMetrics(reports *trellisv1.Reports) bool {
	valid := len(reports.Metrics) <= 16
	for name, series := range reports.Metrics {
		prefixed := strings.HasPrefix(name, "train_") || strings.HasPrefix(name, "validation_")
		valid = valid && metricName.MatchString(name) && prefixed && len(series.Values) == len(reports.TrainLoss)
	}
	for epoch := range reports.TestMetrics {
		_, tested := reports.TestLoss[epoch]
		valid = valid && tested
	}
	return valid
}

func (m *model) checkpoint(index uint64, report *trellisv1.CheckpointReport) error {
	run, checkpoint := m.run(report.Study, report.Run), report.Checkpoint
	switch {
	case run == nil || run.state != lifecycle.RunLeased || run.attempt != report.Attempt:
		return ErrStale
	case checkpoint.Epoch < 1 || checkpoint.Epoch > run.Parameters.MaxEpochs:
		return ErrInvalid
	case len(checkpoint.Sha256) != 64 || checkpoint.Sha256[0] == 'A':
		return ErrInvalid
	case int(checkpoint.Epoch) > len(run.train):
		return ErrGap
	}
	if slices.ContainsFunc(run.keptCheckpoints(),
		func(kept *trellisv1.Checkpoint) bool { return proto.Equal(kept, checkpoint) }) {
		return nil
	}
	run.checkpoints = append(run.checkpoints, proto.CloneOf(checkpoint))
	run.attemptEpochs, run.changed = max(run.attemptEpochs, checkpoint.Epoch), index
	return nil
}

// keptCheckpoints are the latest of each milestone, and the latest of the greatest epoch.
func (r *modelRun) keptCheckpoints() (kept []*trellisv1.Checkpoint) {
	latest, last := map[uint32]*trellisv1.Checkpoint{}, uint32(0)
	for _, checkpoint := range r.checkpoints {
		latest[checkpoint.Epoch] = checkpoint
		last = max(last, checkpoint.Epoch)
	}
	for epoch := range last + 1 {
		if checkpoint := latest[epoch]; checkpoint != nil && (epoch == last || slices.Contains(r.Milestones, epoch)) {
			kept = append(kept, checkpoint)
		}
	}
	return kept
}

func sameLoss(a, b float64) bool {
	return math.Float64bits(a) == math.Float64bits(b) || math.IsNaN(a) && math.IsNaN(b)
}

func (m *model) outcome(index uint64, outcome *trellisv1.Outcome) error {
	run := m.run(outcome.Study, outcome.Run)
	if run == nil || run.state != lifecycle.RunLeased || run.attempt != outcome.Attempt {
		return ErrStale
	}
	switch result := outcome.Result.(type) {
	case *trellisv1.Outcome_Success_:
		epochs := int(result.Success.Epochs)
		switch {
		case epochs == 0:
			return ErrInvalid
		case epochs > len(run.train):
			return ErrGap
		case epochs < len(run.train):
			m.fail(index, run, trellisv1.FailureClass_FAILURE_CLASS_CONFLICT)
			return ErrConflict
		}
		run.state, run.changed = lifecycle.RunSucceeded, index
		run.reason = result.Success.StopReason
		if run.reason == trellisv1.StopReason_STOP_REASON_MAX_EPOCHS && epochs < int(run.Parameters.MaxEpochs) {
			run.state, run.reason = lifecycle.RunPending, 0
		}
	case *trellisv1.Outcome_Failure:
		if class := result.Failure.Class; class == trellisv1.FailureClass_FAILURE_CLASS_UNSPECIFIED ||
			m.rules == trajectory.CountAttempts && class > trellisv1.FailureClass_FAILURE_CLASS_HUNG ||
			m.rules < trajectory.CountReturns && class == trellisv1.FailureClass_FAILURE_CLASS_RETURNED {
			return ErrInvalid
		}
		m.fail(index, run, result.Failure.Class)
	case *trellisv1.Outcome_Return_:
		run.state, run.changed = lifecycle.RunPending, index
	}
	return nil
}

func (m *model) fail(index uint64, run *modelRun, class trellisv1.FailureClass) {
	run.failures = append(run.failures,
		modelFailure{class, run.worker, m.workers[run.worker].machine, int(run.attemptEpochs), len(run.train)})
	run.changed = index
	lost := class == trellisv1.FailureClass_FAILURE_CLASS_WORKER_LOST
	returned := class == trellisv1.FailureClass_FAILURE_CLASS_RETURNED
	mayBeMachine := map[trellisv1.FailureClass]bool{
		trellisv1.FailureClass_FAILURE_CLASS_TRAINER: true, trellisv1.FailureClass_FAILURE_CLASS_HUNG: true,
	}
	attempts, here, everywhere, tried := 0, map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, failure := range run.failures {
		if mayBeMachine[failure.class] || failure.class == trellisv1.FailureClass_FAILURE_CLASS_WORKER ||
			failure.class == trellisv1.FailureClass_FAILURE_CLASS_RETURNED {
			tried[failure.machine] = true
		}
		if failure.class != class || (lost || returned) && failure.runEpochs < len(run.train) {
			continue
		}
		attempts++
		machine := failure.machine
		if m.rules == trajectory.CountAttempts {
			machine = failure.worker
		}
		if failure.epochs == int(run.attemptEpochs) {
			here[machine] = true
		}
		everywhere[machine] = true
	}
	allowed := map[trellisv1.FailureClass]int{
		trellisv1.FailureClass_FAILURE_CLASS_WORKER_LOST: 10, trellisv1.FailureClass_FAILURE_CLASS_TRAINER: 3,
		trellisv1.FailureClass_FAILURE_CLASS_OUT_OF_MEMORY: 1, trellisv1.FailureClass_FAILURE_CLASS_CONFLICT: 1,
		trellisv1.FailureClass_FAILURE_CLASS_HUNG: 3, trellisv1.FailureClass_FAILURE_CLASS_INPUT: 1,
		trellisv1.FailureClass_FAILURE_CLASS_WORKER: math.MaxInt, trellisv1.FailureClass_FAILURE_CLASS_RETURNED: 5,
	}[class]
	if mayBeMachine[class] && len(everywhere) < 3 && m.rules != trajectory.CountAttempts {
		for _, worker := range m.workers {
			if worker.state == lifecycle.WorkerReady && !tried[worker.machine] {
				allowed = 6
			}
		}
	}
	run.state = lifecycle.RunPending
	if attempts >= allowed || lost && len(here) >= 3 {
		run.state = lifecycle.RunFailed
	}
}

func (m *model) setWorker(index uint64, worker *trellisv1.Worker) error {
	known := m.workers[worker.Name]
	alive := known != nil && (known.state == lifecycle.WorkerReady || known.state == lifecycle.WorkerDraining)
	switch worker.State {
	case lifecycle.WorkerReady, lifecycle.WorkerDraining:
		switch {
		case known == nil || known.state == lifecycle.WorkerLost || known.state == lifecycle.WorkerReady &&
			worker.State == lifecycle.WorkerReady:
			if worker.Slots == 0 {
				return ErrInvalid
			}
			m.workers[worker.Name] = &modelWorker{worker.State, worker.Slots, cmp.Or(worker.Machine, worker.Name)}
		case !alive || worker.State == lifecycle.WorkerReady:
			return ErrIllegalMove
		default:
			known.state = lifecycle.WorkerDraining
		}
		return nil
	case lifecycle.WorkerLost, lifecycle.WorkerGone:
		switch {
		case known == nil:
			return ErrNotFound
		case known.state == worker.State:
			return nil
		case !alive:
			return ErrIllegalMove
		}
		known.state = worker.State
		for _, run := range m.heldRuns() {
			if run.worker != worker.Name {
				continue
			}
			if worker.State == lifecycle.WorkerLost {
				m.fail(index, run, trellisv1.FailureClass_FAILURE_CLASS_WORKER_LOST)
			} else {
				run.state, run.changed = lifecycle.RunPending, index
			}
		}
		return nil
	}
	return ErrInvalid
}

// complete ends the studies that have nothing left to do.
func (m *model) complete() {
	for _, study := range m.studies {
		if study.state == lifecycle.StudyRunning && (study.settled || !study.settle) &&
			!slices.ContainsFunc(study.runs, func(r *modelRun) bool { return !r.ended() }) {
			study.state = lifecycle.StudyCompleted
		}
	}
}

// trial computes how a trial stands from its run's losses.
func (m *model) trial(study string, trial *trellisv1.Trial) *trellisv1.Trial {
	run := m.run(study, trial.Run)
	epochs := min(uint32(len(run.validation)), trial.Parameters.MaxEpochs)
	want := &trellisv1.Trial{
		Study: study, Index: trial.Index, Parameters: trial.Parameters, Run: trial.Run,
		Epochs: epochs,
	}
	if epochs > 0 {
		best := math.NaN()
		for i, loss := range run.validation[:epochs] {
			if !math.IsNaN(loss) && !math.IsInf(loss, 0) && !(loss >= best) {
				best, want.BestEpoch = loss, uint32(i+1)
			}
		}
		want.Objective = &best
	}
	if accuracy := run.metrics["validation_accuracy"]; accuracy != nil && want.BestEpoch > 0 {
		want.Metrics = map[string]float64{"accuracy": accuracy[want.BestEpoch-1]}
	}
	switch {
	case epochs == trial.Parameters.MaxEpochs || run.state == lifecycle.RunSucceeded:
		want.State = lifecycle.TrialSucceeded
		if late, ok := run.late[trial.Parameters.MaxEpochs]; ok {
			want.TestLoss, want.TestMetrics = late.loss, late.metrics.GetValues()
		} else if test, ok := run.test[epochs]; ok {
			want.TestLoss, want.TestMetrics = &test, run.testMetrics[epochs].GetValues()
		}
	case run.state == lifecycle.RunPending:
		want.State = lifecycle.TrialPending
	case run.state == lifecycle.RunLeased:
		want.State = lifecycle.TrialRunning
	case run.state == lifecycle.RunFailed:
		want.State = lifecycle.TrialFailed
	case run.state == lifecycle.RunCanceled:
		want.State = lifecycle.TrialCanceled
	case run.state == lifecycle.RunPruned:
		want.State = lifecycle.TrialPruned
	}
	return want
}

// progress counts.
func (m *model) progress(study *modelStudy) *trellisv1.Progress {
	p := &trellisv1.Progress{}
	for _, run := range study.runs {
		p.Runs++
		p.Epochs += uint64(len(run.train))
		p.TrainingSeconds += float64(len(run.train)-run.shared) / 2
		p.EpochsShared += uint64(run.shared)
		p.SecondsShared += float64(run.shared) / 2
		switch run.state {
		case lifecycle.RunLeased:
			p.RunsRunning++
		case lifecycle.RunSucceeded:
			p.RunsSucceeded++
		case lifecycle.RunFailed:
			p.RunsFailed++
		case lifecycle.RunCanceled:
			p.RunsCanceled++
		case lifecycle.RunPruned:
			p.RunsPruned++
		}
		if !run.ended() {
			p.EpochsLeft += uint64(run.Parameters.MaxEpochs) - uint64(len(run.train))
		}
	}
	for _, trial := range study.trials {
		p.Trials++
		stands := m.trial(study.name, trial)
		switch stands.State {
		case lifecycle.TrialRunning:
			p.TrialsRunning++
		case lifecycle.TrialSucceeded:
			p.TrialsSucceeded++
			p.EpochsAlone += uint64(stands.Epochs)
		case lifecycle.TrialFailed:
			p.TrialsFailed++
		case lifecycle.TrialCanceled:
			p.TrialsCanceled++
		case lifecycle.TrialPruned:
			p.TrialsPruned++
		}
	}
	return p
}

// next are the runs to lease next.
func (m *model) next() (next []*modelRun) {
	for _, study := range m.studies {
		if study.state != lifecycle.StudyRunning {
			continue
		}
		pending := slices.DeleteFunc(slices.Clone(study.runs),
			func(r *modelRun) bool { return r.state != lifecycle.RunPending })
		slices.SortFunc(pending, func(a, b *modelRun) int {
			return cmp.Compare(a.place, b.place)
		})
		for _, run := range pending {
			twin := func(other *modelRun) bool {
				return other.Id == run.Id && !m.study(other.study).fresh &&
					!study.fresh
			}
			if !m.isTrained(run) && !slices.ContainsFunc(next, twin) {
				next = append(next, run)
			}
		}
	}
	return next
}
