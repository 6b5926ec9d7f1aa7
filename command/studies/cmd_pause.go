package studies

import (
	"context"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	trellisv1 "trellis/proto/trellis/v1"
)

func init() { cli.Register(cli.Search, 100, PauseCommand) }

// PauseCommand is trellis pause.
func PauseCommand(env *cli.Environment) *cobra.Command {
	return studyCommand(env, "pause", "Pause a study, keeping its results so far",
		func(ctx context.Context, c *client.Client, study string) (*trellisv1.Study, error) {
			response, err := client.Call(ctx, client.CallTimeout, c.PauseStudy,
				&trellisv1.PauseStudyRequest{Study: study})
			return response.GetStudy(), err
		})
}
