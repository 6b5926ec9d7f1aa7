package studies

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/describe"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

const (
	// mostPlanned is of how many studies one request plans the deletion of checkpoints.
	mostPlanned = 10_000
	// deletionAttempts is how often a deletion is tried again because something else of the study has changed.
	deletionAttempts = 10
)

// pruneCheckpoints deletes the checkpoints of the chosen ones of all studies, after asking.
func pruneCheckpoints(
	ctx context.Context, env *cli.Environment, c *client.Client, chosen []*trellisv1.Study, format output.Format, dryRun bool,
	confirm *cli.Confirmation,
) error {
	studies := map[string]*trellisv1.Study{}
	var names []string
	for _, study := range chosen {
		studies[study.GetName()] = study
		names = append(names, study.GetName())
	}
	var plan []*trellisv1.CheckpointUse
	for some := range slices.Chunk(names, mostPlanned) {
		response, err := client.Call(ctx, client.CreateTimeout, c.PlanCheckpointDeletion,
			&trellisv1.PlanCheckpointDeletionRequest{Studies: some})
		if err != nil {
			return err
		}
		plan = append(plan, response.GetStudies()...)
	}
	list, out := format, env.Out
	if !dryRun && format != output.Table {
		// As in prune: this is a part of the question.
		list, out = output.Table, env.Log
	}
	if dryRun || format == output.Table || len(plan) > 0 && confirm.Asks() {
		if err := writeUses(out, list, studies, plan); err != nil || len(plan) == 0 {
			return err
		}
	}
	checkpoints, files, bytes := sumOf(plan)
	what := fmt.Sprintf("%s of %s", output.Count(checkpoints, "checkpoint"), output.Count(uint64(len(plan)), "study"))
	frees := fmt.Sprintf("%s in %s", output.ShortBytes(bytes), output.Count(files, "file"))
	if dryRun {
		_, err := fmt.Fprintf(env.Err, "Would delete %s, and free %s.\n", what, frees)
		return err
	}
	if len(plan) > 0 {
		question := "Delete %s, permanently, and free %s? Results stay, and the weights of each best trial."
		if err := confirm.Ask(ctx, fmt.Sprintf(question, what, frees)); err != nil {
			return err
		}
	}
	deleted, err := deleteCheckpoints(ctx, env, c, studies, plan)
	var writeErr error
	if format != output.Table {
		writeErr = writeUses(env.Out, format, studies, deleted)
	} else {
		checkpoints, files, bytes = sumOf(deleted)
		_, writeErr = fmt.Fprintf(env.Out, "Deleted %s of %s. That frees %s in %s, within a few hours.\n",
			output.Count(checkpoints, "checkpoint"), output.Count(uint64(len(deleted)), "study"), output.ShortBytes(bytes),
			output.Count(files, "file"))
	}
	return errors.Join(err, writeErr)
}

// sumOf adds up how many checkpoints are deleted, and what that frees.
func sumOf(uses []*trellisv1.CheckpointUse) (checkpoints, files, bytes uint64) {
	for _, use := range uses {
		checkpoints += use.GetCheckpoints()
		files += use.GetFiles()
		bytes += use.GetBytes()
	}
	return checkpoints, files, bytes
}

func writeUses(
	out io.Writer, format output.Format, studies map[string]*trellisv1.Study, uses []*trellisv1.CheckpointUse,
) error {
	type use = *trellisv1.CheckpointUse
	count := func(name string, get func(use) uint64) output.Column[use] {
		return output.Both(name, func(of use) string { return strconv.FormatUint(get(of), 10) })
	}
	list := output.NewList(out, format, "studies", []output.Column[use]{
		output.Both("study", use.GetStudy),
		output.Both("state", func(of use) string { return describe.StudyState(studies[of.GetStudy()]) }),
		{Name: "end_time", Plain: func(of use) string { return output.PlainTime(studies[of.GetStudy()].GetEndTime()) }},
		{Name: "ended", Short: func(of use) string { return output.ShortTime(studies[of.GetStudy()].GetEndTime()) }},
		count("runs", use.GetRuns),
		count("checkpoints", use.GetCheckpoints),
		count("files", use.GetFiles),
		{Name: "bytes", Plain: func(of use) string { return strconv.FormatUint(of.GetBytes(), 10) }},
		{Name: "frees", Short: func(of use) string { return output.ShortBytes(of.GetBytes()) }},
		{Name: "kept_runs", Plain: func(of use) string { return strings.Join(of.GetKeptRuns(), " ") }},
	})
	for _, of := range uses {
		if err := list.Add(of); err != nil {
			return err
		}
	}
	return list.Close("No study that ended that long ago has checkpoints to delete.")
}

// deleteCheckpoints deletes the checkpoints of studies, and returns what it has deleted even if it fails. A study that
// is not what it was when it was listed keeps them.
func deleteCheckpoints(
	ctx context.Context, env *cli.Environment, c *client.Client, studies map[string]*trellisv1.Study,
	plan []*trellisv1.CheckpointUse,
) (deleted []*trellisv1.CheckpointUse, err error) {
	for _, use := range plan {
		name := use.GetStudy()
		one, err := deleteCheckpointsOf(ctx, c, studies[name], use.GetModifyIndex())
		switch status.Code(err) {
		case codes.OK:
			if one.GetCheckpoints() > 0 {
				// Only the plan has looked at what other studies have.
				one.Files, one.Bytes = use.GetFiles(), use.GetBytes()
			}
			deleted = append(deleted, one)
		case codes.Aborted, codes.FailedPrecondition:
			fmt.Fprintf(env.Err, "Study %s has changed in the meantime: the rest of its checkpoints stays.\n", name)
		case codes.NotFound:
			fmt.Fprintf(env.Err, "Study %s was deleted in the meantime.\n", name)
		default:
			return deleted, fmt.Errorf("delete the checkpoints of study %s, after %s: %w: run the command again to delete the rest",
				name, output.Count(uint64(len(deleted)), "study"), err)
		}
	}
	return deleted, nil
}

// deleteCheckpointsOf deletes those of a study if that has not been extended or replaced since it was listed. What else
// may have changed it are an earlier attempt, whose answer was lost, and another command of the same.
func deleteCheckpointsOf(
	ctx context.Context, c *client.Client, study *trellisv1.Study, index uint64,
) (*trellisv1.CheckpointUse, error) {
	for attempt := 1; ; attempt++ {
		response, err := client.Call(ctx, client.CreateTimeout, c.DeleteCheckpoints, &trellisv1.DeleteCheckpointsRequest{
			Study: study.GetName(), ModifyIndex: index, CreateIndex: study.GetCreateIndex(),
		})
		if status.Code(err) != codes.Aborted || attempt == deletionAttempts {
			return response.GetDeleted(), err
		}
		now, lookErr := client.Call(ctx, client.CallTimeout, c.GetStudy, &trellisv1.GetStudyRequest{Study: study.GetName()})
		if lookErr != nil {
			return nil, lookErr
		}
		is := now.GetStudy()
		if is.GetCreateIndex() != study.GetCreateIndex() || !is.GetEndTime().AsTime().Equal(study.GetEndTime().AsTime()) {
			return nil, err
		}
		index = is.GetModifyIndex()
	}
}
