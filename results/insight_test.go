package results_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
	"trellis/results/insight"
	"trellis/results/listing"
)

func init() {
	results.CheckInsight = checkInsight
	results.AskInsight.Best = func(snapshot *results.Snapshot, study string) error {
		_, err := insight.BestTrial(snapshot, &trellisv1.GetBestTrialRequest{Study: study})
		return err
	}
	results.AskInsight.Configurations = func(snapshot *results.Snapshot, study string) error {
		_, err := insight.ListConfigurations(snapshot, &trellisv1.ListConfigurationsRequest{Study: study})
		return err
	}
	results.AskInsight.Report = func(snapshot *results.Snapshot, study string) error {
		_, err := insight.Report(snapshot, study)
		return err
	}
	results.AskInsight.Everything = everythingSaid
}

// everythingSaid is what is said about a study, but for the study as it is stored.
func everythingSaid(snapshot *results.Snapshot, study string) (texts []string) {
	add := func(message proto.Message, err error) {
		text, _ := proto.MarshalOptions{Deterministic: true}.Marshal(message)
		texts = append(texts, fmt.Sprintf("%v %v %x", message, err, text))
	}
	best, err := insight.BestTrial(snapshot, &trellisv1.GetBestTrialRequest{Study: study})
	if best != nil {
		best.Study = nil
	}
	add(best, err)
	request := &trellisv1.ListConfigurationsRequest{Study: study, PageSize: 3, Confidence: 0.9}
	for {
		response, err := insight.ListConfigurations(snapshot, request)
		add(response, err)
		if request.PageToken = response.GetNextPageToken(); request.PageToken == "" {
			break
		}
	}
	report, err := insight.Report(snapshot, study)
	add(report.GetVerdict(), err)
	importance, err := insight.Importance(snapshot, &trellisv1.GetImportanceRequest{Study: study})
	add(importance, err)
	suggested, err := insight.SuggestStudy(context.Background(), snapshot, &trellisv1.SuggestStudyRequest{Study: study}, grid.Models{{Name: "synthetic"}}, nil)
	add(suggested, err)
	return texts
}

// checkInsight compares a study's best trial and report with what is listed of it.
func checkInsight(t *rapid.T, snapshot *results.Snapshot, study *trellisv1.Study) {
	answered := study.Progress.TrialsSucceeded > 0
	best, err := insight.BestTrial(snapshot, &trellisv1.GetBestTrialRequest{Study: study.Name})
	if answered != (err == nil) || !answered && !errors.Is(err, results.ErrNoAnswer) {
		t.Fatalf("%d trials are answered, and the best is %v, %v", study.Progress.TrialsSucceeded, best, err)
	}
	if answered && len(study.Spec.GetSeeds().GetValues()) < 2 && study.Spec.GetSettle() == nil {
		first, err := snapshot.Best(nil, study.Name)
		if err != nil || first.Index != best.Trial.Index {
			t.Fatalf("best trial %v, want %v, error %v", best.Trial, first, err)
		}
	}
	checkReport(t, snapshot, study, best.GetVerdict())
}

func checkReport(t *rapid.T, snapshot *results.Snapshot, study *trellisv1.Study, verdict *trellisv1.Verdict) {
	got, err := insight.Report(snapshot, study.Name)
	if err != nil {
		t.Fatal(err)
	}
	presented, err := snapshot.Presented(study)
	if err != nil {
		t.Fatal(err)
	}
	want := &trellisv1.Report{
		Study: presented, SecondsTrained: study.Progress.TrainingSeconds, Verdict: verdict,
	}
	for _, listed := range listedRuns(t, snapshot, study.Name) {
		listed.countIn(want)
	}
	if want.Digest, err = snapshot.Digest(study.Name); err != nil {
		t.Fatal(err)
	}
	if math.Abs(got.SecondsSaved-want.SecondsSaved) > 1e-9 {
		t.Fatalf("%v seconds were saved, want %v", got.SecondsSaved, want.SecondsSaved)
	}
	got.SecondsSaved = want.SecondsSaved
	slices.SortFunc(got.Failures, func(a, b *trellisv1.Report_FailedRun) int { return strings.Compare(a.Run, b.Run) })
	if !proto.Equal(got, want) {
		t.Fatalf("report:\n got %v\nwant %v", got, want)
	}
	all := got.Trained + got.Prefixes + got.EarlyStopped + got.Collapsed + got.Shared + got.Pruned + got.Failed +
		got.Canceled + got.Open + got.Diverged
	if all != study.Progress.Trials {
		t.Fatalf("%d trials are counted of %d: %v", all, study.Progress.Trials, got)
	}
}

// listedRun is a run with its trials as they are listed, those with the fewest epochs first.
type listedRun struct {
	*trellisv1.Run
	trials []*trellisv1.Trial
}

// listedRuns are those of a study, by id.
func listedRuns(t *rapid.T, snapshot *results.Snapshot, study string) (runs []*listedRun) {
	list, err := snapshot.ListTrials(
		&trellisv1.ListTrialsRequest{Study: study, PageSize: listing.MaxPageSize, OrderBy: "max_epochs"},
	)
	if err != nil || list.NextPageToken != "" {
		t.Fatalf("more trials than on one page, or the error %v", err)
	}
	byID := map[string]*listedRun{}
	for _, trial := range list.Trials {
		if byID[trial.Run] == nil {
			run, err := snapshot.Run(nil, study, trial.Run)
			if err != nil {
				t.Fatal(err)
			}
			byID[trial.Run] = &listedRun{Run: run}
			runs = append(runs, byID[trial.Run])
		}
		byID[trial.Run].trials = append(byID[trial.Run].trials, trial)
	}
	slices.SortFunc(runs, func(a, b *listedRun) int { return strings.Compare(a.Id, b.Id) })
	return runs
}

// countIn adds the run to a report, trial by trial.
func (r *listedRun) countIn(report *trellisv1.Report) {
	report.EpochsTrained += uint64(r.Epochs - r.SharedEpochs)
	report.EpochsShared += uint64(r.SharedEpochs)
	if r.SharedEpochs > 0 && report.SharedFrom == nil {
		report.SharedFrom = map[string]uint64{}
	}
	if r.SharedEpochs > 0 {
		report.SharedFrom[r.SharedFrom] += uint64(r.SharedEpochs)
	}
	failure := &trellisv1.Report_FailedRun{Run: r.Id, Parameters: r.Parameters, Error: r.Error}
	var alone float64
	stopped := 0
	for _, trial := range r.trials {
		diverged := trial.State == trellisv1.TrialState_TRIAL_STATE_DIVERGED
		if !diverged && trial.State != trellisv1.TrialState_TRIAL_STATE_SUCCEEDED {
			*unansweredIn(report, trial.State)++
			failure.Trials = append(failure.Trials, trial.Index)
			continue
		}
		report.EpochsAlone += uint64(trial.Epochs)
		seconds := r.secondsAlone(trial)
		alone += seconds
		switch {
		case diverged:
			report.Diverged++
		case trial.Epochs <= r.SharedEpochs:
			report.Shared++
		case trial.Epochs < r.Epochs:
			report.Prefixes++
		case trial.Epochs == trial.Parameters.MaxEpochs:
			report.Trained++
		default:
			stopped++
		}
	}
	report.EarlyStopped += uint64(min(stopped, 1))
	report.Collapsed += uint64(max(stopped-1, 0))
	report.SecondsSaved += alone - r.TrainingSeconds
	if r.State == trellisv1.RunState_RUN_STATE_FAILED {
		report.FailuresTotal++
		report.Failures = append(report.Failures, failure)
	}
}

// secondsAlone is how long a trial would have taken by itself.
func (r *listedRun) secondsAlone(trial *trellisv1.Trial) (all float64) {
	for epoch := range trial.Epochs {
		if epoch < r.SharedEpochs {
			all += r.SharedSeconds / float64(r.SharedEpochs)
		} else {
			all += r.TrainingSeconds / float64(r.Epochs-r.SharedEpochs)
		}
	}
	return all
}

func unansweredIn(report *trellisv1.Report, state trellisv1.TrialState) *uint64 {
	switch state {
	case trellisv1.TrialState_TRIAL_STATE_PRUNED:
		return &report.Pruned
	case trellisv1.TrialState_TRIAL_STATE_FAILED:
		return &report.Failed
	case trellisv1.TrialState_TRIAL_STATE_CANCELED:
		return &report.Canceled
	default:
		return &report.Open
	}
}
