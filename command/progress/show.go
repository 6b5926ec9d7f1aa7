package progress

import (
	"context"
	"errors"
	"time"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// Follow follows a study to its end: in place on a terminal, in lines elsewhere or if inLines is true.
func Follow(
	ctx context.Context, env *cli.Environment, c *client.Client, name string, inLines bool,
) (*trellisv1.Study, error) {
	view := newView(ctx, env, c, inLines)
	study, err := c.Follow(ctx, name, false, view)
	return study, errors.Join(err, view.Close())
}

// view shows a study, and how the stages stand that it is one of.
type view interface {
	client.ProgressView
	showStages(stages []stage, followed string)
}

func newView(ctx context.Context, env *cli.Environment, c *client.Client, inLines bool) view {
	if terminal, ok := output.IsTerminal(env.Err); ok && !inLines {
		return newLiveView(terminal)
	}
	lines := newLineView(env.Err, time.Now)
	lines.trialsOf = askTrials(ctx, c)
	return lines
}
