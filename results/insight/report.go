package insight

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/listing"
	"trellis/results/trajectory"
)

// MaxReportedFailures is the maximum number of failed runs that a report lists. It lists fewer if they have so many
// trials that the list would be larger than a page.
const MaxReportedFailures = 100

// maxReasons is how many reasons for missing weights a report gives.
const maxReasons = 10

// Report accounts for every point of a study's grid, as of now: see trellisv1.Report. Its verdict uses the study's own
// confidence, and is unset if there are no results. It fails with ErrNotFound if there is no such study.
func Report(snapshot *results.Snapshot, name string) (*trellisv1.Report, error) {
	study, err := snapshot.Study(nil, name)
	if err != nil {
		return nil, err
	}
	report, err := reportOn(snapshot, study)
	if err != nil {
		return nil, fmt.Errorf("report on study %s: %w", name, err)
	}
	return report, nil
}

func reportOn(snapshot *results.Snapshot, study *trellisv1.Study) (*trellisv1.Report, error) {
	runs, err := snapshot.Served(study.Name)
	if err != nil {
		return nil, err
	}
	progress := study.Progress
	presented, err := snapshot.Presented(study)
	if err != nil {
		return nil, err
	}
	report := &trellisv1.Report{
		Study:          presented,
		EpochsTrained:  progress.Epochs - progress.EpochsShared,
		EpochsShared:   progress.EpochsShared,
		EpochsAlone:    progress.EpochsAlone,
		SecondsTrained: progress.TrainingSeconds,
	}
	failures, missing, audits := listing.MaxPageBytes, map[string]uint64{}, newAudits()
	for its := range runs {
		countAnswers(report, its)
		countMissing(report, missing, its)
		report.SecondsSaved += secondsSaved(its)
		addSource(report, its.Run)
		audits.add(its)
		if its.Run.State == trellisv1.RunState_RUN_STATE_FAILED {
			addFailure(report, &failures, its)
		}
	}
	if err := snapshot.Err(); err != nil {
		return nil, err
	}
	report.MissingReasons = mostFrequent(missing)
	report.Audits = audits.done()
	if report.Digest, err = snapshot.Digest(study.Name); err != nil {
		return nil, err
	}
	report.Verdict, err = Verdict(snapshot, study.Name, 0)
	if errors.Is(err, results.ErrNoAnswer) {
		err = nil
	}
	return report, err
}

// countAnswers counts a run's trials by where their results come from, or why they have none. The epochs that come from
// other studies count as the run's first ones: a run only trains what no other has trained.
func countAnswers(report *trellisv1.Report, its results.Served) {
	run, stopped := its.Run, false
	for _, trial := range its.Answers {
		switch {
		case !listing.Finite(trial.Objective):
			report.Diverged++
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
	unanswered := uint64(len(run.Milestones) - len(its.Answers))
	switch run.State {
	case trellisv1.RunState_RUN_STATE_PRUNED:
		report.Pruned += unanswered
	case trellisv1.RunState_RUN_STATE_FAILED:
		report.Failed += unanswered
	case trellisv1.RunState_RUN_STATE_CANCELED:
		report.Canceled += unanswered
	default:
		report.Open += unanswered
	}
}

// countMissing counts a run's trials whose weights could not be saved, and notes why.
func countMissing(report *trellisv1.Report, reasons map[string]uint64, its results.Served) {
	for _, trial := range its.Answers {
		if missing, reason := trajectory.MissingWeights(trial, its.Run); missing {
			report.WeightsMissing++
			reasons[reason]++
		}
	}
}

// mostFrequent are at most maxReasons of the reasons, the most frequent first.
func mostFrequent(reasons map[string]uint64) []*trellisv1.Report_MissingReason {
	var all []*trellisv1.Report_MissingReason
	for reason, trials := range reasons {
		all = append(all, &trellisv1.Report_MissingReason{Reason: reason, Trials: trials})
	}
	slices.SortFunc(all, func(a, b *trellisv1.Report_MissingReason) int {
		return cmp.Or(cmp.Compare(b.Trials, a.Trials), strings.Compare(a.Reason, b.Reason))
	})
	return all[:min(len(all), maxReasons)]
}

// secondsSaved returns the worker time that sharing saved for the trials of a run with results, less what was trained for
// those without. Trained separately, each would have taken the time of all its epochs: shared ones at the pace of the study
// that trained them, others at the run's own pace.
func secondsSaved(its results.Served) float64 {
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
func addSource(report *trellisv1.Report, run *trellisv1.Run) {
	if run.SharedEpochs == 0 {
		return
	}
	if report.SharedFrom == nil {
		report.SharedFrom = map[string]uint64{}
	}
	report.SharedFrom[run.SharedFrom] += uint64(run.SharedEpochs)
}

// addFailure lists a failed run with those of its trials that have no result, if there are bytes left.
func addFailure(report *trellisv1.Report, left *int, its results.Served) {
	report.FailuresTotal++
	if len(report.Failures) == MaxReportedFailures {
		return
	}
	run := its.Run
	failure := &trellisv1.Report_FailedRun{
		Run: run.Id, Parameters: run.Parameters, Error: run.Error, Trials: its.Indexes[len(its.Answers):],
	}
	if *left > 0 {
		*left -= proto.Size(failure)
		report.Failures = append(report.Failures, failure)
	}
}
