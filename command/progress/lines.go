package progress

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"trellis/command/client"
	"trellis/command/describe"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

const (
	// epochLines is how often a run's epochs are written at most: the last of those in between stands for all.
	epochLines = time.Second
	// studyLines is how often the study's state is written at most.
	studyLines = 10 * time.Second
)

// lineView shows a study's progress as lines of text, for logs and pipes.
type lineView struct {
	// mu lets stages be shown beside updates.
	mu  sync.Mutex
	out io.Writer
	now func() time.Time

	board *board
	axes  describe.Axes
	// written is when a run's last line was written, by its id.
	written map[string]time.Time
	// summed is when the study's last line was written.
	summed time.Time
	best   string
	// others is what was last written of other stages, by their studies, and told when.
	others map[string]string
	told   time.Time
	// failures are those of an update.
	failures failures
	// trialsOf returns a study's trials at the first ones of points, as many as it finds in time, nil for each that is
	// not known. It may be nil. answered are those that it has returned for an update.
	trialsOf func(study *trellisv1.Study, points []*trellisv1.Parameters) []*trellisv1.Trial
	answered map[milestone]*trellisv1.Trial
}

var _ client.ProgressView = (*lineView)(nil)

func newLineView(out io.Writer, now func() time.Time) *lineView {
	return &lineView{
		out: out, now: now, board: newBoard(now), written: make(map[string]time.Time), others: make(map[string]string),
	}
}

func (v *lineView) Write(notice []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.out.Write(notice)
}

func (v *lineView) Close() error { return nil }

// Update writes what has happened since the last update. What had happened before the watch began is summed up only.
func (v *lineView) Update(response *trellisv1.WatchStudyResponse) {
	answered := v.overtaken(response)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.answered = answered
	first := v.board.study == nil
	before, waited := v.board.study.GetState(), v.board.study.GetWaitingFor()
	if first {
		v.board.apply(response, nil)
		v.axes = describe.VariedAxes(v.board.study.GetSpec())
		if !lifecycle.StudyEnded(v.board.study.GetState()) {
			v.start()
		}
	} else {
		v.axes = describe.VariedAxes(response.GetStudy().GetSpec())
		v.grown(v.board.study, response.GetStudy())
		before := v.board.study
		v.board.apply(response, v.changed)
		for _, line := range append(v.failures.close(), untouchedFailed(before, v.board.study)...) {
			v.line("%s", line)
		}
	}
	v.bestLine()
	study := v.board.study
	switch waits := describe.WaitingFor(study); {
	case waits != "" && waited == nil:
		v.line("study %s waits for %s", study.GetName(), waits)
	case waits == "" && waited != nil && !lifecycle.StudyEnded(study.GetState()):
		v.line("study %s no longer waits", study.GetName())
	}
	switch {
	case response.GetIndex() < study.GetModifyIndex():
		// More of the same change is on its way.
	case lifecycle.StudyEnded(study.GetState()):
		v.line("study %s is %s: %s", study.GetName(), describe.StudyState(study), describe.Progress(study))
	case !first && study.GetState() != before:
		v.line("study %s is %s", study.GetName(), describe.StudyState(study))
	case !first && v.now().Sub(v.summed) >= studyLines:
		v.sum()
	}
}

// showStages writes how far other stages are that are under way, as often as it does of the study itself.
func (v *lineView) showStages(stages []stage, followed string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.now().Sub(v.told) < studyLines {
		return
	}
	for _, s := range stages {
		if s.Study == followed || s.study == nil || lifecycle.StudyEnded(s.study.GetState()) {
			continue
		}
		text := fmt.Sprintf("study %s is %s: %s", s.Study, describe.StudyState(s.study), percentDone(s.study))
		if v.others[s.Study] != text {
			v.others[s.Study], v.told = text, v.now()
			v.line("%s", text)
		}
	}
}

// grown says that a study has more trials than before, and why.
func (v *lineView) grown(before, after *trellisv1.Study) {
	trials := after.GetProgress().GetTrials()
	if trials <= before.GetProgress().GetTrials() {
		return
	}
	why := ": settle adds a seed to the configurations tied with the best"
	if grid.Extensions(after) > grid.Extensions(before) {
		why = " was extended"
	}
	v.line("study %s%s: %s more, %d in total", after.GetName(), why,
		output.Count(trials-before.GetProgress().GetTrials(), "trial"), trials)
}

func (v *lineView) start() {
	study := v.board.study
	progress := study.GetProgress()
	v.line("study %s is %s: %s in %s, at most %s", study.GetName(), describe.StudyState(study),
		output.Count(progress.GetTrials(), "trial"), output.Count(progress.GetRuns(), "run"),
		output.Count(progress.GetEpochs()+progress.GetEpochsLeft(), "epoch"))
	if sharing := describe.Sharing(progress, nil); sharing != "" {
		v.line("study %s: %s", study.GetName(), sharing)
	}
	v.summed = v.now()
	if progress.GetEpochs() > 0 {
		v.sum()
	}
}

// sum writes how far the study is.
func (v *lineView) sum() {
	progress := v.board.study.GetProgress()
	v.line("study %s: %.0f%% done, %d of at most %s%s", v.board.study.GetName(), 100*v.board.done(),
		progress.GetEpochs(),
		output.Count(progress.GetEpochs()+progress.GetEpochsLeft(), "epoch"), v.board.describeLeft())
	v.summed = v.now()
}

func (v *lineView) changed(before, after *trellisv1.Run) {
	name := "run " + runName(after) + describe.InBrackets(describe.Parameters(after.GetParameters(), v.axes))
	written, known := v.written[after.GetId()]
	trained := after.GetEpochs() > before.GetEpochs()
	if trained && (!known || lifecycle.RunEnded(after.GetState()) || v.now().Sub(written) >= epochLines) {
		v.written[after.GetId()] = v.now()
		v.line("%s: epoch %d/%d%s%s%s", name, after.GetEpochs(), after.GetParameters().GetMaxEpochs(),
			v.describeLosses(after), v.describeLowest(after), v.describeMetrics(v.board.metrics[after.GetId()]))
	}
	for _, line := range v.failures.add(before, after, v.axes) {
		v.line("%s", line)
	}
	if isPruned(after) && !isPruned(before) {
		v.line("%s: pruned by a heuristic after epoch %d of %d", name, after.GetEpochs(),
			after.GetParameters().GetMaxEpochs())
	}
	for _, epochs := range newlyAnswered(before, after) {
		best, epoch := bestOf(after), after.GetBestEpoch()
		if its := v.answered[milestone{after.GetId(), epochs}]; its != nil {
			best, epoch = its.Objective, its.GetBestEpoch()
			if hasDiverged(its) {
				best = nil
			}
		}
		point := trajectory.ParametersAt(after, epochs)
		v.answerLine(describe.Point(point, v.axes), best, epoch, epochs)
	}
	if lifecycle.RunEnded(after.GetState()) {
		delete(v.written, after.GetId())
	}
}

// answerLine says that a trial has its result: the value of an epoch, or none if it diverged. An epoch that the trial
// does not have is another's.
func (v *lineView) answerLine(trial string, value *float64, epoch, maxEpochs uint32) {
	ranked := v.board.objective()
	switch {
	case value == nil && ranked.OfProgram():
		v.line("trial diverged (%s): no finite %s was reported", trial, ranked.Name())
	case value == nil:
		v.line("trial diverged (%s): no %s is a finite number", trial, ranked.Name())
	case epoch > maxEpochs:
		v.line("trial succeeded (%s)", trial)
	default:
		v.line("trial succeeded (%s): %s %s%s at epoch %d", trial, ranked.Name(), output.ShortLoss(*value),
			ranked.Counts(), epoch)
	}
}

// bestOf is a run's objective so far, nil if it is not a finite number.
func bestOf(run *trellisv1.Run) *float64 {
	if run.Objective != nil {
		return run.Objective
	}
	return run.BestValidationLoss
}

// describeLosses is what a run's last epoch has, with a comma before each: a model its losses, a program none.
func (v *lineView) describeLosses(run *trellisv1.Run) string {
	if v.board.objective().OfProgram() {
		return ""
	}
	return fmt.Sprintf(", training loss %s, validation loss %s", output.ShortLoss(run.GetTrainLoss()),
		output.ShortLoss(run.GetValidationLoss()))
}

// describeLowest is a run's objective so far, with a comma before it, or nothing if that is not a finite number.
func (v *lineView) describeLowest(run *trellisv1.Run) string {
	best, ranked := bestOf(run), v.board.objective()
	switch {
	case best == nil:
		return ""
	case ranked.IsDefault():
		return fmt.Sprintf(", lowest %s at epoch %d", output.ShortLoss(*best), run.GetBestEpoch())
	}
	return fmt.Sprintf(", best %s %s%s at epoch %d", ranked.Name(), output.ShortLoss(*best), ranked.Counts(),
		run.GetBestEpoch())
}

// hasDiverged says of a study's best trial that it is none: all trials with results have diverged.
func hasDiverged(best *trellisv1.Trial) bool {
	return best.GetState() == trellisv1.TrialState_TRIAL_STATE_DIVERGED
}

func isPruned(run *trellisv1.Run) bool { return run.GetState() == trellisv1.RunState_RUN_STATE_PRUNED }

func (v *lineView) bestLine() {
	if v.board.best == nil || hasDiverged(v.board.best) {
		return
	}
	line := v.board.describeBest(v.axes)
	if line != v.best {
		v.best = line
		v.line("best so far: %s", line)
	}
}

func (v *lineView) line(format string, values ...any) {
	fmt.Fprintf(v.out, format+"\n", values...)
}

// describeBest names the best trial and its objective.
func (b *board) describeBest(varied describe.Axes) string {
	best, ranked := b.best, b.objective()
	return fmt.Sprintf("%s %s%s at epoch %d%s, trial %d (%s)", ranked.Name(), output.ShortLoss(best.GetObjective()),
		ranked.Counts(), best.GetBestEpoch(), describeMetrics(ranked, ranked.Others(best.GetMetrics())),
		best.GetIndex(), describe.Point(best.GetParameters(), varied))
}

// describeMetrics names what is reported beside losses, with a comma before each, or nothing.
func (v *lineView) describeMetrics(metrics map[string]float64) string {
	return describeMetrics(v.board.objective(), metrics)
}

func describeMetrics(ranked describe.Objective, metrics map[string]float64) string {
	text := ""
	for _, name := range slices.Sorted(maps.Keys(metrics)) {
		if ranked.OfProgram() {
			text += fmt.Sprintf(", %s %s", name, output.ShortLoss(metrics[name]))
			continue
		}
		text += fmt.Sprintf(", %s %s", strings.ReplaceAll(name, "_", " "), output.ShortLoss(metrics[name]))
	}
	return text
}
