package progress

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/describe"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
)

// Stage is one of several studies that depend on one another.
type Stage struct {
	Study string
	// After are the studies whose end it waits for.
	After []string
}

// stage is a Stage as it stands: its study is nil until it has been submitted.
type stage struct {
	Stage
	study *trellisv1.Study
}

// stagesPause is how often the other stages are asked for, while one is followed.
const stagesPause = 2 * time.Second

// FollowStage is Follow for one of several stages. The others are shown beside it.
func FollowStage(
	ctx context.Context, env *cli.Environment, c *client.Client, name string, stages []Stage, inLines bool,
) (*trellisv1.Study, error) {
	view := newView(ctx, env, c, inLines)
	asking, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			// Without an answer, what was shown last stays: Follow says what is wrong.
			if standing, err := askStages(asking, c, stages); err == nil {
				view.showStages(standing, name)
			}
			select {
			case <-time.After(stagesPause):
			case <-asking.Done():
				return
			}
		}
	}()
	study, err := c.Follow(ctx, name, false, view)
	stop()
	<-done
	return study, errors.Join(err, view.Close())
}

// askStages returns how the stages stand.
func askStages(ctx context.Context, c *client.Client, stages []Stage) ([]stage, error) {
	standing := make([]stage, len(stages))
	for i := range stages {
		standing[i].Stage = stages[i]
	}
	err := c.EachStudy(ctx, func(study *trellisv1.Study) error {
		i := slices.IndexFunc(stages, func(s Stage) bool { return s.Study == study.GetName() })
		if i >= 0 {
			standing[i].study = study
		}
		return nil
	})
	return standing, err
}

// describeStages writes a line for each stage.
func describeStages(stages []stage) []string {
	widest := 0
	for _, s := range stages {
		widest = max(widest, len(s.Study))
	}
	lines := make([]string, len(stages))
	for i, s := range stages {
		text := "pending"
		switch {
		case s.study == nil && len(s.After) > 0:
			text += ", after " + strings.Join(s.After, ", ")
		case s.study != nil && lifecycle.StudyEnded(s.study.GetState()):
			text = describe.StudyState(s.study)
		case s.study != nil:
			text = fmt.Sprintf("%s, %s", describe.StudyState(s.study), percentDone(s.study))
		}
		lines[i] = fmt.Sprintf("stage %d of %d  %-*s  %s", i+1, len(stages), widest, s.Study, text)
	}
	return lines
}

// percentDone is the part of a study's epochs that is behind it, as in "34% done".
func percentDone(study *trellisv1.Study) string {
	return fmt.Sprintf("%.0f%% done", 100*(&board{study: study}).done())
}
