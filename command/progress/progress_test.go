package progress

import (
	"bytes"
	"fmt"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"google.golang.org/protobuf/proto"

	"trellis/command/fake"
	"trellis/command/golden"
	trellisv1 "trellis/proto/trellis/v1"
)

// A studyScript is what a watch sends of a study that goes through everything that can happen: an attempt that fails, a
// run that fails for good, one that stops early, a pause. Each response comes some time after the one before.
func studyScript() []scriptedResponse {
	run := func(id string, latent uint32, state trellisv1.RunState, epochs uint32, losses ...float64) *trellisv1.Run {
		r := &trellisv1.Run{
			Study: "sample", Id: id + "00000000", State: state, Epochs: epochs, Milestones: []uint32{5, 10},
			Worker:     "host-1",
			Parameters: &trellisv1.Parameters{MaxEpochs: 10, Seed: 1, Values: trellisv1.ValuesOf(map[string]any{"latent_dim": latent, "learning_rate": 1e-3, "weight_decay": 1e-5, "batch_size": 256})},
			FirstTrial: uint64(latent),
		}
		if len(losses) > 0 {
			r.TrainLoss, r.ValidationLoss = losses[0], losses[1]
			r.BestValidationLoss, r.BestEpoch = proto.Float64(losses[2]), uint32(losses[3])
		}
		return r
	}
	const (
		leased    = trellisv1.RunState_RUN_STATE_LEASED
		succeeded = trellisv1.RunState_RUN_STATE_SUCCEEDED
		failed    = trellisv1.RunState_RUN_STATE_FAILED
	)
	study := func(state trellisv1.StudyState, succeeded, failed, running, epochs, left uint64) *trellisv1.Study {
		return &trellisv1.Study{
			Name: "sample", State: state,
			Spec: &trellisv1.StudySpec{
				Name: "sample", Model: "conv-autoencoder",
				Seeds: trellisv1.AxisOf(1),
			},
			Progress: &trellisv1.Progress{
				Trials: 4, TrialsSucceeded: succeeded, TrialsFailed: failed, Runs: 2, RunsRunning: running,
				Epochs:     epochs,
				EpochsLeft: left, TrainingSeconds: 2 * float64(epochs),
			},
		}
	}
	const (
		running   = trellisv1.StudyState_STUDY_STATE_RUNNING
		paused    = trellisv1.StudyState_STUDY_STATE_PAUSED
		completed = trellisv1.StudyState_STUDY_STATE_COMPLETED
	)
	attemptFailed := run("bbbbbbbb", 32, leased, 1, 0.5, 0.6, 0.6, 1)
	attemptFailed.Failures = []*trellisv1.Failure{
		{Worker: "host-2", Class: trellisv1.FailureClass_FAILURE_CLASS_WORKER_LOST},
	}
	failedForGood := run("bbbbbbbb", 32, failed, 1, 0.5, 0.6, 0.6, 1)
	failedForGood.Failures = append(attemptFailed.Failures, &trellisv1.Failure{
		Worker: "host-1", Class: trellisv1.FailureClass_FAILURE_CLASS_TRAINER, Message: "no memory",
	})
	failedForGood.Error = "3 attempts failed in the trainer"
	best := &trellisv1.Trial{
		Study: "sample", Index: 3, Objective: proto.Float64(0.04), BestEpoch: 5,
		Parameters: run("", 16, leased, 0).Parameters,
	}
	// The first part of a change that is too large for one response: its index is that of the response before.
	part := study(completed, 2, 2, 0, 9, 0)
	part.ModifyIndex = 1
	return []scriptedResponse{
		{0, &trellisv1.WatchStudyResponse{Study: study(running, 0, 0, 0, 0, 20)}},
		{0, &trellisv1.WatchStudyResponse{
			Study: study(running, 0, 0, 2, 0, 20),
			Runs:  []*trellisv1.Run{run("aaaaaaaa", 16, leased, 0), run("bbbbbbbb", 32, leased, 0)},
		}},
		{2 * time.Second, &trellisv1.WatchStudyResponse{
			Study: study(running, 0, 0, 2, 2, 18),
			Runs: []*trellisv1.Run{
				run("aaaaaaaa", 16, leased, 1, 0.09, 0.1, 0.1, 1), run("bbbbbbbb", 32, leased, 1, 0.5, 0.6, 0.6, 1),
			},
		}},
		// Too soon after its last line.
		{300 * time.Millisecond, &trellisv1.WatchStudyResponse{
			Study: study(running, 0, 0, 2, 3, 17),
			Runs:  []*trellisv1.Run{run("aaaaaaaa", 16, leased, 2, 0.08, 0.09, 0.09, 2)},
		}},
		{9 * time.Second, &trellisv1.WatchStudyResponse{
			Study: study(running, 1, 0, 2, 6, 14), Best: best,
			Runs: []*trellisv1.Run{run("aaaaaaaa", 16, leased, 5, 0.03, 0.04, 0.04, 5), attemptFailed},
		}},
		{time.Second, &trellisv1.WatchStudyResponse{Study: study(paused, 1, 0, 0, 6, 14), Best: best}},
		{time.Hour, &trellisv1.WatchStudyResponse{Study: study(running, 1, 0, 1, 6, 14), Best: best}},
		{time.Second, &trellisv1.WatchStudyResponse{
			Study: study(running, 1, 2, 1, 6, 4), Best: best, Runs: []*trellisv1.Run{failedForGood},
		}},
		{time.Second, &trellisv1.WatchStudyResponse{Study: part, Best: best}},
		// Stopped early: its longest trial is answered too.
		{time.Second, &trellisv1.WatchStudyResponse{
			Study: study(completed, 2, 2, 0, 9, 0), Best: best,
			Runs: []*trellisv1.Run{run("aaaaaaaa", 16, succeeded, 8, 0.02, 0.05, 0.04, 5)},
		}},
	}
}

type scriptedResponse struct {
	after    time.Duration
	response *trellisv1.WatchStudyResponse
}

func TestGoldenProgressLines(t *testing.T) {
	var out bytes.Buffer
	now := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	view := newLineView(&out, func() time.Time { return now })
	for _, step := range studyScript() {
		now = now.Add(step.after)
		view.Update(step.response)
	}
	golden.Check(t, "testdata/progress/lines.txt", out.String())
}

// What a model reports beside its losses stands behind them: in lines, on the screen and of the best trial.
func TestProgressShowsMetrics(t *testing.T) {
	script := studyScript()[:3]
	response := proto.CloneOf(script[2].response)
	response.Metrics = map[string]*trellisv1.Metrics{
		response.GetRuns()[0].GetId(): {Values: map[string]float64{"accuracy": 0.9375, "divergence": 12}},
	}
	response.Best = proto.CloneOf(studyScript()[4].response.GetBest())
	response.Best.Metrics = map[string]float64{"accuracy": 0.984375}
	var out bytes.Buffer
	now := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	view, screen := newLineView(&out, func() time.Time { return now }), newScreen(func() time.Time { return now })
	screen.width = 200
	for _, response := range []*trellisv1.WatchStudyResponse{script[0].response, script[1].response, response} {
		now = now.Add(2 * time.Second)
		view.Update(response)
		screen.Update(response)
	}
	for _, want := range []string{
		"lowest 0.100000 at epoch 1, accuracy 0.937500, divergence 12.000000\n", "lowest 0.600000 at epoch 1\n",
		"best so far: validation loss 0.040000 at epoch 5, accuracy 0.984375, trial 3",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in the lines\n%s", want, &out)
		}
	}
	shown := colors.ReplaceAllString(screen.render(), "")
	for _, want := range []string{`lowest\s+accuracy\s+divergence`, `0\.100000\s+0\.937500\s+12\.000000`, `epoch 5, accuracy 0\.984375`} {
		if !regexp.MustCompile(want).MatchString(shown) {
			t.Errorf("no %s on the screen\n%s", want, shown)
		}
	}
}

// Trials that come while a study is watched are told of, with their reason, and with the seeds that tell them apart.
func TestProgressLinesOfMoreTrials(t *testing.T) {
	study := func(trials uint64, seeds ...uint32) *trellisv1.Study {
		return &trellisv1.Study{
			Name: "sample", State: trellisv1.StudyState_STUDY_STATE_RUNNING,
			Spec: &trellisv1.StudySpec{
				Seeds: trellisv1.AxisOf[uint32](seeds...), Settle: &trellisv1.Settle{MaxSeeds: 8},
			},
			Progress: &trellisv1.Progress{Trials: trials, Runs: trials},
		}
	}
	extended := study(7, 1, 2)
	extended.EarlierSpecs = []*trellisv1.StudySpec{study(4, 1).GetSpec()}
	var out bytes.Buffer
	view := newLineView(&out, time.Now)
	for _, study := range []*trellisv1.Study{study(3, 1), study(3, 1), study(5, 1), extended} {
		view.Update(&trellisv1.WatchStudyResponse{Study: study, Index: 1})
	}
	want := `study sample is running: 3 trials in 3 runs, at most 0 epochs
study sample: settle adds a seed to the configurations tied with the best: 2 trials more, 5 in total
study sample was extended: 2 trials more, 7 in total
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", &out, want)
	}
	if !view.axes.Seed {
		t.Error("seeds that settle may add are not told apart")
	}
}

// A watch that begins in the middle sums up what has been.
func TestProgressLinesFromTheMiddle(t *testing.T) {
	script := studyScript()
	middle := proto.CloneOf(script[4].response)
	middle.Runs = append(middle.Runs, script[2].response.GetRuns()...)
	var out bytes.Buffer
	newLineView(&out, time.Now).Update(middle)
	const want = "study sample is running: 4 trials in 2 runs, at most 20 epochs\n" +
		"study sample: 30% done, 6 of at most 20 epochs, at most 14s left\n" +
		"best so far: validation loss 0.040000 at epoch 5, trial 3 " +
		"(latent 16, learning rate 0.001, weight decay 1e-05, maximum epochs 10)\n"
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", &out, want)
	}
}

// A study of a million runs takes little memory of who watches it, and a run that is trained further is still compared with what it was.
func TestEndedRunsAreKeptSmall(t *testing.T) {
	study := &trellisv1.Study{
		Name: "sample", State: trellisv1.StudyState_STUDY_STATE_RUNNING, Spec: &trellisv1.StudySpec{},
		Progress: &trellisv1.Progress{Trials: 3, Runs: 2},
	}
	run := func(id string, state trellisv1.RunState, epochs uint32, milestones ...uint32) *trellisv1.Run {
		return &trellisv1.Run{
			Id: id, State: state, Epochs: epochs, Milestones: milestones, BestEpoch: epochs, ValidationLoss: 0.5,
			BestValidationLoss: new(0.5), Parameters: &trellisv1.Parameters{MaxEpochs: 9},
		}
	}
	const leased, succeeded = trellisv1.RunState_RUN_STATE_LEASED, trellisv1.RunState_RUN_STATE_SUCCEEDED
	var out bytes.Buffer
	view := newLineView(&out, func() time.Time { return fake.Now })
	for _, runs := range [][]*trellisv1.Run{
		{run("a", leased, 1, 3), run("b", leased, 1, 9)}, {run("a", succeeded, 3, 3), run("b", leased, 2, 9)},
	} {
		view.Update(&trellisv1.WatchStudyResponse{Study: study, Index: 1, Runs: runs})
	}
	if len(view.board.training) != 1 || view.board.runs["a"].Parameters != nil || view.board.runs["b"].Parameters == nil {
		t.Errorf("kept of the runs: %v, in training: %v", view.board.runs, view.board.training)
	}
	out.Reset()
	view.Update(&trellisv1.WatchStudyResponse{Study: study, Index: 2, Runs: []*trellisv1.Run{run("a", leased, 3, 3, 9)}})
	if out.Len() > 0 {
		t.Errorf("of a run that is to be trained further, what was known is told again:\n%s", &out)
	}
	view.Update(&trellisv1.WatchStudyResponse{Study: study, Index: 3, Runs: []*trellisv1.Run{run("a", succeeded, 9, 3, 9)}})
	if n := strings.Count(out.String(), "trial succeeded"); n != 1 || !strings.Contains(out.String(), "maximum epochs 9)") {
		t.Errorf("%d trials are told of, want that with 9 epochs alone:\n%s", n, &out)
	}
}

// colors are the codes that set them.
var colors = regexp.MustCompile("\x1b\\[[0-9;]*m")

func TestGoldenScreen(t *testing.T) {
	s := newScreen(func() time.Time { return fake.Now })
	var frames strings.Builder
	frames.WriteString(colors.ReplaceAllString(s.render(), "") + "\n")
	s.Update(tea.WindowSizeMsg{Width: 110, Height: 24})
	for _, step := range studyScript() {
		if _, command := s.Update(step.response); command != nil {
			frames.WriteString(fmt.Sprintf("above: %v\n", command()))
		}
		frames.WriteString(colors.ReplaceAllString(s.render(), "") + "\n")
	}
	golden.Check(t, "testdata/progress/screen.txt", frames.String())
}

// Nothing on the screen is wider than the terminal, and no more lines than it has.
func TestScreenFitsTheTerminal(t *testing.T) {
	script := studyScript()
	crowd := proto.CloneOf(script[4].response)
	for range 100 {
		run := proto.CloneOf(crowd.GetRuns()[0])
		run.Id = strings.Repeat("c", len(crowd.GetRuns()))
		crowd.Runs = append(crowd.Runs, run)
	}
	for _, size := range []tea.WindowSizeMsg{
		{Width: 80, Height: 24},
		{Width: 40, Height: 10},
		{Width: 300, Height: 60},
	} {
		s := newScreen(func() time.Time { return fake.Now })
		s.Update(size)
		s.Update(crowd)
		lines := strings.Split(colors.ReplaceAllString(s.render(), ""), "\n")
		if len(lines) > size.Height {
			t.Errorf("%d lines on a terminal of %d", len(lines), size.Height)
		}
		for _, line := range lines {
			if width := len([]rune(line)); width > size.Width {
				t.Errorf("%d columns on a terminal of %d: %q", width, size.Width, line)
			}
		}
		if !strings.Contains(s.render(), "more") {
			t.Errorf("at %dx%d, nothing says that there are more runs", size.Width, size.Height)
		}
	}
}

func TestNewlyAnswered(t *testing.T) {
	run := func(state trellisv1.RunState, epochs uint32) *trellisv1.Run {
		return &trellisv1.Run{State: state, Epochs: epochs, Milestones: []uint32{5, 10, 20}, ValidationLoss: 0.5}
	}
	const leased, succeeded = trellisv1.RunState_RUN_STATE_LEASED, trellisv1.RunState_RUN_STATE_SUCCEEDED
	for _, test := range []struct {
		name          string
		before, after *trellisv1.Run
		want          int
	}{
		{"nothing yet", nil, run(leased, 4), 0},
		{"first", run(leased, 4), run(leased, 5), 1},
		{"two at once", run(leased, 4), run(leased, 12), 2},
		{"again", run(leased, 12), run(leased, 13), 0},
		{"stopped early", run(leased, 6), run(succeeded, 7), 2},
		{"failed", run(leased, 6), run(trellisv1.RunState_RUN_STATE_FAILED, 6), 0},
		{"without the objective's metric", nil, &trellisv1.Run{State: leased, Epochs: 12, Milestones: []uint32{5, 10, 20}}, 0},
		{
			"with the objective's metric at last", &trellisv1.Run{State: leased, Epochs: 12, Milestones: []uint32{5, 10, 20}},
			&trellisv1.Run{State: leased, Epochs: 13, Milestones: []uint32{5, 10, 20}, Metric: new(0.5)}, 2,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := newlyAnswered(test.before, test.after); len(got) != test.want {
				t.Errorf("got %v, want %d", got, test.want)
			}
		})
	}
}

// While one stage is followed, all are shown: those under way with how far they are, the others with what they wait for.
func TestStagesAreShown(t *testing.T) {
	script := studyScript()
	other := proto.CloneOf(script[4].response.GetStudy())
	other.Name = "other"
	stages := []stage{
		{Stage: Stage{Study: "sample"}, study: script[4].response.GetStudy()},
		{Stage: Stage{Study: "other"}, study: other},
		{Stage: Stage{Study: "last", After: []string{"sample", "other"}}},
	}
	s := newScreen(func() time.Time { return fake.Now })
	s.Update(script[4].response)
	s.Update(stagesMessage(stages))
	shown := colors.ReplaceAllString(s.render(), "")
	for _, want := range []string{
		"stage 1 of 3  sample  running, 30% done\n", "stage 2 of 3  other   running, 30% done\n",
		"stage 3 of 3  last    pending, after sample, other\n", "trial 3",
	} {
		if !strings.Contains(shown, want) {
			t.Errorf("no %q on the screen\n%s", want, shown)
		}
	}
	var out bytes.Buffer
	now := fake.Now
	view := newLineView(&out, func() time.Time { return now })
	view.showStages(stages, "sample")
	view.showStages(stages, "sample")
	now = now.Add(studyLines)
	view.showStages(stages, "sample")
	other.GetProgress().EpochsLeft = 6
	view.showStages(stages, "sample")
	if want := "study other is running: 30% done\nstudy other is running: 50% done\n"; out.String() != want {
		t.Errorf("got\n%swant\n%s", &out, want)
	}
}

// A run of which no validation loss is a finite number has diverged: nothing is called its lowest loss, nor it the best.
func TestProgressOfDiverged(t *testing.T) {
	script := studyScript()
	first := script[1].response
	response := proto.CloneOf(first)
	run := response.Runs[0]
	run.State, run.Epochs, run.StopReason = trellisv1.RunState_RUN_STATE_SUCCEEDED, 1, trellisv1.StopReason_STOP_REASON_DIVERGED
	run.TrainLoss, run.ValidationLoss, run.BestValidationLoss, run.BestEpoch = math.NaN(), math.NaN(), nil, 0
	response.Runs = response.Runs[:1]
	response.Study.Progress.TrialsDiverged = 2
	response.Best = &trellisv1.Trial{
		State: trellisv1.TrialState_TRIAL_STATE_DIVERGED, Objective: proto.Float64(math.NaN()), Epochs: 1,
	}
	var out bytes.Buffer
	view, screen := newLineView(&out, time.Now), newScreen(time.Now)
	for _, response := range []*trellisv1.WatchStudyResponse{first, response} {
		view.Update(response)
		screen.Update(response)
	}
	shown := out.String() + colors.ReplaceAllString(screen.render(), "")
	for _, wrong := range []string{"lowest", "best so far", "epoch 0", "trial succeeded"} {
		if strings.Contains(shown, wrong) {
			t.Errorf("%q in\n%s", wrong, shown)
		}
	}
	for _, want := range []string{"validation loss NaN\n", "\ntrial diverged (", "2 diverged"} {
		if !strings.Contains(shown, want) {
			t.Errorf("no %q in\n%s", want, shown)
		}
	}
}

// A study that waits for its data set says so once, and again when it no longer does.
func TestLinesOfAStudyThatWaits(t *testing.T) {
	var out bytes.Buffer
	v := newLineView(&out, func() time.Time { return time.Unix(0, 0) })
	waiting := &trellisv1.WaitingFor{Reason: trellisv1.WaitingReason_WAITING_REASON_DATA_CHANGED}
	for _, why := range []*trellisv1.WaitingFor{nil, waiting, waiting, nil} {
		v.Update(&trellisv1.WatchStudyResponse{Study: &trellisv1.Study{
			Name: "s", State: trellisv1.StudyState_STUDY_STATE_RUNNING, DataSet: &trellisv1.DataSet{Name: "digits"},
			Progress: &trellisv1.Progress{Trials: 1, Runs: 1}, WaitingFor: why,
		}})
	}
	want := `study s is running: 1 trial in 1 run, at most 0 epochs
study s waits for its data set: digits has changed since the study was created. Restore its files, or cancel the study ` +
		`and submit it under another name
study s no longer waits
`
	if out.String() != want {
		t.Errorf("written is\n%swant\n%s", out.String(), want)
	}
}
