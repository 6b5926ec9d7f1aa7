package command

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

func (cli *commandLine) bestCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "best STUDY",
		Short: "Show a study's best trial so far",
		Args:  operands("STUDY"),
	}
	options, format := clientFlags(cmd, DefaultWait), outputFlag(cmd)
	cmd.ValidArgsFunction = completeStudies(options)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return cli.withClient(cmd.Context(), options, func(ctx context.Context, c *client) error {
			best, err := call(ctx, callTimeout, c.GetBestTrial, &trellisv1.GetBestTrialRequest{Study: args[0]})
			if err != nil {
				return err
			}
			switch *format {
			case formatTable:
				return writeBest(cli.stdout, best)
			case formatCSV:
				return writeOne(cli.stdout, *format, best.GetTrial(), trialColumns)
			default:
				return writeMessage(cli.stdout, *format, best)
			}
		})
	}
	return cmd
}

// writeBest writes the winner for people.
func writeBest(out io.Writer, best *trellisv1.GetBestTrialResponse) error {
	t := best.GetTrial()
	p := t.GetParameters()
	table := newTable()
	row := func(name, format string, values ...any) {
		table.AppendRow([]any{name, fmt.Sprintf(format, values...)})
	}
	row("study", "%s, %s: %s", t.GetStudy(), studyState(best.GetStudy()), describeProgress(best.GetStudy()))
	row("best trial", "%d", t.GetIndex())
	row("latent dimension", "%d", p.GetLatentDim())
	row("learning rate", "%s", plainNumber(p.GetLearningRate()))
	row("weight decay", "%s", plainNumber(p.GetWeightDecay()))
	row("maximum epochs", "%d", p.GetMaxEpochs())
	row("batch size", "%d", p.GetBatchSize())
	row("seed", "%d", p.GetSeed())
	row("validation loss", "%s, at epoch %d of %d trained", shortLoss(t.GetObjective()), t.GetBestEpoch(), t.GetEpochs())
	if t.TestLoss != nil {
		row("test loss", "%s", shortLoss(t.GetTestLoss()))
	}
	if second := best.GetRunnerUp(); second != nil {
		row("ahead of the next", "%s", lead(t.GetObjective(), second))
	}
	_, err := fmt.Fprintln(out, table.Render())
	return err
}

// lead says by how much a loss beats the runner-up's.
func lead(loss float64, second *trellisv1.Trial) string {
	next := second.GetObjective()
	who := fmt.Sprintf("trial %d (%s, maximum epochs %d)", second.GetIndex(),
		describeParameters(second.GetParameters(), axes{}), second.GetParameters().GetMaxEpochs())
	switch gap := next - loss; {
	case gap == 0:
		return "by nothing: the same loss as " + who + ", which ranks lower for its size or length"
	case gap > 0 && loss > 0:
		return fmt.Sprintf("by %s (%.2f%%): %s", shortLoss(gap), 100*gap/loss, who)
	default:
		// One of the two is no finite number.
		return fmt.Sprintf("%s has %s", who, shortLoss(next))
	}
}

// isUnanswered says whether err means that a study has no best trial, because none has been answered yet.
func isUnanswered(err error) bool { return status.Code(err) == codes.FailedPrecondition }
