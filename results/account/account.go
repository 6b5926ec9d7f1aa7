package account

import (
	"iter"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/listing"
	"trellis/results/trajectory"
)

// Served is a run with the trials that it serves. It belongs to the snapshot and must not be changed.
type Served struct {
	Run *trellisv1.Run
	// Answers are the trials with results, which are those of the run's first milestones.
	Answers []*trellisv1.Trial
	// Indexes are the indexes of all its trials, by milestone.
	Indexes []uint64
}

// Parameters returns the parameters of the trial that ends at one of the run's milestones.
func (s Served) Parameters(milestone int) *trellisv1.Parameters {
	return trajectory.ParametersAt(s.Run, s.Run.Milestones[milestone])
}

// Unanswered returns the state of the trials that have no result.
func (s Served) Unanswered() trellisv1.TrialState { return trajectory.Unanswered(s.Run) }

// Sum is what runs count for together. Its fields are those of trellisv1.Report and trellisv1.AuditSummary.
type Sum struct {
	Runs, Trials uint64

	Trained, Prefixes, EarlyStopped, Collapsed, Shared, Pruned, Failed, Canceled, Open, Diverged uint64

	WeightsMissing uint64
	// Missing has how many of the weights are missing for which reason.
	Missing      map[string]uint64
	SecondsSaved float64
	SharedFrom   map[string]uint64
	// Failures is how many runs have failed.
	Failures uint64

	Succeeded, Due, Equal, SameMachine uint64
	// Disputes is how many runs have been disputed, or could not be audited: they must be looked at one by one.
	Disputes uint64
}

// New returns the sum of no runs.
func New() *Sum { return &Sum{} }

// Of returns the sum of runs.
func Of(runs iter.Seq[Served]) *Sum {
	s := New()
	for its := range runs {
		s.Add(its)
	}
	return s
}

// Add adds a run.
func (s *Sum) Add(its Served) {
	run := its.Run
	s.Runs++
	s.Trials += uint64(len(run.Milestones))
	s.countAnswers(its)
	s.countMissing(its)
	s.SecondsSaved += secondsSaved(its)
	s.addSource(run)
	switch run.State {
	case lifecycle.RunSucceeded:
		s.Succeeded++
	case lifecycle.RunFailed:
		s.Failures++
	}
	audit := run.GetAudit()
	switch audit.GetState() {
	case trellisv1.AuditState_AUDIT_STATE_DUE:
		s.Due++
	case trellisv1.AuditState_AUDIT_STATE_EQUAL:
		s.Equal++
		if audit.GetSameMachine() {
			s.SameMachine++
		}
	}
	if audit.GetState() == trellisv1.AuditState_AUDIT_STATE_GIVEN_UP || run.Decided != nil || run.Dispute != nil {
		s.Disputes++
	}
}

// AddUntouched adds runs that nobody has given anything to.
func (s *Sum) AddUntouched(untouched *trellisv1.Untouched, runs, trials uint64) {
	s.Runs += runs
	s.Trials += trials
	switch trajectory.StateOfUntouched(untouched) {
	case lifecycle.RunFailed:
		s.Failed += trials
		s.Failures += runs
	case lifecycle.RunCanceled:
		s.Canceled += trials
	default:
		s.Open += trials
	}
}

// Join adds another sum.
func (s *Sum) Join(o *Sum) {
	s.Runs += o.Runs
	s.Trials += o.Trials
	s.Trained += o.Trained
	s.Prefixes += o.Prefixes
	s.EarlyStopped += o.EarlyStopped
	s.Collapsed += o.Collapsed
	s.Shared += o.Shared
	s.Pruned += o.Pruned
	s.Failed += o.Failed
	s.Canceled += o.Canceled
	s.Open += o.Open
	s.Diverged += o.Diverged
	s.WeightsMissing += o.WeightsMissing
	s.SecondsSaved += o.SecondsSaved
	s.Failures += o.Failures
	s.Succeeded += o.Succeeded
	s.Due += o.Due
	s.Equal += o.Equal
	s.SameMachine += o.SameMachine
	s.Disputes += o.Disputes
	for reason, trials := range o.Missing {
		addTo(&s.Missing, reason, trials)
	}
	for study, epochs := range o.SharedFrom {
		addTo(&s.SharedFrom, study, epochs)
	}
}

// addTo adds to one of the counts, which may be nil: most sums have none.
func addTo(counts *map[string]uint64, of string, more uint64) {
	if *counts == nil {
		*counts = map[string]uint64{}
	}
	(*counts)[of] += more
}

// countAnswers counts a run's trials by where their results come from, or why they have none. The epochs that come from
// other studies count as the run's first ones: a run only trains what no other has trained.
func (s *Sum) countAnswers(its Served) {
	run, stopped := its.Run, false
	for _, trial := range its.Answers {
		switch {
		case !listing.Finite(trial.Objective):
			s.Diverged++
		case trial.Epochs <= run.SharedEpochs:
			s.Shared++
		case trial.Epochs < run.Epochs:
			s.Prefixes++
		case trial.Epochs == trial.Parameters.GetMaxEpochs():
			s.Trained++
		case !stopped:
			s.EarlyStopped++
			stopped = true
		default:
			s.Collapsed++
		}
	}
	unanswered := uint64(len(run.Milestones) - len(its.Answers))
	switch run.State {
	case trellisv1.RunState_RUN_STATE_PRUNED:
		s.Pruned += unanswered
	case trellisv1.RunState_RUN_STATE_FAILED:
		s.Failed += unanswered
	case trellisv1.RunState_RUN_STATE_CANCELED:
		s.Canceled += unanswered
	default:
		s.Open += unanswered
	}
}

// countMissing counts a run's trials whose weights could not be saved, and notes why.
func (s *Sum) countMissing(its Served) {
	for _, trial := range its.Answers {
		if missing, reason := trajectory.MissingWeights(trial, its.Run); missing {
			s.WeightsMissing++
			addTo(&s.Missing, reason, 1)
		}
	}
}

// secondsSaved returns the worker time that sharing saved for the trials of a run with results, less what was trained for
// those without. Trained separately, each would have taken the time of all its epochs: shared ones at the pace of the study
// that trained them, others at the run's own pace.
func secondsSaved(its Served) float64 {
	run, last := its.Run, len(its.Answers)-1
	saved, wasted := 0.0, run.TrainingSeconds
	for i, trial := range its.Answers {
		shared := min(trial.Epochs, run.SharedEpochs)
		saved += secondsFor(shared, run.SharedSeconds, run.SharedEpochs)
		own := secondsFor(trial.Epochs-shared, run.TrainingSeconds, run.Epochs-run.SharedEpochs)
		if i < last {
			saved += own
		} else {
			// The run's own epochs up to here were trained for this trial.
			wasted -= own
		}
	}
	return saved - wasted
}

// secondsFor returns how long epochs take, if others took the given seconds.
func secondsFor(epochs uint32, seconds float64, others uint32) float64 {
	if epochs == 0 {
		return 0
	}
	return float64(epochs) / float64(others) * seconds
}

// addSource records from which study a run's shared epochs come.
func (s *Sum) addSource(run *trellisv1.Run) {
	if run.SharedEpochs == 0 {
		return
	}
	addTo(&s.SharedFrom, run.SharedFrom, uint64(run.SharedEpochs))
}
