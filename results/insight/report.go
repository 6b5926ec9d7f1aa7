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
	"trellis/results/lifecycle"
	"trellis/results/listing"
)

// MaxReportedFailures is the maximum number of failed runs that a report lists. It lists fewer if they have so many
// trials that the list would be larger than a page.
const MaxReportedFailures = 100

// maxDigested is how many runs a study may have so that a report has its digest before it has ended. It is computed from all
// losses: those of a million runs take seconds.
const maxDigested = 1 << 16

// DigestedLate says whether a study is so large that its reports have a digest only once it has ended.
func DigestedLate(study *trellisv1.Study) bool { return study.GetProgress().GetRuns() > maxDigested }

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
	progress := study.Progress
	presented, err := snapshot.Presented(study)
	if err != nil {
		return nil, err
	}
	sum, err := snapshot.Account(study.Name)
	if err != nil {
		return nil, err
	}
	report := &trellisv1.Report{
		Study:          presented,
		EpochsTrained:  progress.Epochs - progress.EpochsShared,
		EpochsShared:   progress.EpochsShared,
		EpochsAlone:    progress.EpochsAlone,
		SecondsTrained: progress.TrainingSeconds,
		SecondsSaved:   sum.SecondsSaved,

		Trained: sum.Trained, Prefixes: sum.Prefixes, EarlyStopped: sum.EarlyStopped, Collapsed: sum.Collapsed,
		Shared: sum.Shared, Pruned: sum.Pruned, Failed: sum.Failed, Canceled: sum.Canceled, Open: sum.Open,
		Diverged: sum.Diverged, WeightsMissing: sum.WeightsMissing, FailuresTotal: sum.Failures,
		MissingReasons: mostFrequent(sum.Missing), SharedFrom: sum.SharedFrom,
	}
	if err := addFailures(snapshot, report); err != nil {
		return nil, err
	}
	if report.Audits, err = auditsOf(snapshot, study.Name, sum); err != nil {
		return nil, err
	}
	if lifecycle.StudyEnded(study.State) || !DigestedLate(study) {
		if report.Digest, err = snapshot.Digest(study.Name); err != nil {
			return nil, err
		}
	}
	report.Verdict, err = Verdict(snapshot, study.Name, 0)
	if errors.Is(err, results.ErrNoAnswer) {
		err = nil
	}
	return report, err
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

// addFailures lists failed runs with those of their trials that have no result, as far as there is room.
func addFailures(snapshot *results.Snapshot, report *trellisv1.Report) error {
	if report.FailuresTotal == 0 {
		return nil
	}
	failed, err := snapshot.Failed(report.GetStudy().GetName())
	if err != nil {
		return err
	}
	left := listing.MaxPageBytes
	for its := range failed {
		if len(report.Failures) == MaxReportedFailures || left <= 0 {
			break
		}
		run := its.Run
		failure := &trellisv1.Report_FailedRun{
			Run: run.Id, Parameters: run.Parameters, Error: run.Error, Trials: its.Indexes[len(its.Answers):],
		}
		left -= proto.Size(failure)
		report.Failures = append(report.Failures, failure)
	}
	return snapshot.Err()
}
