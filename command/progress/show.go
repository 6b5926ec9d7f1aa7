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
	var view client.ProgressView = newLineView(env.Err, time.Now)
	if terminal, ok := output.IsTerminal(env.Err); ok && !inLines {
		view = newLiveView(terminal)
	}
	study, err := c.Follow(ctx, name, view)
	return study, errors.Join(err, view.Close())
}
