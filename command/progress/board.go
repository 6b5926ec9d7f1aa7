package progress

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"trellis/command/describe"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// board is what the responses of a watch add up to.
type board struct {
	now   func() time.Time
	study *trellisv1.Study
	// forecast is the last that came, at the time forecastAt.
	forecast   *trellisv1.Forecast
	forecastAt time.Time
	// runs are all that were heard of, by id. Of those that have ended, they have what a later change is compared with: there may be
	// a million of them.
	runs map[string]*trellisv1.Run
	// training are those of them that are being trained.
	training map[string]*trellisv1.Run
	// metrics are those after the last epochs of runs that have not ended, by run.
	metrics map[string]map[string]float64
	best    *trellisv1.Trial
}

func newBoard(now func() time.Time) *board {
	return &board{
		now: now, runs: make(map[string]*trellisv1.Run), training: make(map[string]*trellisv1.Run),
		metrics: make(map[string]map[string]float64),
	}
}

// apply takes in a response. changed, if not nil, is called for each run in it, with what was known of it before.
func (b *board) apply(response *trellisv1.WatchStudyResponse, changed func(before, after *trellisv1.Run)) {
	b.study = response.GetStudy()
	if forecast := b.study.GetForecast(); forecast != nil {
		b.forecast, b.forecastAt = forecast, b.now()
	}
	if response.GetBest() != nil {
		b.best = response.GetBest()
	}
	for run, metrics := range response.GetMetrics() {
		b.metrics[run] = metrics.GetValues()
	}
	for _, run := range response.GetRuns() {
		if changed != nil {
			changed(b.runs[run.GetId()], run)
		}
		b.keep(run)
	}
}

// keep remembers a run as it is now.
func (b *board) keep(run *trellisv1.Run) {
	id := run.GetId()
	b.runs[id] = run
	delete(b.training, id)
	switch {
	case run.GetState() == trellisv1.RunState_RUN_STATE_LEASED:
		b.training[id] = run
	case lifecycle.RunEnded(run.GetState()):
		delete(b.metrics, id)
		b.runs[id] = &trellisv1.Run{
			State: run.State, Epochs: run.Epochs, BestEpoch: run.BestEpoch, Metric: run.Metric, ValidationLoss: run.ValidationLoss,
			Failures: run.Failures, MissingWeights: run.MissingWeights,
		}
	}
}

// objective is what the study's trials are ranked by.
func (b *board) objective() describe.Objective { return describe.ObjectiveOf(b.study.GetSpec()) }

// objectiveHeaders are those of a run's last value of the objective's metric and of its objective so far.
func (b *board) objectiveHeaders() []string {
	if ranked := b.objective(); !ranked.IsDefault() {
		return []string{ranked.Name(), "best"}
	}
	return []string{"loss", "lowest"}
}

// metricNames are what the runs have reported beside their losses, ascending.
func (b *board) metricNames(runs []*trellisv1.Run) []string {
	known := map[string]bool{}
	for _, run := range runs {
		for name := range b.metrics[run.GetId()] {
			known[name] = true
		}
	}
	if ranked := b.objective(); ranked.OfProgram() {
		delete(known, ranked.Name()) // It has a column of its own.
	}
	return slices.Sorted(maps.Keys(known))
}

// done is the part of a study's epochs that is behind it, 0 to 1.
func (b *board) done() float64 {
	progress := b.study.GetProgress()
	all := progress.GetEpochs() + progress.GetEpochsLeft()
	if all == 0 {
		return 0
	}
	return float64(progress.GetEpochs()) / float64(all)
}

// timeLeft estimates how long a study still takes at most, where there is no forecast: with as many runs side by side
// as now, and if none of them stops early. 0 is unknown.
func (b *board) timeLeft() time.Duration {
	progress := b.study.GetProgress()
	trained := progress.GetEpochs() - progress.GetEpochsShared()
	if trained == 0 || progress.GetRunsRunning() == 0 {
		return 0
	}
	epoch := progress.GetTrainingSeconds() / float64(trained)
	return output.DurationOf(epoch * float64(progress.GetEpochsLeft()) / float64(progress.GetRunsRunning()))
}

// describeLeft says when a study ends by its forecast, or how long it takes at most, with a comma before it, or
// nothing.
func (b *board) describeLeft() string {
	if b.study.GetState() != trellisv1.StudyState_STUDY_STATE_RUNNING {
		return ""
	}
	if end := describe.End(b.forecast, b.forecastAt); end != "" {
		return ", " + end
	}
	left := b.timeLeft()
	if left == 0 {
		return ""
	}
	return fmt.Sprintf(", at most %s left", output.ShortDuration(left))
}

// runName is a run's id, shortened to what tells the runs of a study apart.
func runName(run *trellisv1.Run) string {
	id := run.GetId()
	return id[:min(len(id), 8)]
}

// newlyAnswered returns those of a run's milestones that the change has answered.
func newlyAnswered(before, after *trellisv1.Run) []uint32 {
	isAnswered := func(run *trellisv1.Run, milestone uint32) bool {
		return run.GetState() == trellisv1.RunState_RUN_STATE_SUCCEEDED ||
			run.GetEpochs() >= milestone && !trajectory.Unranked(run)
	}
	var milestones []uint32
	for _, milestone := range after.GetMilestones() {
		if isAnswered(after, milestone) && !isAnswered(before, milestone) {
			milestones = append(milestones, milestone)
		}
	}
	return milestones
}
