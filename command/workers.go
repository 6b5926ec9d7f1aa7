package command

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	trellisv1 "trellis/proto/trellis/v1"
)

func (cli *commandLine) workersCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "workers",
		Short: "List the workers that the coordinator knows, by name",
		Args:  operands(),
	}
	options, format := clientFlags(cmd, DefaultWait), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return cli.withClient(cmd.Context(), options, func(ctx context.Context, c *client) error {
			list := newListWriter(cli.stdout, *format, "workers", workerColumns)
			if err := c.eachWorker(ctx, list.Add); err != nil {
				return err
			}
			return list.Close("There are no workers. Start one: trellis worker --coordinator " + options.address)
		})
	}
	return cmd
}

// eachWorker calls do with every worker, by name.
func (c *client) eachWorker(ctx context.Context, do func(*trellisv1.Worker) error) error {
	request := &trellisv1.ListWorkersRequest{PageSize: pageSize}
	for {
		response, err := call(ctx, callTimeout, c.workers.ListWorkers, request)
		if err != nil {
			return err
		}
		for _, worker := range response.GetWorkers() {
			if err := do(worker); err != nil {
				return err
			}
		}
		request.PageToken = response.GetNextPageToken()
		if request.PageToken == "" {
			return nil
		}
	}
}

var workerColumns = []column[*trellisv1.Worker]{
	both("name", (*trellisv1.Worker).GetName),
	both("state", workerState),
	both("slots", workerNumber((*trellisv1.Worker).GetSlots)),
	both("runs", workerNumber((*trellisv1.Worker).GetRuns)),
	both("version", (*trellisv1.Worker).GetVersion),
	both("processor", (*trellisv1.Worker).GetProcessor),
	{"create_time", func(w *trellisv1.Worker) string { return plainTime(w.GetCreateTime()) }, nil},
	{
		"update_time", func(w *trellisv1.Worker) string { return plainTime(w.GetUpdateTime()) },
		func(w *trellisv1.Worker) string { return shortTime(w.GetUpdateTime()) },
	},
}

func workerState(worker *trellisv1.Worker) string {
	return plainState(worker.GetState().String(), "WORKER_STATE_")
}

func workerNumber(get func(*trellisv1.Worker) uint32) func(*trellisv1.Worker) string {
	return func(worker *trellisv1.Worker) string { return strconv.FormatUint(uint64(get(worker)), 10) }
}
