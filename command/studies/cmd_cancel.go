package studies

import (
	"context"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	trellisv1 "trellis/proto/trellis/v1"
)

func init() { cli.Register(cli.Search, 120, CancelCommand) }

// CancelCommand is trellis cancel.
func CancelCommand(env *cli.Environment) *cobra.Command {
	return studyCommand(env, "cancel", "Cancel a study, keeping its results so far",
		func(ctx context.Context, c *client.Client, study string) (*trellisv1.Study, error) {
			response, err := client.Call(ctx, client.CallTimeout, c.CancelStudy,
				&trellisv1.CancelStudyRequest{Study: study})
			return response.GetStudy(), err
		})
}
