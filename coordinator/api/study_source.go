package api

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/coordinator/artifact"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
	"trellis/results/lifecycle"
	"trellis/results/objective"
	"trellis/results/trajectory"
)

// resolvePretrained returns a valid spec, completed by what follows from the source of its pretrained weights, and that
// source, or nil if it has none. The weights have been trained and saved. Whether they still exist is for hasSource and
// keepSource to check.
func (s studyService) resolvePretrained(
	ctx context.Context, spec *trellisv1.StudySpec,
) (*trellisv1.StudySpec, *trellisv1.Source, error) {
	if spec.GetPretrained() == nil {
		return spec, nil, nil
	}
	find := sourceOf
	if spec.GetPretrained().GetCheckpoint() != "" {
		find = checkpointSource
		// It may look at every run. The turn ends before the study waits for anything else.
		release, err := s.turns.Read.take(ctx)
		if err != nil {
			return nil, nil, err
		}
		defer release()
	}
	source, err := find(s.store.Snapshot().Within(ctx), spec, s.models.Find(spec.GetModel()).GetPretrained())
	if err != nil {
		return nil, nil, aboutPretrained(err)
	}
	spec, err = s.models.ResolveEncoder(spec, source)
	return spec, source, Status(err)
}

// aboutPretrained says of an error that says so in words which field of the spec it is about.
func aboutPretrained(err error) error {
	answer, ok := status.FromError(err)
	if !ok || !strings.HasPrefix(answer.Message(), "pretrained: ") || len(answer.Details()) > 0 {
		return err
	}
	var where *protovalidate.ValidationError
	if !errors.As(grid.Refuse("pretrained.source", answer.Message(), "pretrained"), &where) {
		return err
	}
	if placed, wrong := answer.WithDetails(where.ToProto()); wrong == nil {
		return placed.Err()
	}
	return err
}

// sourceOf finds the trial that a spec names, of one of the models that are allowed, and the checkpoint with its best
// weights.
func sourceOf(snapshot *results.Snapshot, spec *trellisv1.StudySpec, allowed []string) (*trellisv1.Source, error) {
	name := spec.GetPretrained().GetStudy()
	study, err := snapshot.Study(nil, name)
	if errors.Is(err, results.ErrNotFound) {
		return nil, status.Errorf(codes.InvalidArgument, "pretrained: study %q not found: 'trellis studies' lists "+
			"all studies", name)
	}
	if err != nil {
		return nil, Status(err)
	}
	model := study.GetSpec().GetModel()
	if err := grid.CheckSource(spec, "study "+name, model, allowed); err != nil {
		return nil, Status(err)
	}
	trial, err := namedTrial(snapshot, spec.GetPretrained())
	if err != nil {
		return nil, err
	}
	run, err := snapshot.Run(nil, name, trial.GetRun())
	if err != nil {
		return nil, Status(err)
	}
	checkpoint, err := trajectory.BestWeights(nil, trial, run)
	if err != nil {
		return nil, status.Errorf(codes.FailedPrecondition, "pretrained: study %q: %v", name, err)
	}
	return &trellisv1.Source{
		Study: name, Trial: trial.GetIndex(), Run: run.GetId(), Model: model, Parameters: trial.GetParameters(),
		Sha256: checkpoint.GetSha256(), Size: checkpoint.GetSize(),
		Input: grid.InputOf(study.GetSpec(), study.GetDataSet()),
	}, nil
}

// checkpointSource returns the checkpoint that a spec names, which must be of one of the allowed models, and what is
// known about it: the run that saved it. Nothing is known about a checkpoint that no study refers to any more: then the
// worker checks how many weights it has, and nothing else. Weights of another network with as many, for example of
// images with the sides swapped, are taken for the right ones.
func checkpointSource(
	snapshot *results.Snapshot, spec *trellisv1.StudySpec, allowed []string,
) (*trellisv1.Source, error) {
	digest := spec.GetPretrained().GetCheckpoint()
	run, checkpoint, err := snapshot.SavedBy(digest)
	if errors.Is(err, results.ErrNotFound) {
		return &trellisv1.Source{Sha256: digest}, nil
	}
	if err != nil {
		return nil, Status(err)
	}
	study, err := snapshot.Study(nil, run.GetStudy())
	if err != nil {
		return nil, Status(err)
	}
	model := study.GetSpec().GetModel()
	whose := fmt.Sprintf("the checkpoint %s, saved by a run of study %q,", digest, run.GetStudy())
	if err := grid.CheckSource(spec, whose, model, allowed); err != nil {
		return nil, Status(err)
	}
	if checkpoint.GetBestEpoch() == 0 {
		return nil, status.Errorf(codes.FailedPrecondition,
			"pretrained: %s has no best weights: no %s was a finite number up to its epoch %d: name another", whose,
			strings.ReplaceAll(objective.Metric(study.GetSpec().GetObjective()), "_", " "), checkpoint.GetEpoch())
	}
	return &trellisv1.Source{
		Run: run.GetId(), Model: model, Parameters: run.GetParameters(), Sha256: digest, Size: checkpoint.GetSize(),
		Input: grid.InputOf(study.GetSpec(), study.GetDataSet()),
	}, nil
}

// namedTrial returns the trial that a spec names. The trial has succeeded, so its result won't change any more.
func namedTrial(snapshot *results.Snapshot, pretrained *trellisv1.Pretrained) (*trellisv1.Trial, error) {
	name := pretrained.GetStudy()
	if pretrained.Trial == nil {
		best, err := snapshot.Best(nil, name)
		if errors.Is(err, results.ErrNoAnswer) {
			return nil, status.Errorf(codes.FailedPrecondition,
				"pretrained: study %q has no best trial yet, because none has succeeded: wait for it "+
					"(trellis watch %s)", name, name)
		}
		return best, Status(err)
	}
	index := pretrained.GetTrial()
	trial, err := snapshot.Trial(name, index)
	if errors.Is(err, results.ErrNotFound) {
		return nil, status.Errorf(codes.InvalidArgument,
			"pretrained: study %q has no trial %d: 'trellis trials %s' lists its trials", name, index, name)
	}
	if err != nil {
		return nil, Status(err)
	}
	switch state := trial.GetState(); state {
	case lifecycle.TrialSucceeded, lifecycle.TrialDiverged:
		return trial, nil
	case trellisv1.TrialState_TRIAL_STATE_PENDING, trellisv1.TrialState_TRIAL_STATE_RUNNING:
		return nil, status.Errorf(codes.FailedPrecondition,
			"pretrained: trial %d of study %q has no result yet: wait for it (trellis watch %s), or name "+
				"another trial", index,
			name, name)
	default:
		return nil, status.Errorf(codes.FailedPrecondition,
			"pretrained: trial %d of study %q has no result: it is %s: name another trial", index, name,
			lifecycle.Name(state))
	}
}

// hasSource returns an error if the weights of a source are not available.
func (s studyService) hasSource(ctx context.Context, source *trellisv1.Source) error {
	if s.artifacts.Store() == nil {
		return errNoArtifacts
	}
	content, err := s.artifacts.Get(ctx, source.GetSha256())
	if err != nil {
		return sourceStatus(source, err)
	}
	return content.Close()
}

// keepSource makes sure that the weights of a source exist as long as a study refers to them. The study must be
// proposed to the log immediately afterwards. As for a checkpoint that a worker reports, this node must have made a
// copy of the weights recently, so that no collector can have decided to delete it: the study that the weights come
// from may be deleted at this very moment. It sets the size.
func (s studyService) keepSource(ctx context.Context, source *trellisv1.Source) error {
	if s.artifacts.Store() == nil {
		return errNoArtifacts
	}
	size, err := s.artifacts.Renew(ctx, source.GetSha256())
	if err != nil {
		return sourceStatus(source, err)
	}
	if known := source.GetSize(); known != 0 && known != uint64(size) {
		return status.Errorf(codes.DataLoss, "pretrained: checkpoint %s has %d bytes, not %d", source.GetSha256(),
			size, known)
	}
	source.Size = uint64(size)
	return nil
}

// sourceStatus says why the weights of a source are not available.
func sourceStatus(source *trellisv1.Source, err error) error {
	whose := "checkpoint " + source.GetSha256()
	if source.GetStudy() != "" {
		whose = fmt.Sprintf("the weights of trial %d of study %q, checkpoint %s", source.GetTrial(), source.GetStudy(),
			source.GetSha256())
	}
	if errors.Is(err, artifact.ErrNotFound) && !errors.Is(err, artifact.ErrUnasked) {
		return status.Errorf(codes.FailedPrecondition, "pretrained: %s: the coordinator no longer stores it, or "+
			"never did: is --artifacts the same as when it was trained, and for all nodes?", whose)
	}
	answer := artifactStatus(err)
	return status.Errorf(status.Code(answer), "pretrained: %s: %s", whose, status.Convert(answer).Message())
}
