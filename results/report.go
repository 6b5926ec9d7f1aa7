package results

import (
	"errors"
	"fmt"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/pruning"
)

// MaxReportedFailures is how many failed runs a report lists. It has fewer if their trials are so many that the list would be
// larger than a page.
const MaxReportedFailures = 100

// Report accounts for every point of a study's grid, as it stands: see trellisv1.Report. Its verdict is at the study's
// own confidence, and unset if nothing has been answered. It fails with ErrNotFound if there is no such study.
func (s *Snapshot) Report(name string) (*trellisv1.Report, error) {
	study, err := s.Study(nil, name)
	if err != nil {
		return nil, err
	}
	report, err := s.report(study)
	if err != nil {
		return nil, fmt.Errorf("report on study %s: %w", name, err)
	}
	return report, nil
}

func (s *Snapshot) report(study *trellisv1.Study) (*trellisv1.Report, error) {
	c, err := s.catalog(study.Name)
	if err != nil {
		return nil, err
	}
	members, err := s.membersOf(study.Name)
	if err != nil {
		return nil, err
	}
	progress := study.Progress
	report := &trellisv1.Report{
		Study:          study,
		EpochsTrained:  progress.Epochs - progress.EpochsShared,
		EpochsShared:   progress.EpochsShared,
		EpochsAlone:    progress.EpochsAlone,
		SecondsTrained: progress.TrainingSeconds,
		Heuristic:      pruning.Name(study.Spec.GetPruning()),
	}
	failures := room(MaxPageBytes)
	all := make([]*member, 0, len(c.places))
	for member := range members {
		countAnswers(report, member)
		report.SecondsSaved += secondsSaved(member)
		addSource(report, member.run)
		if member.run.State == runFailed {
			addFailure(report, &failures, member, c.indexesAt(uint32(len(all))))
		}
		all = append(all, member)
	}
	report.Digest = digestOf(all)
	report.Verdict, err = s.Verdict(study.Name, 0)
	if errors.Is(err, ErrNoAnswer) {
		err = nil
	}
	return report, err
}

// countAnswers counts a run's trials by how they were answered, or why they were not. The epochs that a run has taken over
// are taken for its first ones: it trains itself what nobody else has trained.
func countAnswers(report *trellisv1.Report, member *member) {
	run, stopped := member.run, false
	for _, trial := range member.answers {
		switch {
		case trial.Epochs <= run.SharedEpochs:
			report.Shared++
		case trial.Epochs < run.Epochs:
			report.Prefixes++
		case trial.Epochs == trial.Parameters.GetMaxEpochs():
			report.Trained++
		case !stopped:
			report.EarlyStopped++
			stopped = true
		default:
			report.Collapsed++
		}
	}
	unanswered := uint64(len(run.Milestones) - len(member.answers))
	switch run.State {
	case runPruned:
		report.Pruned += unanswered
	case runFailed:
		report.Failed += unanswered
	case runCanceled:
		report.Canceled += unanswered
	default:
		report.Open += unanswered
	}
}

// secondsSaved is the worker time that the answered trials of a run did not take: each by itself would have taken its epochs,
// those that were taken over at the pace that they had where they were trained, the others at that of the run. The last
// answered trial is the one that the run's own epochs were trained for.
func secondsSaved(member *member) float64 {
	run, last := member.run, len(member.answers)-1
	saved := 0.0
	for i, trial := range member.answers {
		shared := min(trial.Epochs, run.SharedEpochs)
		saved += secondsFor(shared, run.SharedSeconds, run.SharedEpochs)
		if i < last {
			saved += secondsFor(trial.Epochs-shared, run.TrainingSeconds, run.Epochs-run.SharedEpochs)
		}
	}
	return saved
}

// secondsFor is how long epochs take at the pace at which others took so many seconds.
func secondsFor(epochs uint32, seconds float64, others uint32) float64 {
	if epochs == 0 {
		return 0
	}
	return float64(epochs) / float64(others) * seconds
}

// addSource notes which study a run has taken epochs over from.
func addSource(report *trellisv1.Report, run *trellisv1.Run) {
	if run.SharedEpochs == 0 {
		return
	}
	if report.SharedFrom == nil {
		report.SharedFrom = map[string]uint64{}
	}
	report.SharedFrom[run.SharedFrom] += uint64(run.SharedEpochs)
}

// addFailure lists a failed run, as far as there is room, with those of its trials that have not been answered. Indexes are
// those of all its trials.
func addFailure(report *trellisv1.Report, left *room, member *member, indexes []uint64) {
	report.FailuresTotal++
	if len(report.Failures) == MaxReportedFailures {
		return
	}
	run := member.run
	failure := &trellisv1.Report_FailedRun{
		Run: run.Id, Parameters: run.Parameters, Error: run.Error, Trials: indexes[len(member.answers):],
	}
	if left.take(failure) {
		report.Failures = append(report.Failures, failure)
	}
}
