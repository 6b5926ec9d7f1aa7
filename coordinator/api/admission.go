package api

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"trellis/coordinator/access"
	"trellis/coordinator/quota"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
	"trellis/results/lattice"
)

// Limits bound studies and tokens: see coordinator.Limits. Zero values bound nothing.
type Limits struct {
	Studies, Trials, AllStudiesBytes quota.Limit
	// SpecBytes and StudyBytes are the sizes of one spec, and of one study with its extensions.
	SpecBytes, StudyBytes int64
	// FilesBytes is the size of the files of one program.
	FilesBytes int64
	Tokens     quota.Limit
}

// CheckSpec refuses a spec that is too large by itself, before anything looks at it.
func (l Limits) CheckSpec(spec *trellisv1.StudySpec) error {
	if size := int64(proto.Size(spec)); l.SpecBytes > 0 && size > l.SpecBytes {
		return status.Errorf(codes.InvalidArgument, "the spec has %d bytes, which exceeds the limit spec-bytes=%d: write "+
			"long axes as ranges, or divide the study", size, l.SpecBytes)
	}
	return nil
}

// checkStudy refuses a study that would have a row of so many bytes.
func (l Limits) checkStudy(size int) error {
	if l.StudyBytes > 0 && int64(size) > l.StudyBytes {
		return status.Errorf(codes.ResourceExhausted, "the study and its extensions would have %d bytes, which exceeds the "+
			"limit study-bytes=%d: submit a new study, which uses what this one has trained", size, l.StudyBytes)
	}
	return nil
}

// addition is what a new study or an extension adds to all studies.
type addition struct{ studies, trials, bytes int64 }

func (a *addition) add(study *trellisv1.Study) {
	a.studies++
	a.trials += int64(study.GetProgress().GetTrials())
	a.bytes += int64(proto.Size(study))
}

// admit refuses an addition for which there is no room, in all or for the creator of the study. A backup that is
// restored is not asked: what it has was admitted once, and no study is lost because a limit is lower now.
func (l Limits) admit(snapshot *results.Snapshot, creator access.Principal, more addition) error {
	studies, err := snapshot.Studies(nil)
	if err != nil {
		return err
	}
	var held, its addition
	for _, study := range studies {
		held.add(study)
		// A coordinator without authentication does not know whose a study is.
		if !creator.Anonymous() && access.FromMessage(study.GetCreator()) == creator {
			its.add(study)
		}
	}
	for _, one := range []struct {
		limit            quota.Limit
		held, its, asked int64
	}{
		{l.Studies, held.studies, its.studies, more.studies},
		{l.Trials, held.trials, its.trials, more.trials},
		{l.AllStudiesBytes, held.bytes, its.bytes, more.bytes},
	} {
		exceeds := func(held, limit int64) bool { return limit > 0 && one.asked > 0 && held+one.asked > limit }
		if !creator.Anonymous() && exceeds(one.its, one.limit.Each) {
			return &quota.Exceeded{Limit: one.limit, Each: true, Held: one.its, Asked: one.asked}
		}
		if exceeds(one.held, one.limit.InAll) {
			return &quota.Exceeded{Limit: one.limit, Held: one.held, Asked: one.asked}
		}
	}
	return nil
}

// trialsOf counts the trials of a spec, whose where leaves out so many points. A trial that occurs in several of its grids
// counts in each, unless there is a budget.
func trialsOf(spec *trellisv1.StudySpec, leftOut uint64) (int64, error) {
	if spec.GetBudget() != nil {
		its, err := lattice.Of(spec)
		if err != nil {
			return 0, err
		}
		return int64(its.Trials()), nil
	}
	points, err := grid.New(spec)
	if err != nil {
		return 0, err
	}
	return int64(points.Size() - leftOut), nil
}

// additionOf returns what a new study adds, whose where leaves out so many points.
func additionOf(command *trellisv1.CreateStudyCommand, leftOut uint64) (addition, error) {
	trials, err := trialsOf(command.GetSpec(), leftOut)
	if err != nil {
		return addition{}, err
	}
	return addition{studies: 1, trials: trials, bytes: int64(proto.Size(command))}, nil
}

// extensionOf returns what an extension adds to a study, and the size of the study's row after it. The where of the spec
// leaves out so many points.
func extensionOf(
	study *trellisv1.Study, spec *trellisv1.StudySpec, leftOut uint64,
) (added addition, size int, err error) {
	trials, err := trialsOf(spec, leftOut)
	if err != nil {
		return addition{}, 0, err
	}
	size = results.ExtendedSize(study, spec)
	return addition{
		trials: trials - int64(study.GetProgress().GetTrials()),
		bytes:  int64(size - proto.Size(study)),
	}, size, nil
}
