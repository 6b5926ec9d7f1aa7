package answer

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// SuggestCommand is trellis suggest.
func SuggestCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "suggest STUDY",
		Short: "Write the spec of a next study: zoomed round the best, widened where it lies on an edge",
		Long: `Write the spec of a next study: its grid is zoomed round the best configuration, and widened where that
lies on an edge of the old one. The reasons stand in it as comments. It is a suggestion to read and change, not an
answer.`,
		Example: `  trellis suggest paper
  trellis suggest paper -o next.yaml
  trellis suggest paper | trellis submit -`,
		Args: cli.Operands("STUDY"),
	}
	options := cli.ClientFlags(cmd, client.DefaultWait)
	cmd.ValidArgsFunction = cli.CompleteStudies(options)
	var path string
	cmd.Flags().StringVarP(&path, "output", "o", "-", "`file` to write, - for standard output")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			response, err := client.Call(ctx, client.CallTimeout, c.SuggestStudy,
				&trellisv1.SuggestStudyRequest{Study: args[0]})
			if err != nil {
				return err
			}
			if response.GetSpec() == nil {
				return fmt.Errorf("nothing is left to try around the best configuration of study %q: %s", args[0],
					strings.Join(describeSuggestion(response), "; "))
			}
			text, err := suggestionText(args[0], response)
			if err != nil {
				return err
			}
			_, err = output.WriteFile(path, 0o666, env.Out, func(out io.Writer) error {
				_, err := out.Write(text)
				return err
			})
			if err == nil && path != "-" {
				fmt.Fprintf(env.Err, "Wrote %s. What it would cost: trellis submit --dry-run %s%s\n", path, path,
					cli.Elsewhere(c.Address))
			}
			return err
		})
	}
	return cmd
}
