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

func init() { cli.Register(cli.Answers, 60, SuggestCommand) }

// SuggestCommand is trellis suggest.
func SuggestCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "suggest STUDY",
		Short: "Suggest a spec for the next study",
		Long: `Suggest a spec for the next study. Its grid zooms in on the best configuration, and extends beyond the old
grid where the best configuration is on its edge. Comments in the spec give the reasons. Read the suggestion and edit it
before you submit it.

With -o json, the spec and the reasons are one JSON object.`,
		Example: `  trellis suggest paper
  trellis suggest paper --file next.yaml
  trellis suggest paper | trellis submit -`,
		Args: cli.Operands("STUDY"),
	}
	options := cli.ClientFlags(cmd, client.DefaultWait)
	cmd.ValidArgsFunction = cli.CompleteStudies(options)
	var path string
	format := cli.FormatFlag(cmd, output.YAML, output.JSON)
	cmd.Flags().StringVarP(&path, "file", "f", "-", "`file` to write, - for standard output")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			response, err := client.Call(ctx, client.CallTimeout, c.SuggestStudy,
				&trellisv1.SuggestStudyRequest{Study: args[0]})
			if err != nil {
				return err
			}
			if response.GetSpec() == nil {
				return fmt.Errorf("there is nothing left to try around the best configuration of study %q: %s", args[0],
					strings.Join(describeSuggestion(response), "; "))
			}
			_, err = output.WriteFile(path, 0o666, env.Out, func(out io.Writer) error {
				return writeSuggestion(out, *format, args[0], response)
			})
			if err == nil && path != "-" && *format == output.YAML {
				fmt.Fprintf(env.Err, "Wrote %s. To see what it would cost: trellis submit --dry-run %s%s\n", path, path,
					cli.Elsewhere(c.Address))
			}
			return err
		})
	}
	return cmd
}

// writeSuggestion writes a suggested spec with its reasons.
func writeSuggestion(out io.Writer, format output.Format, study string, suggestion *trellisv1.SuggestStudyResponse) error {
	if format == output.JSON {
		return output.WriteMessage(out, format, suggestion)
	}
	text, err := suggestionText(study, suggestion)
	if err != nil {
		return err
	}
	_, err = out.Write(text)
	return err
}
