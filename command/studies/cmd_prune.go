package studies

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/describe"
	"trellis/command/exit"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

func init() { cli.Register(cli.Search, 135, PruneCommand) }

// policy says which studies are deleted.
type policy struct {
	// olderThan is how long ago they ended at least.
	olderThan time.Duration
	// state is what they must be: completed, canceled, or any of both.
	state string
	// keep is how many of those that ended last stay in any case.
	keep int
}

// PruneCommand deletes studies that ended long ago.
func PruneCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "prune --older-than AGE",
		Short: "Delete studies that ended long ago, or their checkpoints",
		Long: `Permanently delete studies that were completed or canceled longer ago than --older-than, with their results. Checkpoints
and outputs that no other study needs are deleted within the hours after that. What a study shares with one that stays, stays.
Studies that run or are paused are never deleted.

With --checkpoints, only checkpoints are deleted, except for those of each study's best trial. The studies stay, with all results.
If one is extended later, what would have gone on from a checkpoint is trained from its start: with the same results,
unless it is a program that is not declared deterministic.

prune first lists the studies, and with --dry-run does nothing more. On a terminal it then asks for confirmation; elsewhere it
needs --yes. With --output, the list is of the studies that were deleted, and the one before the question is on standard error.
A study that changes meanwhile stays.`,
		Example: `  trellis prune --older-than 90d --dry-run
  trellis prune --older-than 90d --keep 20 --yes             # for example each night, from cron
  trellis prune --older-than 7d --state canceled
  trellis prune --older-than 30d --checkpoints --dry-run     # says how much room that frees`,
		Args: cli.Operands(),
	}
	options, format := cli.ClientFlags(cmd, client.DefaultWait), cli.OutputFlag(cmd)
	confirm := cli.ConfirmFlag(cmd, env)
	var age cli.Lifetime
	var its policy
	flags := cmd.Flags()
	flags.Var(&age, "older-than", "delete studies that ended this `age` ago or earlier, for example 12h, 90d or 1y")
	state := cli.ChoiceFlag(cmd, "state", "which studies to delete", "any", "completed", "canceled")
	flags.IntVar(&its.keep, "keep", 0, "`number` of studies to keep in any case: those that ended last")
	cli.AtLeast(flags, "keep", &its.keep, 0)
	checkpoints := flags.Bool("checkpoints", false, "delete only their checkpoints, except for those of each best trial")
	dryRun := flags.Bool("dry-run", false, "list what would be deleted without deleting it")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if age == 0 {
			return exit.Usagef("prune needs --older-than, for example --older-than 90d")
		}
		its.olderThan, its.state = time.Duration(age), *state
		if !*dryRun {
			does := "prune permanently removes studies and all their results"
			if *checkpoints {
				does = "prune --checkpoints permanently removes checkpoints"
			}
			if err := confirm.Check(false, does); err != nil {
				return err
			}
		}
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			return prune(ctx, env, c, its, *checkpoints, *format, *dryRun, confirm)
		})
	}
	return cmd
}

// chosen returns those of the studies that are to be deleted, in their order.
func (p policy) chosen(studies []*trellisv1.Study, now time.Time) []*trellisv1.Study {
	ended := slices.DeleteFunc(slices.Clone(studies), func(study *trellisv1.Study) bool { return study.GetEndTime() == nil })
	slices.SortStableFunc(ended, func(a, b *trellisv1.Study) int {
		return b.GetEndTime().AsTime().Compare(a.GetEndTime().AsTime())
	})
	delete := map[*trellisv1.Study]bool{}
	for _, study := range ended[min(p.keep, len(ended)):] {
		delete[study] = p.wants(study, now)
	}
	return slices.DeleteFunc(slices.Clone(studies), func(study *trellisv1.Study) bool { return !delete[study] })
}

// wants says whether a study may be deleted by its state and age.
func (p policy) wants(study *trellisv1.Study, now time.Time) bool {
	switch study.GetState() {
	case trellisv1.StudyState_STUDY_STATE_COMPLETED, trellisv1.StudyState_STUDY_STATE_CANCELED:
	default:
		return false
	}
	return (p.state == "any" || p.state == describe.StudyState(study)) && study.GetEndTime() != nil &&
		!study.GetEndTime().AsTime().After(now.Add(-p.olderThan))
}

func prune(
	ctx context.Context, env *cli.Environment, c *client.Client, its policy, checkpoints bool, format output.Format,
	dryRun bool, confirm *cli.Confirmation,
) error {
	var all []*trellisv1.Study
	err := c.EachStudy(ctx, func(study *trellisv1.Study) error {
		all = append(all, study)
		return nil
	})
	if err != nil {
		return err
	}
	chosen := its.chosen(all, time.Now())
	if checkpoints {
		return pruneCheckpoints(ctx, env, c, chosen, format, dryRun, confirm)
	}
	trials := uint64(0)
	for _, study := range chosen {
		trials += study.GetProgress().GetTrials()
	}
	what := fmt.Sprintf("%s of %d, with %s", output.Count(uint64(len(chosen)), "study"), len(all), output.Count(trials, "trial"))
	list, out := format, env.Out
	if !dryRun && format != output.Table {
		// What is written in another format is what was deleted. This is a part of the question.
		list, out = output.Table, env.Log
	}
	if dryRun || format == output.Table || len(chosen) > 0 && confirm.Asks() {
		if err := writeStudies(out, list, chosen); err != nil || len(chosen) == 0 {
			return err
		}
	}
	if dryRun {
		_, err := fmt.Fprintf(env.Err, "Would delete %s.\n", what)
		return err
	}
	if len(chosen) > 0 {
		if err := confirm.Ask(ctx, fmt.Sprintf("Delete %s, permanently?", what)); err != nil {
			return err
		}
	}
	deleted, err := deleteAll(ctx, env, c, chosen)
	var writeErr error
	if format != output.Table {
		writeErr = writeStudies(env.Out, format, deleted)
	} else {
		_, writeErr = fmt.Fprintf(env.Out, "Deleted %s.\n", output.Count(uint64(len(deleted)), "study"))
	}
	return errors.Join(err, writeErr)
}

func writeStudies(out io.Writer, format output.Format, studies []*trellisv1.Study) error {
	columns := describe.StudyColumns
	if format == output.Table {
		columns = append(slices.Clone(columns), endedColumn)
	}
	list := output.NewList(out, format, "studies", columns)
	for _, study := range studies {
		if err := list.Add(study); err != nil {
			return err
		}
	}
	return list.Close("No study ended that long ago.")
}

// endedColumn is in tables, which have no end_time.
var endedColumn = output.Column[*trellisv1.Study]{
	Name: "ended", Short: func(study *trellisv1.Study) string { return output.ShortTime(study.GetEndTime()) },
}

// deleteAll deletes studies, and returns those that are gone even if it fails. One that has changed since it was listed, or whose
// name another study has by now, stays: it may run again.
func deleteAll(
	ctx context.Context, env *cli.Environment, c *client.Client, studies []*trellisv1.Study,
) (deleted []*trellisv1.Study, err error) {
	for _, study := range studies {
		_, err := client.Call(ctx, client.CallTimeout, c.DeleteStudy, &trellisv1.DeleteStudyRequest{
			Study: study.GetName(), ModifyIndex: study.GetModifyIndex(),
		})
		switch status.Code(err) {
		case codes.OK, codes.NotFound:
			// NOT_FOUND: the answer to an earlier attempt was lost, or somebody else has deleted it.
			deleted = append(deleted, study)
		case codes.Aborted:
			fmt.Fprintf(env.Err, "Study %s has changed in the meantime: it stays.\n", study.GetName())
		default:
			return deleted, fmt.Errorf("delete study %s, after %s: %w", study.GetName(), output.Count(uint64(len(deleted)), "study"), err)
		}
	}
	return deleted, nil
}
