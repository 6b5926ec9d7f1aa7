package studies

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/describe"
	trellisv1 "trellis/proto/trellis/v1"
)

func init() { cli.Register(cli.Search, 130, DeleteCommand) }

// DeleteCommand deletes a study for good.
func DeleteCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "delete STUDY",
		Short: "Delete a study and all its results",
		Long: `Permanently delete a study and all its results. A study that is running is canceled first. With --report, delete a report
of trellis reproduce instead: its studies stay.

On a terminal, delete asks for confirmation first. Elsewhere it needs --yes. It deletes the study that it has looked at: one that
was replaced by another with its name in the meantime stays, and one that had ended stays if it has changed.`,
		Example: `  trellis delete old
  trellis delete --yes old
  trellis delete --report paper`,
		Args: cli.Operands("STUDY"),
	}
	options := cli.ClientFlags(cmd, client.DefaultWait)
	confirm := cli.ConfirmFlag(cmd, env)
	report := cmd.Flags().Bool("report", false, "delete the report named STUDY instead of a study")
	completeStudy, completeReport := cli.CompleteStudies(options), cli.CompleteReports(options)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if *report {
			return completeReport(cmd, args, typed)
		}
		return completeStudy(cmd, args, typed)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		what := "a study and all its results"
		if *report {
			what = "a report"
		}
		if err := confirm.Check(false, "delete permanently removes "+what); err != nil {
			return err
		}
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			if *report {
				return deleteReport(ctx, env, c, args[0], confirm)
			}
			return deleteStudy(ctx, env, c, args[0], confirm)
		})
	}
	return cmd
}

// deleteStudy deletes a study, after asking.
func deleteStudy(ctx context.Context, env *cli.Environment, c *client.Client, name string, confirm *cli.Confirmation) error {
	response, err := client.Call(ctx, client.CallTimeout, c.GetStudy, &trellisv1.GetStudyRequest{Study: name})
	if err != nil {
		return err
	}
	study := response.GetStudy()
	question := fmt.Sprintf("Study %s is %s: %s. Delete it permanently?", name, describe.StudyState(study),
		describe.Progress(study))
	if err := confirm.Ask(ctx, question); err != nil {
		return err
	}
	request := &trellisv1.DeleteStudyRequest{Study: name, CreateIndex: study.GetCreateIndex()}
	if study.GetEndTime() != nil {
		// It does not change by itself. One that is being trained does all the time.
		request.ModifyIndex = study.GetModifyIndex()
	}
	if _, err := client.Call(ctx, client.CallTimeout, c.DeleteStudy, request); status.Code(err) == codes.Aborted {
		return changed(ctx, c, study, err)
	} else if err != nil {
		return err
	}
	_, err = fmt.Fprintf(env.Out, "Study %s deleted.\n", name)
	return err
}

// changed says what has become of a study that is not what it was, for which it was to be deleted.
func changed(ctx context.Context, c *client.Client, was *trellisv1.Study, cause error) error {
	response, err := client.Call(ctx, client.CallTimeout, c.GetStudy, &trellisv1.GetStudyRequest{Study: was.GetName()})
	switch is := response.GetStudy(); {
	case err != nil:
		return errors.Join(cause, err)
	case is.GetCreateIndex() != was.GetCreateIndex():
		return fmt.Errorf("study %s was replaced in the meantime: another one of that name is %s: %s. It stays; to delete it, run "+
			"trellis delete again", is.GetName(), describe.StudyState(is), describe.Progress(is))
	default:
		return fmt.Errorf("study %s has changed in the meantime: it is %s: %s. It stays; to delete it, run trellis delete again",
			is.GetName(), describe.StudyState(is), describe.Progress(is))
	}
}

// deleteReport deletes a report on a paper, after asking.
func deleteReport(ctx context.Context, env *cli.Environment, c *client.Client, name string, confirm *cli.Confirmation) error {
	response, err := client.Call(ctx, client.CallTimeout, c.GetPaperReport, &trellisv1.GetPaperReportRequest{Report: name})
	if err != nil {
		return err
	}
	question := fmt.Sprintf("Report %s is %q. Delete it permanently?", name, response.GetReport().GetTitle())
	if err := confirm.Ask(ctx, question); err != nil {
		return err
	}
	if _, err := client.Call(ctx, client.CallTimeout, c.DeletePaperReport, &trellisv1.DeletePaperReportRequest{
		Report: name,
	}); err != nil {
		return err
	}
	_, err = fmt.Fprintf(env.Out, "Report %s deleted.\n", name)
	return err
}
