package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
)

// extendAttempts is how often an extension is retried because someone else has extended the study in the meantime.
const extendAttempts = 10

// ExtendStudy adds values to a study's axes, or raises its budget. It checks everything that can be wrong with them
// before they reach the log.
func (s studyService) ExtendStudy(
	ctx context.Context, request *trellisv1.ExtendStudyRequest,
) (*trellisv1.ExtendStudyResponse, error) {
	if err := s.disk.check(); err != nil {
		return nil, err
	}
	grid.Upgrade(request)
	name := request.GetStudy()
	for range extendAttempts {
		study, err := s.get(ctx, name)
		if err != nil {
			return nil, err
		}
		spec, found, err := s.extendedSpec(ctx, study, request)
		if err != nil {
			return nil, Status(err)
		}
		answer, err := s.proposeExtension(ctx, study, spec, found.largest)
		if errors.Is(err, results.ErrStudyChanged) {
			continue
		}
		if err != nil {
			return nil, Status(err)
		}
		if study, err = s.get(ctx, name); err != nil {
			return nil, err
		}
		added := changed(answer)
		s.logger.Info("study extended", "study", name, "trials added", added,
			"trials", study.GetProgress().GetTrials(), "runs", study.GetProgress().GetRuns())
		return &trellisv1.ExtendStudyResponse{Study: study, Trials: added}, nil
	}
	return nil, Status(fmt.Errorf("extend study %q, in %d attempts: %w: try again", name, extendAttempts,
		results.ErrStudyChanged))
}

// proposeExtension proposes an extension of a study if there is room for it.
func (s studyService) proposeExtension(
	ctx context.Context, study *trellisv1.Study, spec *trellisv1.StudySpec, network *trellisv1.ModelSize,
) (any, error) {
	if err := s.limits.CheckSpec(spec); err != nil {
		return nil, err
	}
	leftOut, err := grid.LeftOut(ctx, spec)
	if err != nil {
		return nil, err
	}
	admitted, err := s.admitting(ctx)
	if err != nil {
		return nil, err
	}
	defer admitted()
	snapshot := s.store.Snapshot()
	// What is stored of it may differ from what is shown.
	stored, err := snapshot.Study(nil, study.GetName())
	if err != nil {
		return nil, err
	}
	if err := s.checkRoomFor(snapshot, stored, spec, leftOut); err != nil {
		return nil, err
	}
	return s.log.Propose(ctx, &trellisv1.Command{Change: &trellisv1.Command_ExtendStudy{
		ExtendStudy: &trellisv1.ExtendStudyCommand{
			Study: study.GetName(), Indices: study.GetIndices(), Spec: spec, KeepDifference: true,
			Indexed: true, SharesInParts: true, Network: network,
		},
	}})
}

// extendedSpec returns the study's spec with the requested values added, or the requested budget, if the study may be
// extended, and what its networks have.
func (s studyService) extendedSpec(
	ctx context.Context, study *trellisv1.Study, request *trellisv1.ExtendStudyRequest,
) (spec *trellisv1.StudySpec, found foundOut, err error) {
	if study.GetState() == trellisv1.StudyState_STUDY_STATE_CANCELED {
		return nil, found, status.Errorf(codes.FailedPrecondition,
			"study %q was canceled and can't be extended: submit a new one, which uses what this one has trained",
			study.GetName())
	}
	empty := &trellisv1.ExtendStudyRequest{Study: request.GetStudy()}
	if proto.Equal(request, empty) {
		return nil, found, status.Error(codes.InvalidArgument, "adds nothing: name an axis and the values to add to "+
			"it, for example max_epochs: [200] or seeds: [2, 3], or a larger budget")
	}
	if spec, err = s.models.Merge(study.GetSpec(), request); err != nil {
		return nil, found, err
	}
	// Weights fit one latent dimension, and one encoder.
	if _, err := s.models.ResolveEncoder(spec, study.GetPretrained()); err != nil {
		return nil, found, err
	}
	found.smallest, found.largest, err = s.models.ExtendedSizes(ctx, s.sizer, study.GetSpec(), request, spec,
		study.GetDataSet())
	if err != nil {
		return nil, found, err
	}
	if proto.Equal(spec, grid.WithDefaults(study.GetSpec())) {
		what := "all of these values"
		if request.GetBudget() != nil {
			what = "this budget"
		}
		return nil, found, status.Errorf(codes.InvalidArgument, "adds nothing: study %q already has %s",
			study.GetName(), what)
	}
	if err := timeLeft(study, spec); err != nil {
		return nil, found, err
	}
	budget, has := spec.GetBudget().GetTrials(), study.GetProgress().GetTrials()
	if study.GetGridTrials() > 0 && budget > 0 && budget <= has && !grid.OnlyRaises(spec, study.GetSpec()) {
		return nil, found, status.Errorf(codes.InvalidArgument, "adds nothing: the budget of %d trials is used up, so "+
			"that the larger grid has no more trials: raise it too, for example with --budget trials=%d", budget, 2*has)
	}
	return spec, found, nil
}

// timeLeft returns an error if the time of the budget that a study would have is over, so that nothing would be
// trained.
func timeLeft(study *trellisv1.Study, spec *trellisv1.StudySpec) error {
	if !results.TimeIsOver(&trellisv1.Study{Spec: spec, CreateTime: study.GetCreateTime()}, time.Now()) {
		return nil
	}
	return status.Errorf(codes.FailedPrecondition,
		"the time budget of study %[1]q is over, so nothing would be trained: allow more time, for example "+
			"trellis extend %[1]s --budget time=%[2]dh", study.GetName(),
		int(time.Since(study.GetCreateTime().AsTime()).Hours())+2)
}

// RetryStudy retries the study's failed runs, and trains those anew whose attempts disagree.
func (s studyService) RetryStudy(
	ctx context.Context, request *trellisv1.RetryStudyRequest,
) (*trellisv1.RetryStudyResponse, error) {
	name := request.GetStudy()
	study, err := s.get(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := retriable(study, request.GetPruned()); err != nil {
		return nil, err
	}
	if err := timeLeft(study, study.GetSpec()); err != nil {
		return nil, err
	}
	answer, err := s.log.Propose(ctx, &trellisv1.Command{Change: &trellisv1.Command_RetryStudy{
		RetryStudy: &trellisv1.RetryStudyCommand{Study: name, Pruned: request.GetPruned()},
	}})
	if err != nil {
		return nil, Status(err)
	}
	if study, err = s.get(ctx, name); err != nil {
		return nil, err
	}
	runs := changed(answer)
	s.logger.Info("study retried", "study", name, "runs", runs, "pruned", request.GetPruned())
	return &trellisv1.RetryStudyResponse{Study: study, Runs: runs}, nil
}

// retriable returns an error that says why there is nothing to retry. The store would refuse too, but with a shorter
// reason.
func retriable(study *trellisv1.Study, pruned bool) error {
	progress := study.GetProgress()
	switch {
	case study.GetState() == trellisv1.StudyState_STUDY_STATE_CANCELED:
		return status.Errorf(codes.FailedPrecondition,
			"study %q was canceled and can't be retried: submit a new one, which uses what this one has trained",
			study.GetName())
	case progress.GetRunsFailed()+progress.GetRunsDisputed() > 0 || pruned && progress.GetRunsPruned() > 0:
		return nil
	case progress.GetRunsPruned() > 0:
		return status.Errorf(codes.FailedPrecondition,
			"no run of study %q has failed, but %d were pruned: use 'trellis retry %s --pruned' to train these to "+
				"the end",
			study.GetName(), progress.GetRunsPruned(), study.GetName())
	default:
		return status.Errorf(codes.FailedPrecondition,
			"no run of study %q has failed: there is nothing to retry", study.GetName())
	}
}

// changed returns the number in the answer to a command that counts its changes.
func changed(answer any) uint64 {
	n, ok := answer.(uint64)
	if !ok {
		panic(fmt.Sprintf("api: the state machine answered a command that counts with %T", answer))
	}
	return n
}
