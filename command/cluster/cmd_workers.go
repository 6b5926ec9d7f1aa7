package cluster

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

func init() { cli.Register(cli.Cluster, 30, WorkersCommand) }

// WorkersCommand is trellis workers.
func WorkersCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "workers",
		Short: "List workers",
		Long: `List the workers that the coordinator knows, by name.

A worker whose runs keep failing is avoided: for a while it is given no runs, or none of one study.`,
		Args: cli.Operands(),
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
	{Name: "machine", Plain: (*trellisv1.Worker).GetMachine},
	output.Both("programs", func(w *trellisv1.Worker) string { return yesOrNo(w.GetCapacity().GetPrograms()) }),
	{Name: "cpus", Plain: workerCPUs, Short: workerCPUs},
	{
		Name:  "memory",
		Plain: func(w *trellisv1.Worker) string { return strconv.FormatUint(w.GetCapacity().GetMemory(), 10) },
		Short: workerMemory,
	},
	{
		Name:  "gpus",
		Plain: func(w *trellisv1.Worker) string { return strings.Join(gpuIDs(w), " ") },
		Short: func(w *trellisv1.Worker) string { return strconv.Itoa(len(w.GetCapacity().GetGpus())) },
	},
	output.Both("labels", labelsOf),
	output.Both("study", (*trellisv1.Worker).GetStudy),
	{Name: "avoided", Plain: avoidedPlainly, Short: avoidedShortly},
}

// avoidedMessage is how much of an error is written, in bytes.
const avoidedMessage = 200

// avoidedShortly says why and until when a worker is given no runs, or none of some studies.
func avoidedShortly(worker *trellisv1.Worker) string {
	var texts []string
	for _, avoidance := range worker.GetAvoided() {
		if avoidance.GetReason() == trellisv1.AvoidanceReason_AVOIDANCE_REASON_WRONG_LOSSES {
			texts = append(texts, fmt.Sprintf("until it is restarted, it reported wrong losses: see trellis report %s",
				avoidance.GetStudy()))
			continue
		}
		why := map[trellisv1.AvoidanceReason]string{
			trellisv1.AvoidanceReason_AVOIDANCE_REASON_UNFIT:          "it can't train",
			trellisv1.AvoidanceReason_AVOIDANCE_REASON_OTHERS_SUCCEED: "runs fail on it and succeed on others",
			trellisv1.AvoidanceReason_AVOIDANCE_REASON_STUDY_FAILS:    "runs of study " + avoidance.GetStudy() + " fail on it",
		}[avoidance.GetReason()]
		texts = append(texts, fmt.Sprintf("until %s, %s: %s", output.ShortTime(avoidance.GetUntil()), why,
			output.Shorten(avoidance.GetMessage(), avoidedMessage)))
	}
	return strings.Join(texts, "; ")
}

// avoidedPlainly gives the reasons alone, each with the study if it is about one.
func avoidedPlainly(worker *trellisv1.Worker) string {
	var words []string
	for _, avoidance := range worker.GetAvoided() {
		word := output.EnumWord(avoidance.GetReason())
		if avoidance.GetStudy() != "" {
			word += ":" + avoidance.GetStudy()
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

func workerState(worker *trellisv1.Worker) string {
	return output.EnumWord(worker.GetState())
}

func workerNumber(get func(*trellisv1.Worker) uint32) func(*trellisv1.Worker) string {
	return func(worker *trellisv1.Worker) string { return strconv.FormatUint(uint64(get(worker)), 10) }
}
