package studies

import (
	"context"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	trellisv1 "trellis/proto/trellis/v1"
)

func init() { cli.Register(cli.Search, 110, ResumeCommand) }

// ResumeCommand is trellis resume.
func ResumeCommand(env *cli.Environment) *cobra.Command {
	return studyCommand(env, "resume", "Resume a paused study",
		func(ctx context.Context, c *client.Client, study string) (*trellisv1.Study, error) {
			response, err := client.Call(ctx, client.CallTimeout, c.ResumeStudy,
				&trellisv1.ResumeStudyRequest{Study: study})
			return response.GetStudy(), err
		})
}
