package progress

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"trellis/command/client"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/results/trajectory"
)

const (
	// mostAsked is how many trials are asked for at most, of one update: where epochs take no time, there may be
	// thousands.
	mostAsked = 100
	// askTime is how long they may take.
	askTime = 2 * time.Second
)

// milestone is a trial of a run, by its max_epochs.
type milestone struct {
	run    string
	epochs uint32
}

// overtaken returns the trials that have been answered, but whose runs have come to a better result since: a watch
// misses epochs that are shorter than its pauses. What the client says meanwhile comes to Write, so v.mu must be free.
func (v *lineView) overtaken(response *trellisv1.WatchStudyResponse) map[milestone]*trellisv1.Trial {
	if v.trialsOf == nil || v.board.study == nil {
		return nil
	}
	var missed []milestone
	var points []*trellisv1.Parameters
	for _, run := range response.GetRuns() {
		for _, epochs := range newlyAnswered(v.board.runs[run.GetId()], run) {
			if bestOf(run) == nil || run.GetBestEpoch() <= epochs {
				continue
			}
			missed = append(missed, milestone{run.GetId(), epochs})
			points = append(points, trajectory.ParametersAt(run, epochs))
		}
	}
	if len(missed) == 0 {
		return nil
	}
	found := map[milestone]*trellisv1.Trial{}
	for i, trial := range v.trialsOf(response.GetStudy(), points[:min(len(points), mostAsked)]) {
		if trial != nil {
			found[missed[i]] = trial
		}
	}
	return found
}

// askTrials returns a function that asks for the trials of a study at points of its grid. Of the first ones, it has
// those that are known, and nil for others: an extension may have given them other numbers. It stops where the
// coordinator does not answer, as the view waits for it.
func askTrials(
	ctx context.Context, c *client.Client,
) func(*trellisv1.Study, []*trellisv1.Parameters) []*trellisv1.Trial {
	return func(study *trellisv1.Study, points []*trellisv1.Parameters) (trials []*trellisv1.Trial) {
		its, err := grid.New(study.GetSpec())
		if err != nil {
			return nil
		}
		ctx, cancel := context.WithTimeout(ctx, askTime)
		defer cancel()
		for _, point := range points {
			var trial *trellisv1.Trial
			if index, ok := its.Index(point); ok {
				response, err := client.Call(ctx, askTime, c.GetTrial, &trellisv1.GetTrialRequest{
					Study: study.GetName(), Trial: index,
				})
				if err != nil {
					return trials
				}
				if proto.Equal(response.GetTrial().GetParameters(), point) {
					trial = response.GetTrial()
				}
			}
			trials = append(trials, trial)
		}
		return trials
	}
}
