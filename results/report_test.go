package results

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
)

// checkReport compares a study's report and digest with those that are made of what is listed of it.
func (m *storeMachine) checkReport(t *rapid.T, snapshot *Snapshot, study *trellisv1.Study) {
	got, err := snapshot.Report(study.Name)
	if err != nil {
		t.Fatal(err)
	}
	want := &trellisv1.Report{Study: study, SecondsTrained: study.Progress.TrainingSeconds, Heuristic: got.Heuristic}
	runs := listedRuns(t, snapshot, study.Name)
	for _, listed := range runs {
		listed.countIn(want)
	}
	want.Digest = digestOfListed(t, snapshot, runs)
	want.Verdict, err = snapshot.Verdict(study.Name, 0)
	if answered := study.Progress.TrialsSucceeded > 0; answered != (err == nil) {
		t.Fatalf("%d trials are answered, and the verdict is %v, %v", study.Progress.TrialsSucceeded, want.Verdict, err)
	}
	if math.Abs(got.SecondsSaved-want.SecondsSaved) > 1e-9 {
		t.Fatalf("%v seconds were saved, want %v", got.SecondsSaved, want.SecondsSaved)
	}
	got.SecondsSaved = want.SecondsSaved
	slices.SortFunc(got.Failures, func(a, b *trellisv1.Report_FailedRun) int { return strings.Compare(a.Run, b.Run) })
	if !proto.Equal(got, want) {
		t.Fatalf("report:\n got %v\nwant %v", got, want)
	}
	all := got.Trained + got.Prefixes + got.EarlyStopped + got.Collapsed + got.Shared + got.Pruned + got.Failed + got.Canceled +
		got.Open
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
func listedRuns(t *rapid.T, snapshot *Snapshot, study string) (runs []*listedRun) {
	list, err := snapshot.ListTrials(&trellisv1.ListTrialsRequest{Study: study, PageSize: MaxPageSize, OrderBy: "max_epochs"})
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
	var alone, needed float64
	stopped := 0
	for _, trial := range r.trials {
		if trial.State != trialSucceeded {
			*unansweredIn(report, trial.State)++
			failure.Trials = append(failure.Trials, trial.Index)
			continue
		}
		report.EpochsAlone += uint64(trial.Epochs)
		seconds, own := r.secondsAlone(trial)
		alone, needed = alone+seconds, max(needed, own)
		switch {
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
	report.SecondsSaved += alone - needed
	if r.State == runFailed {
		report.FailuresTotal++
		report.Failures = append(report.Failures, failure)
	}
}

// secondsAlone is how long a trial would have taken by itself, and how much of that in its own study.
func (r *listedRun) secondsAlone(trial *trellisv1.Trial) (all, own float64) {
	for epoch := range trial.Epochs {
		if epoch < r.SharedEpochs {
			all += r.SharedSeconds / float64(r.SharedEpochs)
		} else {
			own += r.TrainingSeconds / float64(r.Epochs-r.SharedEpochs)
		}
	}
	return all + own, own
}

func unansweredIn(report *trellisv1.Report, state trellisv1.TrialState) *uint64 {
	switch state {
	case trialPruned:
		return &report.Pruned
	case trialFailed:
		return &report.Failed
	case trialCanceled:
		return &report.Canceled
	default:
		return &report.Open
	}
}

// TestCountAnswers: every class, of runs that were trained and taken over to all extents.
func TestCountAnswers(t *testing.T) {
	for _, test := range []struct {
		name           string
		state          trellisv1.RunState
		epochs, shared uint32
		want           *trellisv1.Report
		// saved is in seconds: a shared epoch took 2 s, one of the study's own 1 s.
		saved float64
	}{
		{"nothing yet", runPending, 0, 0, &trellisv1.Report{Open: 3}, 0},
		{"the first is reached", runLeased, 10, 0, &trellisv1.Report{Trained: 1, Open: 2}, 0},
		{"the first is passed", runLeased, 15, 0, &trellisv1.Report{Prefixes: 1, Open: 2}, 0},
		{"all are reached", runSucceeded, 30, 0, &trellisv1.Report{Prefixes: 2, Trained: 1}, 30},
		{"stopped at once", runSucceeded, 4, 0, &trellisv1.Report{EarlyStopped: 1, Collapsed: 2}, 8},
		{"stopped after the first", runSucceeded, 15, 0, &trellisv1.Report{Prefixes: 1, EarlyStopped: 1, Collapsed: 1}, 25},
		{"stopped where one ends", runSucceeded, 20, 0, &trellisv1.Report{Prefixes: 1, Trained: 1, EarlyStopped: 1}, 30},
		{"stopped before the last ends", runSucceeded, 25, 0, &trellisv1.Report{Prefixes: 2, EarlyStopped: 1}, 30},
		{"all are taken over", runSucceeded, 30, 30, &trellisv1.Report{Shared: 3}, 120},
		{"an early end is taken over", runSucceeded, 15, 15, &trellisv1.Report{Shared: 3}, 80},
		{"some are taken over", runPending, 20, 20, &trellisv1.Report{Shared: 2, Open: 1}, 60},
		{"the last is trained", runSucceeded, 30, 20, &trellisv1.Report{Shared: 2, Trained: 1}, 100},
		{"most is taken over", runSucceeded, 30, 15, &trellisv1.Report{Shared: 1, Prefixes: 1, Trained: 1}, 85},
		{"failed", runFailed, 12, 0, &trellisv1.Report{Prefixes: 1, Failed: 2}, 0},
		{"pruned", runPruned, 20, 0, &trellisv1.Report{Prefixes: 1, Trained: 1, Pruned: 1}, 10},
		{"canceled", runCanceled, 9, 0, &trellisv1.Report{Canceled: 3}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			run, _ := testRun("a", 16, 0, 10, 20, 30)
			run.State, run.Epochs, run.SharedEpochs = test.state, test.epochs, test.shared
			run.SharedSeconds, run.TrainingSeconds = float64(2*test.shared), float64(test.epochs-test.shared)
			m := &member{run: run}
			for _, milestone := range run.Milestones[:answeredTrials(run)] {
				m.answers = append(m.answers, &trellisv1.Trial{
					Parameters: parametersAt(run, milestone), Epochs: min(milestone, run.Epochs),
				})
			}
			got := &trellisv1.Report{}
			countAnswers(got, m)
			equal(t, "trials", got, test.want)
			if saved := secondsSaved(m); math.Abs(saved-test.saved) > 1e-9 {
				t.Errorf("%v seconds were saved, want %v", saved, test.saved)
			}
		})
	}
}

// TestReportFailures: what failed is listed with its trials, up to a limit, and counted beyond it.
func TestReportFailures(t *testing.T) {
	const failed = MaxReportedFailures + 20
	store := newStore(t)
	var runs []*trellisv1.Run
	var trials []*trellisv1.Trial
	for i := range failed + 10 {
		run, its := testRun(fmt.Sprintf("run%03d", i), 16, uint64(3*i), 2, 4)
		runs, trials = append(runs, run), append(trials, its...)
	}
	ok(t, store.CreateStudy(1, at(1), &trellisv1.Study{Name: "s"}, runs, trials))
	ok(t, store.SetWorker(2, at(2), &trellisv1.Worker{Name: "w", State: workerReady, Slots: failed}))
	for i := range failed {
		attempt := grant1(t, store, uint64(2*i+3), "s", runs[i].Id, "w")
		record(t, store, uint64(2*i+4), reportEntry("s", runs[i].Id, attempt, 1, 1, 1, nil),
			reportEntry("s", runs[i].Id, attempt, 2, 1, 1, nil),
			failureEntry("s", runs[i].Id, attempt, trellisv1.FailureClass_FAILURE_CLASS_OUT_OF_MEMORY, "too large"))
	}
	report, err := store.Snapshot().Report("s")
	ok(t, err)
	if report.FailuresTotal != failed || len(report.Failures) != MaxReportedFailures || report.Failed != failed ||
		report.Trained != failed || report.Open != 20 {
		t.Errorf("%d failures in all, %d are listed: %v", report.FailuresTotal, len(report.Failures), report)
	}
	for i, failure := range report.Failures {
		equal(t, "failure", failure, &trellisv1.Report_FailedRun{
			Run: runs[i].Id, Parameters: runs[i].Parameters, Error: "memory ran out, on worker w: too large",
			Trials: []uint64{uint64(3*i + 1)},
		})
	}
	if _, err := store.Snapshot().Report("x"); !isNotFound(err) {
		t.Errorf("report on a study that there is none of: %v", err)
	}
	if _, err := store.Snapshot().Digest("x"); !isNotFound(err) {
		t.Errorf("digest of a study that there is none of: %v", err)
	}
}
