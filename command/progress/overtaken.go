package progress

import (
	"context"

	"google.golang.org/protobuf/proto"

	"trellis/command/client"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/results/trajectory"
)

// mostAsked is how many trials are asked for at most, of one update: where epochs take no time, there may be thousands.
const mostAsked = 100

// milestone is a trial of a run, by its max_epochs.
type milestone struct {
	run    string
	epochs uint32
}

// overtaken returns the trials that have been answered, but whose runs have come to a better result since: a watch
// misses epochs that are shorter than its pauses. What the client says meanwhile comes to Write, so v.mu must be free.
func (v *lineView) overtaken(response *trellisv1.WatchStudyResponse) map[milestone]*trellisv1.Trial {
	if v.trialOf == nil || v.board.study == nil {
		return nil
	}
	found, asked := map[milestone]*trellisv1.Trial{}, 0
	for _, run := range response.GetRuns() {
		for _, epochs := range newlyAnswered(v.board.runs[run.GetId()], run) {
			if bestOf(run) == nil || run.GetBestEpoch() <= epochs {
				continue
			}
			if asked++; asked > mostAsked {
				return found
			}
			if trial := v.trialOf(response.GetStudy(), trajectory.ParametersAt(run, epochs)); trial != nil {
				found[milestone{run.GetId(), epochs}] = trial
			}
		}
	}
	return found
}

// askTrials returns a function that asks for the trial of a study at a point of its grid. It returns nil if that is not
// known: an extension may have given the trial another number, or the coordinator does not answer.
func askTrials(ctx context.Context, c *client.Client) func(*trellisv1.Study, *trellisv1.Parameters) *trellisv1.Trial {
	return func(study *trellisv1.Study, point *trellisv1.Parameters) *trellisv1.Trial {
		points, err := grid.New(study.GetSpec())
		if err != nil {
			return nil
		}
		index, ok := points.Index(point)
		if !ok {
			return nil
		}
		request := &trellisv1.GetTrialRequest{Study: study.GetName(), Trial: index}
		response, err := client.Call(ctx, client.CallTimeout, c.GetTrial, request)
		if err != nil || !proto.Equal(response.GetTrial().GetParameters(), point) {
			return nil
		}
		return response.GetTrial()
	}
}
