package cluster

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// WorkersCommand is trellis workers.
func WorkersCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "workers",
		Short: "List the workers that the coordinator knows, by name",
		Args:  cli.Operands(),
	}
	options, format := cli.ClientFlags(cmd, client.DefaultWait), cli.OutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			list := output.NewList(env.Out, *format, "workers", workerColumns)
			if err := c.EachWorker(ctx, list.Add); err != nil {
				return err
			}
			return list.Close("There are no workers. Start one: trellis worker --coordinator " + options.Address)
		})
	}
	return cmd
}

var workerColumns = []output.Column[*trellisv1.Worker]{
	output.Both("name", (*trellisv1.Worker).GetName),
	output.Both("state", workerState),
	output.Both("slots", workerNumber((*trellisv1.Worker).GetSlots)),
	output.Both("runs", workerNumber((*trellisv1.Worker).GetRuns)),
	output.Both("version", (*trellisv1.Worker).GetVersion),
	output.Both("processor", (*trellisv1.Worker).GetProcessor),
	{Name: "create_time", Plain: func(w *trellisv1.Worker) string { return output.PlainTime(w.GetCreateTime()) }},
	{
		Name: "update_time", Plain: func(w *trellisv1.Worker) string { return output.PlainTime(w.GetUpdateTime()) },
		Short: func(w *trellisv1.Worker) string { return output.ShortTime(w.GetUpdateTime()) },
	},
}

func workerState(worker *trellisv1.Worker) string {
	return output.EnumWord(worker.GetState())
}

func workerNumber(get func(*trellisv1.Worker) uint32) func(*trellisv1.Worker) string {
	return func(worker *trellisv1.Worker) string { return strconv.FormatUint(uint64(get(worker)), 10) }
}
