package search

import (
	"context"
	"fmt"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/output"
	"trellis/command/progress"
	"trellis/command/reproduction"
	"trellis/command/spec"
	"trellis/command/studies"
	trellisv1 "trellis/proto/trellis/v1"
)

// dataOf is the data set of the stage with that study.
func dataOf(r *trellisv1.Reproduction, study string) string {
	for _, stage := range r.GetStages() {
		if stage.GetStudy().GetName() == study {
			return stage.GetStudy().GetData()
		}
	}
	return ""
}

// runStages trains the studies, each as soon as those that it depends on have ended, and returns them by name.
func runStages(
	ctx context.Context, env *cli.Environment, c *client.Client, r *trellisv1.Reproduction, report *reproductionReport,
	options reproduceOptions,
) (map[string]*trellisv1.Study, error) {
	ended := map[string]*trellisv1.Study{}
	var all []progress.Stage
	for _, stage := range r.GetStages() {
		all = append(all, progress.Stage{Study: stage.GetStudy().GetName(), After: reproduction.DependsOn(stage)})
	}
	await := func(name string) error {
		if ended[name] != nil {
			return nil
		}
		study, err := progress.FollowStage(ctx, env, c, name, all, options.inLines)
		if err != nil {
			return err
		}
		if err := studies.Outcome(study); err != nil {
			return err
		}
		ended[name] = study
		report.ended(ctx, study)
		return nil
	}
	for i, stage := range r.GetStages() {
		for _, name := range reproduction.DependsOn(stage) {
			if err := await(name); err != nil {
				return nil, err
			}
		}
		var best *trellisv1.Parameters
		if stage.GetBestOf() != "" {
			answer, err := client.Call(ctx, client.CallTimeout, c.GetBestTrial,
				&trellisv1.GetBestTrialRequest{Study: stage.GetBestOf()})
			if err != nil {
				return nil, err
			}
			best = answer.GetTrial().GetParameters()
		}
		wanted := reproduction.Complete(spec.Models(), stage, best)
		fmt.Fprintf(env.Err, "Stage %d of %d: study %s, %s.\n", i+1, len(r.GetStages()), wanted.GetName(),
			wanted.GetModel())
		if err := begin(ctx, env, c, &trellisv1.CreateStudyRequest{Spec: wanted}, options.place); err != nil {
			return nil, err
		}
		study, err := retryFailed(ctx, env, c, wanted.GetName())
		if err != nil {
			return nil, err
		}
		report.begun(ctx, study)
		if err := report.checkData(study); err != nil {
			return nil, err
		}
	}
	for _, stage := range r.GetStages() {
		if err := await(stage.GetStudy().GetName()); err != nil {
			return nil, err
		}
	}
	return ended, nil
}

// retryFailed retries the failed runs of a study that has ended, from the last checkpoints. It returns the study.
func retryFailed(ctx context.Context, env *cli.Environment, c *client.Client, name string) (*trellisv1.Study, error) {
	study, err := client.Call(ctx, client.CallTimeout, c.GetStudy, &trellisv1.GetStudyRequest{Study: name})
	if err != nil {
		return nil, err
	}
	if study.GetStudy().GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED ||
		study.GetStudy().GetProgress().GetTrialsFailed() == 0 {
		return study.GetStudy(), nil
	}
	taken, err := client.Call(ctx, client.CreateTimeout, c.RetryStudy, &trellisv1.RetryStudyRequest{Study: name})
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(env.Err, "Study %s: retrying %s.\n", name, output.Count(taken.GetRuns(), "failed run"))
	return study.GetStudy(), err
}
