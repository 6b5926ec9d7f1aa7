package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
)

// pageSize is how many items a listing asks for at once.
const pageSize = 500

func (cli *commandLine) studiesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "studies",
		Short: "List the studies, oldest first",
		Args:  operands(),
	}
	options, format := clientFlags(cmd, DefaultWait), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return cli.withClient(cmd.Context(), options, func(ctx context.Context, c *client) error {
			columns := studyColumns
			if *format == formatTable {
				columns = append(slices.Clone(columns), forecastColumn(time.Now()))
			}
			list := newListWriter(cli.stdout, *format, "studies", columns)
			if err := c.eachStudy(ctx, list.Add); err != nil {
				return err
			}
			return list.Close("There are no studies. Submit one: trellis submit SPEC")
		})
	}
	return cmd
}

// eachStudy calls do with every study, oldest first.
func (c *client) eachStudy(ctx context.Context, do func(*trellisv1.Study) error) error {
	request := &trellisv1.ListStudiesRequest{PageSize: pageSize}
	for {
		response, err := call(ctx, callTimeout, c.ListStudies, request)
		if err != nil {
			return err
		}
		for _, study := range response.GetStudies() {
			if err := do(study); err != nil {
				return err
			}
		}
		request.PageToken = response.GetNextPageToken()
		if request.PageToken == "" {
			return nil
		}
	}
}

var studyColumns = []column[*trellisv1.Study]{
	both("name", (*trellisv1.Study).GetName),
	both("state", studyState),
	both("model", modelOf),
	both("trials", progressOf((*trellisv1.Progress).GetTrials)),
	both("trials_succeeded", progressOf((*trellisv1.Progress).GetTrialsSucceeded)),
	both("trials_failed", progressOf((*trellisv1.Progress).GetTrialsFailed)),
	{"trials_canceled", progressOf((*trellisv1.Progress).GetTrialsCanceled), nil},
	ifAny("trials_pruned", (*trellisv1.Progress).GetTrialsPruned),
	both("epochs", progressOf((*trellisv1.Progress).GetEpochs)),
	both("epochs_left", progressOf((*trellisv1.Progress).GetEpochsLeft)),
	ifAny("epochs_shared", (*trellisv1.Progress).GetEpochsShared),
	{"seconds_shared", func(s *trellisv1.Study) string { return plainNumber(s.GetProgress().GetSecondsShared()) }, nil},
	{"epochs_alone", progressOf((*trellisv1.Progress).GetEpochsAlone), nil},
	{"seconds_left", secondsLeft((*trellisv1.Estimate).GetExpected), nil},
	{"seconds_left_low", secondsLeft((*trellisv1.Estimate).GetLow), nil},
	{"seconds_left_high", secondsLeft((*trellisv1.Estimate).GetHigh), nil},
	{"create_time", createTime, func(study *trellisv1.Study) string { return shortTime(study.GetCreateTime()) }},
	{"end_time", endTime, nil},
}

// forecastColumn is in tables only: it depends on the time at which it is written.
func forecastColumn(now time.Time) column[*trellisv1.Study] {
	return column[*trellisv1.Study]{name: "ends_about", short: func(study *trellisv1.Study) string {
		return describeEndShortly(study.GetForecast(), now)
	}}
}

// ifAny is a column that a table leaves out where it is 0 everywhere.
func ifAny(name string, get func(*trellisv1.Progress) uint64) column[*trellisv1.Study] {
	plain := progressOf(get)
	return column[*trellisv1.Study]{name, plain, func(study *trellisv1.Study) string {
		if get(study.GetProgress()) == 0 {
			return ""
		}
		return plain(study)
	}}
}

// secondsLeft is a number of a study's forecast, or empty where there is none.
func secondsLeft(get func(*trellisv1.Estimate) float64) func(*trellisv1.Study) string {
	return func(study *trellisv1.Study) string {
		left := study.GetForecast().GetSeconds()
		if left == nil {
			return ""
		}
		return plainNumber(get(left))
	}
}

func studyState(study *trellisv1.Study) string {
	return plainState(study.GetState().String(), "STUDY_STATE_")
}

func modelOf(study *trellisv1.Study) string { return study.GetSpec().GetModel() }

func createTime(study *trellisv1.Study) string { return plainTime(study.GetCreateTime()) }

func endTime(study *trellisv1.Study) string { return plainTime(study.GetEndTime()) }

func progressOf(count func(*trellisv1.Progress) uint64) func(*trellisv1.Study) string {
	return func(study *trellisv1.Study) string { return strconv.FormatUint(count(study.GetProgress()), 10) }
}

// plainState is the value of an enum in lower case, without its prefix.
func plainState(name, prefix string) string {
	return strings.ToLower(strings.TrimPrefix(name, prefix))
}

// plainTime is RFC 3339 in UTC, or empty.
func plainTime(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().Format(time.RFC3339)
}

// shortTime is a time of the user's clock.
func shortTime(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().Local().Format(time.DateTime)
}

func (cli *commandLine) pauseCommand() *cobra.Command {
	return cli.studyCommand("pause", "Stop a study's runs until it is resumed; what they have reported stays",
		func(ctx context.Context, c *client, study string) (*trellisv1.Study, error) {
			response, err := call(ctx, callTimeout, c.PauseStudy, &trellisv1.PauseStudyRequest{Study: study})
			return response.GetStudy(), err
		})
}

func (cli *commandLine) resumeCommand() *cobra.Command {
	return cli.studyCommand("resume", "Let a paused study go on",
		func(ctx context.Context, c *client, study string) (*trellisv1.Study, error) {
			response, err := call(ctx, callTimeout, c.ResumeStudy, &trellisv1.ResumeStudyRequest{Study: study})
			return response.GetStudy(), err
		})
}

func (cli *commandLine) cancelCommand() *cobra.Command {
	return cli.studyCommand("cancel", "End a study for good; what its runs have reported stays",
		func(ctx context.Context, c *client, study string) (*trellisv1.Study, error) {
			response, err := call(ctx, callTimeout, c.CancelStudy, &trellisv1.CancelStudyRequest{Study: study})
			return response.GetStudy(), err
		})
}

// studyCommand is a command that changes a study's state and prints what has become of it.
func (cli *commandLine) studyCommand(
	name, short string, change func(context.Context, *client, string) (*trellisv1.Study, error),
) *cobra.Command {
	cmd := &cobra.Command{
		Use:   name + " STUDY",
		Short: short,
		Args:  operands("STUDY"),
	}
	options, format := clientFlags(cmd, DefaultWait), outputFlag(cmd)
	cmd.ValidArgsFunction = completeStudies(options)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return cli.withClient(cmd.Context(), options, func(ctx context.Context, c *client) error {
			study, err := change(ctx, c, args[0])
			if err != nil {
				return err
			}
			if *format == formatTable {
				_, err := fmt.Fprintf(cli.stdout, "Study %s is %s: %s.\n", study.GetName(), studyState(study),
					describeProgress(study))
				return err
			}
			return writeOne(cli.stdout, *format, study, studyColumns)
		})
	}
	return cmd
}

func (cli *commandLine) deleteCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "delete STUDY",
		Short: "Forget a study and its results; one that is still running is canceled first",
		Args:  operands("STUDY"),
	}
	options := clientFlags(cmd, DefaultWait)
	cmd.ValidArgsFunction = completeStudies(options)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return cli.withClient(cmd.Context(), options, func(ctx context.Context, c *client) error {
			_, err := call(ctx, callTimeout, c.DeleteStudy, &trellisv1.DeleteStudyRequest{Study: args[0]})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cli.stdout, "Study %s is deleted.\n", args[0])
			return err
		})
	}
	return cmd
}

// describeProgress says in words how far a study has come.
func describeProgress(study *trellisv1.Study) string {
	progress := study.GetProgress()
	parts := []string{
		fmt.Sprintf("%d of %s answered", progress.GetTrialsSucceeded(), count(progress.GetTrials(), "trial")),
	}
	for _, part := range []struct {
		number uint64
		what   string
	}{
		{progress.GetTrialsFailed(), "failed"},
		{progress.GetTrialsPruned(), "pruned by a heuristic"},
		{progress.GetTrialsCanceled(), "canceled"},
	} {
		if part.number > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.number, part.what))
		}
	}
	parts = append(parts, count(progress.GetEpochs()-progress.GetEpochsShared(), "epoch")+" trained")
	if shared := progress.GetEpochsShared(); shared > 0 {
		parts = append(parts, fmt.Sprintf("%d taken over, which saved %s", shared, shortSeconds(progress.GetSecondsShared())))
	}
	return strings.Join(parts, ", ")
}

// count writes a number of things: 1 trial, 2 trials.
func count(number uint64, thing string) string {
	switch {
	case number == 1:
		return "1 " + thing
	case strings.HasSuffix(thing, "y"):
		return fmt.Sprintf("%d %sies", number, strings.TrimSuffix(thing, "y"))
	default:
		return fmt.Sprintf("%d %ss", number, thing)
	}
}

// outcomeOf is nil for a study that has answered all its trials, else errIncomplete with what is missing.
func outcomeOf(study *trellisv1.Study) error {
	progress := study.GetProgress()
	var missing []error
	if failed := progress.GetTrialsFailed(); failed > 0 {
		missing = append(missing, fmt.Errorf("%s failed; see why: trellis report %s; take them up again: trellis retry %s",
			count(failed, "trial"), study.GetName(), study.GetName()))
	}
	if study.GetState() == trellisv1.StudyState_STUDY_STATE_CANCELED {
		missing = append(missing, fmt.Errorf("it was canceled, with %s not answered",
			count(progress.GetTrialsCanceled(), "trial")))
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s: %w", errIncomplete, study.GetName(), errors.Join(missing...))
}
