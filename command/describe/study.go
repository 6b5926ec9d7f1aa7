package describe

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// StudyColumns are those of a list of studies.
var StudyColumns = []output.Column[*trellisv1.Study]{
	output.Both("name", (*trellisv1.Study).GetName),
	output.Both("state", StudyState),
	output.Both("model", modelOf),
	output.Both("trials", ProgressOf((*trellisv1.Progress).GetTrials)),
	output.Both("trials_succeeded", ProgressOf((*trellisv1.Progress).GetTrialsSucceeded)),
	ifAny("trials_diverged", (*trellisv1.Progress).GetTrialsDiverged),
	output.Both("trials_failed", ProgressOf((*trellisv1.Progress).GetTrialsFailed)),
	{Name: "trials_canceled", Plain: ProgressOf((*trellisv1.Progress).GetTrialsCanceled)},
	ifAny("trials_pruned", (*trellisv1.Progress).GetTrialsPruned),
	output.Both("epochs", ProgressOf((*trellisv1.Progress).GetEpochs)),
	output.Both("epochs_left", ProgressOf((*trellisv1.Progress).GetEpochsLeft)),
	ifAny("epochs_shared", (*trellisv1.Progress).GetEpochsShared),
	{
		Name: "seconds_shared", Plain: func(s *trellisv1.Study) string {
			return output.PlainNumber(s.GetProgress().GetSecondsShared())
		},
	},
	{Name: "epochs_alone", Plain: ProgressOf((*trellisv1.Progress).GetEpochsAlone)},
	{Name: "seconds_left", Plain: secondsLeft((*trellisv1.Estimate).GetExpected)},
	{Name: "seconds_left_low", Plain: secondsLeft((*trellisv1.Estimate).GetLow)},
	{Name: "seconds_left_high", Plain: secondsLeft((*trellisv1.Estimate).GetHigh)},
	{
		Name: "create_time", Plain: createTime, Short: func(study *trellisv1.Study) string {
			return output.ShortTime(study.GetCreateTime())
		},
	},
	{Name: "end_time", Plain: endTime},
	output.Both("waiting_for", waitingWord),
}

// ForecastColumn is in tables only: it depends on the time at which it is written.
func ForecastColumn(now time.Time) output.Column[*trellisv1.Study] {
	return output.Column[*trellisv1.Study]{Name: "ends_about", Short: func(study *trellisv1.Study) string {
		return EndShortly(study.GetForecast(), now)
	}}
}

// ifAny is a column that a table leaves out where it is 0 everywhere.
func ifAny(name string, get func(*trellisv1.Progress) uint64) output.Column[*trellisv1.Study] {
	plain := ProgressOf(get)
	return output.Column[*trellisv1.Study]{Name: name, Plain: plain, Short: func(study *trellisv1.Study) string {
		if get(study.GetProgress()) == 0 {
			return ""
		}
		return plain(study)
	}}
}

// secondsLeft is a number of a study's forecast, or empty where there is none.
func secondsLeft(get func(*trellisv1.Estimate) float64) func(*trellisv1.Study) string {
	return func(study *trellisv1.Study) string {
		left := study.GetForecast().GetSeconds()
		if left == nil {
			return ""
		}
		return output.PlainNumber(get(left))
	}
}

// StudyState is a study's state in lower case.
func StudyState(study *trellisv1.Study) string {
	return output.EnumWord(study.GetState())
}

func modelOf(study *trellisv1.Study) string { return study.GetSpec().GetModel() }

func createTime(study *trellisv1.Study) string { return output.PlainTime(study.GetCreateTime()) }

func endTime(study *trellisv1.Study) string { return output.PlainTime(study.GetEndTime()) }

// ProgressOf writes a count of a study's progress.
func ProgressOf(count func(*trellisv1.Progress) uint64) func(*trellisv1.Study) string {
	return func(study *trellisv1.Study) string { return strconv.FormatUint(count(study.GetProgress()), 10) }
}

// Progress says in words how far a study has come.
func Progress(study *trellisv1.Study) string {
	progress := study.GetProgress()
	parts := []string{
		fmt.Sprintf("%d of %s succeeded", progress.GetTrialsSucceeded(), output.Count(progress.GetTrials(), "trial")),
	}
	for _, part := range []struct {
		number uint64
		what   string
	}{
		{progress.GetTrialsDiverged(), "diverged"},
		{progress.GetTrialsFailed(), "failed"},
		{progress.GetTrialsPruned(), "pruned by a heuristic"},
		{progress.GetTrialsCanceled(), "canceled"},
	} {
		if part.number > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.number, part.what))
		}
	}
	parts = append(parts, output.Count(progress.GetEpochs()-progress.GetEpochsShared(), "epoch")+" trained")
	if shared := progress.GetEpochsShared(); shared > 0 {
		parts = append(parts, fmt.Sprintf("%d from other studies, which saved %s", shared,
			output.ShortSeconds(progress.GetSecondsShared())))
	}
	return strings.Join(parts, ", ")
}

// Sampled says which part of its grid a study has: 500 of 1,000,000 trials of the grid, in random order. It returns ""
// if the study has all of it.
func Sampled(study *trellisv1.Study) string {
	if study.GetGridTrials() == 0 {
		return ""
	}
	order := "the longest runs first"
	switch study.GetSpec().GetOrder() {
	case trellisv1.Order_ORDER_RANDOM:
		order = "in random order"
	case trellisv1.Order_ORDER_AS_WRITTEN:
		order = "in the order of the grid"
	}
	trials := output.Grouped(study.GetProgress().GetTrials())
	if study.GetSpec().GetSettle() != nil {
		trials = "some" // Trials with other seeds are not the grid's.
	}
	return fmt.Sprintf("%s of %s trials of the grid, %s", trials, output.Grouped(study.GetGridTrials()), order)
}

// OutOfTime says that runs were not trained because the time of a study's budget was over. It returns "" if there are
// none.
func OutOfTime(study *trellisv1.Study) string {
	p, time := study.GetProgress(), study.GetSpec().GetBudget().GetTime()
	if time == nil || p.GetTrialsCanceled() == 0 || study.GetState() == trellisv1.StudyState_STUDY_STATE_CANCELED {
		return ""
	}
	return fmt.Sprintf("the time budget of %s was over before %s began", output.ShortDuration(time.AsDuration()),
		output.Verb(int(p.GetTrialsCanceled()), "it", "they"))
}
