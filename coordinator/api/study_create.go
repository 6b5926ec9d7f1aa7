package api

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/coordinator/access"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
)

// CreateStudy admits a study. It checks everything that can be wrong with the study before the study reaches the log.
func (s studyService) CreateStudy(
	ctx context.Context, request *trellisv1.CreateStudyRequest,
) (*trellisv1.CreateStudyResponse, error) {
	command, found, err := s.createCommand(ctx, request.GetSpec(), request.GetFresh())
	if source := command.GetPretrained(); err == nil && source != nil {
		err = s.keepSource(ctx, source)
	}
	if err == nil {
		err = s.keepFiles(ctx, command.GetSpec().GetProgram())
	}
	if err != nil {
		name := request.GetSpec().GetName()
		if _, known := s.get(ctx, name); known == nil && request.GetSpec().GetPretrained() != nil {
			// A study that is submitted again does not need its source, which may be gone.
			return nil, errStudyExists(name)
		}
		return nil, err
	}
	admitted, err := s.admitting(ctx)
	if err != nil {
		return nil, err
	}
	defer admitted()
	if err := s.checkRoom(ctx, command, found.leftOut); err != nil {
		return nil, err
	}
	name := command.GetSpec().GetName()
	_, err = s.log.Propose(ctx, &trellisv1.Command{Change: &trellisv1.Command_CreateStudy{CreateStudy: command}})
	if errors.Is(err, results.ErrExists) {
		return nil, errStudyExists(name)
	}
	if err != nil {
		return nil, Status(err)
	}
	study, err := s.get(ctx, name)
	if err != nil {
		return nil, err
	}
	progress := study.GetProgress()
	s.spans.Created(ctx, study)
	s.logger.InfoContext(ctx, "study created", "study", name, "trials", progress.GetTrials(), "runs", progress.GetRuns(),
		"fresh", study.GetFresh())
	if shared := progress.GetEpochsShared(); shared > 0 {
		s.logger.InfoContext(ctx, "study shares results of other studies", "study", name, "epochs", shared,
			"seconds", progress.GetSecondsShared(), "trials succeeded", progress.GetTrialsSucceeded(), "runs ended",
			progress.GetRunsSucceeded(),
			"epochs left", progress.GetEpochsLeft())
	}
	return &trellisv1.CreateStudyResponse{Study: study}, nil
}

// admitting waits until no other study is being admitted, so that the limits on studies hold.
func (s studyService) admitting(ctx context.Context) (admitted func(), err error) {
	select {
	case s.creating <- struct{}{}:
		return func() { <-s.creating }, nil
	case <-ctx.Done(): // The one before may wait for a majority that is not there.
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

func errStudyExists(name string) error {
	return status.Errorf(codes.AlreadyExists, "study %q already exists: choose another name, or delete it first", name)
}

// foundOut is what checking a spec finds out about its study.
type foundOut struct {
	// leftOut is how many points its where leaves out.
	leftOut uint64
	// smallest and largest are the sizes of its networks.
	smallest, largest *trellisv1.ModelSize
}

// createCommand checks a spec, and returns the command that creates its study, and what is known of it by then.
func (s studyService) createCommand(
	ctx context.Context, spec *trellisv1.StudySpec, fresh bool,
) (_ *trellisv1.CreateStudyCommand, found foundOut, err error) {
	grid.Upgrade(spec)
	if err := s.limits.CheckSpec(spec); err != nil {
		return nil, foundOut{}, err
	}
	err = s.models.Validate(spec)
	specChecked(ctx)
	if err != nil {
		return nil, foundOut{}, Status(err)
	}
	if err := s.checkProgram(spec); err != nil {
		return nil, foundOut{}, err
	}
	if err := s.disk.check(); err != nil {
		return nil, foundOut{}, err
	}
	spec, source, err := s.resolvePretrained(ctx, spec)
	if err != nil {
		return nil, foundOut{}, err
	}
	spec = s.models.WithDefaults(spec)
	if found.leftOut, err = grid.LeftOut(ctx, spec); err != nil {
		return nil, foundOut{}, Status(err)
	}
	command := &trellisv1.CreateStudyCommand{
		Spec: spec, Numerics: s.numerics, Fresh: fresh, Pretrained: source, Indexed: true, SharesInParts: true,
	}
	if spec.GetData() == "" {
		return command, found, nil
	}
	dataSet, err := s.dataSets.Find(ctx, spec.GetData())
	if err != nil {
		return nil, foundOut{}, Status(grid.Refuse("data.unknown", err.Error(), "data"))
	}
	if spec.Split, err = s.models.ResolveSplit(spec, dataSet); err != nil {
		return nil, foundOut{}, Status(err)
	}
	if found.smallest, found.largest, err = s.models.Sizes(ctx, s.sizer, spec, dataSet); err != nil {
		return nil, foundOut{}, Status(err)
	}
	if err := grid.CheckSourceInput(spec, source, dataSet); err != nil {
		return nil, foundOut{}, Status(err)
	}
	command.DataSet, command.Network = dataSet, found.largest
	return command, found, nil
}

// checkRoom returns an error if there is no room for another study, whose where leaves out so many points.
func (s studyService) checkRoom(ctx context.Context, command *trellisv1.CreateStudyCommand, leftOut uint64) error {
	more, err := additionOf(command, leftOut)
	if err != nil {
		return Status(err)
	}
	if err := s.limits.checkStudy(int(more.bytes)); err != nil {
		return err
	}
	return Status(s.limits.admit(s.store.Snapshot(), access.Of(ctx), more))
}
