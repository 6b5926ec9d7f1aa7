package progress

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"trellis/command/client"
	"trellis/command/describe"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

const (
	// shownLosing is how many of the runs people are told of that lose their workers.
	shownLosing = 10
	// losingTime is how long is asked for them.
	losingTime = 5 * time.Second
)

// Losing returns a study's runs that have lost two or more workers without a new epoch since, those that have lost the
// most first. It asks no more than a watch sends at first: of a large study, the runs in training and those that
// changed last. It fails if the coordinator does not answer at once.
func Losing(ctx context.Context, c *client.Client, study *trellisv1.Study) ([]*trellisv1.Run, error) {
	if lifecycle.StudyEnded(study.GetState()) {
		return nil, nil
	}
	ctx, enough := context.WithTimeout(ctx, losingTime)
	defer enough()
	lost := map[string]int{}
	runs := map[string]*trellisv1.Run{}
	request := &trellisv1.WatchStudyRequest{Study: study.GetName()}
	err := c.Watch(ctx, request, func(response *trellisv1.WatchStudyResponse) {
		for _, run := range response.GetRuns() {
			delete(runs, run.GetId())
			lost[run.GetId()], _ = trajectory.LostWorkers(run)
			if lost[run.GetId()] > 1 && !lifecycle.RunEnded(run.GetState()) { // Those that failed are listed as such.
				runs[run.GetId()] = run
			}
		}
		if response.GetIndex() >= response.GetStudy().GetModifyIndex() {
			enough()
		}
	})
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("the coordinator has not answered within %v", losingTime)
	case err != nil && ctx.Err() == nil:
		return nil, err
	}
	var losing []*trellisv1.Run
	for _, run := range runs {
		losing = append(losing, run)
	}
	slices.SortFunc(losing, func(a, b *trellisv1.Run) int {
		return cmp.Or(cmp.Compare(lost[b.GetId()], lost[a.GetId()]), cmp.Compare(a.GetFirstTrial(), b.GetFirstTrial()))
	})
	return losing, nil
}

// WriteLosing lists runs that lose one worker after the other, and says what to do about it.
func WriteLosing(out io.Writer, study *trellisv1.Study, losing []*trellisv1.Run) error {
	if len(losing) == 0 {
		return nil
	}
	fmt.Fprint(out, "\nRuns that lose one worker after the other, without a new epoch:\n\n")
	varied := describe.VariedAxes(study.GetSpec())
	for _, run := range losing[:min(len(losing), shownLosing)] {
		who := describe.Trials([]uint64{run.GetFirstTrial()})
		if which := describe.Parameters(run.GetParameters(), varied); which != "" {
			who += " (" + which + ")"
		}
		lost, last := trajectory.LostWorkers(run)
		fmt.Fprintf(out, "%s: %s lost, the last one (%s) %s\n", who, output.Count(uint64(lost), "worker"),
			last.GetWorker(), lostAfter(last))
	}
	if more := len(losing) - shownLosing; more > 0 {
		fmt.Fprintf(out, "and %d more\n", more)
	}
	_, err := fmt.Fprintf(out, "\nA run fails when it has lost %d workers without a new epoch, or those of %d "+
		"machines at the same epoch.\nIt may need more memory than its workers may use: if the logs of their "+
		"machines say that they were killed for\nthat, start workers with more memory or fewer slots.\n",
		trajectory.WorkerLostBudget, trajectory.QuarantineWorkers)
	return err
}

// lostAfter says how far an attempt had come when its worker was lost.
func lostAfter(failure *trellisv1.Failure) string {
	if failure.GetEpochs() == 0 {
		return "in its first epoch"
	}
	return fmt.Sprintf("after epoch %d", failure.GetEpochs())
}
