package search

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/command/answer"
	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/describe"
	"trellis/command/node"
	"trellis/command/output"
	"trellis/command/spec"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/results/lifecycle"
)

// begin submits a study, or continues it if it is there already with the same spec.
func begin(
	ctx context.Context, env *cli.Environment, c *client.Client, request *trellisv1.CreateStudyRequest,
	directory node.Directory,
) error {
	wanted := request.GetSpec()
	study, err := c.Create(ctx, request)
	if err == nil {
		describeStart(ctx, env, c, study)
	}
	if directory.Path == "" || status.Code(err) != codes.AlreadyExists {
		return err
	}
	response, err := client.Call(ctx, client.CallTimeout, c.GetStudy,
		&trellisv1.GetStudyRequest{Study: wanted.GetName()})
	if err != nil {
		return err
	}
	study = response.GetStudy()
	if different := spec.Differences(wanted, study); len(different) > 0 {
		return status.Errorf(codes.AlreadyExists, "study %s in %s has another spec: it differs in %s. Choose "+
			"another name, or another folder with %s", wanted.GetName(), directory.Path, output.Enumerate(different),
			directory.NamedBy())
	}
	if study.GetState() == trellisv1.StudyState_STUDY_STATE_PAUSED {
		if _, err := client.Call(ctx, client.CallTimeout, c.ResumeStudy,
			&trellisv1.ResumeStudyRequest{Study: study.GetName()}); err != nil {
			return err
		}
	}
	goesOn := "continues"
	if lifecycle.StudyEnded(study.GetState()) {
		goesOn = "has ended"
	}
	_, err = fmt.Fprintf(env.Err, "Study %s is already in %s with the same spec and %s: %s.\n", study.GetName(),
		directory.Path, goesOn,
		describe.Progress(study))
	return err
}

// describeOthers says which studies share the workers, besides those that were asked for.
func describeOthers(
	ctx context.Context, env *cli.Environment, c *client.Client, specs []*trellisv1.StudySpec, directory node.Directory,
) error {
	if directory.Path == "" {
		return nil
	}
	asked := make(map[string]bool)
	for _, spec := range specs {
		asked[spec.GetName()] = true
	}
	// The oldest study comes first.
	turn := "it is trained first"
	return c.EachStudy(ctx, func(study *trellisv1.Study) error {
		switch {
		case study.GetState() != trellisv1.StudyState_STUDY_STATE_RUNNING:
			return nil
		case asked[study.GetName()]:
			turn = "it uses the slots that are free"
			return nil
		}
		_, err := fmt.Fprintf(env.Err, "Study %s in %s is still running: %s. To pause it: trellis pause %s "+
			"--coordinator %s\n", study.GetName(), directory.Path, turn, study.GetName(), c.Address)
		return err
	})
}

// describeStart says what a study that has just been submitted or extended shares with others, and when it
// ends.
func describeStart(ctx context.Context, env *cli.Environment, c *client.Client, study *trellisv1.Study) {
	progress := study.GetProgress()
	if leftOut, err := grid.LeftOut(ctx, study.GetSpec()); err == nil && study.GetSpec().GetWhere() != "" {
		fmt.Fprintf(env.Err, "Study %s: where leaves out %s; %s left.\n", study.GetName(), output.Count(leftOut, "point"),
			output.Count(progress.GetTrials(), "trial"))
	}
	report := sharingReport(ctx, c, study)
	if sharing := describe.Sharing(progress, report.GetSharedFrom()); sharing != "" {
		fmt.Fprintf(env.Err, "Study %s: %s; %d of %s complete.\n", study.GetName(), sharing,
			progress.GetRunsSucceeded(),
			output.Count(progress.GetRuns(), "run"))
	}
	if missing := answer.DescribeMissingWeights(report); missing != "" {
		fmt.Fprintf(env.Err, "Study %s: %s.\n", study.GetName(), missing)
	}
	if lifecycle.StudyEnded(study.GetState()) {
		fmt.Fprintf(env.Err, "Study %s is already complete: %s.\n", study.GetName(), describe.Progress(study))
		return
	}
	if end := describe.End(study.GetForecast(), time.Now()); end != "" {
		fmt.Fprintf(env.Err, "Study %s %s.\n", study.GetName(), end)
	}
}

// sharingReport returns the report of a study that shares epochs with others. It is nil if it shares none, or if the
// coordinator does not give one: the study does not depend on it.
func sharingReport(ctx context.Context, c *client.Client, study *trellisv1.Study) *trellisv1.Report {
	if study.GetProgress().GetEpochsShared() == 0 {
		return nil
	}
	response, err := client.Call(ctx, client.CallTimeout, c.GetReport,
		&trellisv1.GetReportRequest{Study: study.GetName()})
	if err != nil {
		return nil
	}
	return response.GetReport()
}
