package results

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// Extension is what is added to a study.
type Extension struct {
	// Indices are the study's before, and NextIndices those after the extension. The indices of new trials lie between
	// them.
	Indices, NextIndices uint64
	// Spec takes the place of the study's. Nil: that stays.
	Spec *trellisv1.StudySpec
	// Runs and Trials are as in CreateStudy. Those that the study has already are left out; of a run that it has with
	// other milestones, the new ones are added. New runs that are spared are not pruned.
	Runs   []*trellisv1.Run
	Trials []*trellisv1.Trial
	// Settled says that nothing is left to be settled.
	Settled bool
	// MaxTrials is how many the study may have then. 0: any number.
	MaxTrials uint64
}

// ExtendStudy adds runs and trials to a study that is RUNNING, PAUSED or COMPLETED. A COMPLETED one is RUNNING again,
// until what has been added has ended too.
//
// New runs are PENDING, and come after all that the study has. Of a run that it has, new trials are answered as far as
// its epochs are recorded; a test loss they have if it was reported of any epoch with the same best weights. If they
// ask for more epochs, a run that succeeded by its maximum is PENDING again and goes on, while one that ended by
// itself, by early stopping or because it diverged, answers them at once. A run that is LEASED stays so: its worker
// ends where it was told to, and the run is PENDING again. One that FAILED or was PRUNED stays so too, with the new
// trials that it has no answer for.
//
// It returns how many trials were added. It fails with ErrNotFound, with ErrIllegalMove if the study is CANCELED, and
// with ErrStudyChanged if its indices are not those of the extension: it has been extended meanwhile. ErrInvalid is
// what CreateStudy would not take, too many trials, and an extension that adds nothing.
func (s *Store) ExtendStudy(
	index uint64, now *timestamppb.Timestamp, name string, extension Extension,
) (trials uint64, err error) {
	c := s.begin(index, now)
	defer c.abort()
	if trials, err = c.extendStudy(name, extension); err != nil {
		return 0, refusal("extend", name, err)
	}
	return trials, c.commit()
}

func (c *change) extendStudy(name string, extension Extension) (trials uint64, err error) {
	study, err := c.studies.get(textKey(name))
	if err != nil {
		return 0, err
	}
	if study.Indices != extension.Indices {
		return 0, fmt.Errorf("its next trial is %d by now, not %d: %w", study.Indices, extension.Indices,
			ErrStudyChanged)
	}
	if err := c.reopen(study); err != nil {
		return 0, err
	}
	study = c.studies.edit(study)
	g, err := c.growthOf(study, extension)
	if err != nil {
		return 0, err
	}
	trials = uint64(len(g.after.indexes) - len(g.before.indexes))
	switch all := uint64(len(g.after.indexes)); {
	case trials == 0 && (study.Settled || !extension.Settled):
		return 0, fmt.Errorf("it adds nothing: the study has all of these trials: %w", ErrInvalid)
	case trials > 0 && all > extension.MaxTrials && extension.MaxTrials > 0:
		return 0, fmt.Errorf("it would have %d trials, at most %d are allowed: %w", all, extension.MaxTrials,
			ErrInvalid)
	}
	if extension.Spec != nil {
		study.EarlierSpecs = append(slices.Clip(study.EarlierSpecs), study.Spec)
		study.Spec = proto.CloneOf(extension.Spec)
	}
	study.Indices, study.Settled = extension.NextIndices, extension.Settled
	if trials == 0 {
		return 0, nil
	}
	return trials, c.grow(study, g)
}

// reopen lets a study go on that has come to its end, and does nothing to one that has not. ErrIllegalMove if it may
// not.
func (c *change) reopen(study *trellisv1.Study) error {
	to, err := lifecycle.Study.Next(study.State, lifecycle.Reopen)
	if err != nil {
		return err
	}
	if to != study.State {
		study = c.studies.edit(study)
		study.State, study.EndTime = to, nil
	}
	return nil
}

// growth is what an extension adds to a study.
type growth struct {
	// before and after are the study's catalogs.
	before, after *catalog
	// lengthened are the runs that get more milestones, as they are then but for their states, by their places.
	lengthened []placedRun
	// added are the new runs, in the order of their places.
	added []*trellisv1.Run
}

type placedRun struct {
	place uint32
	run   *trellisv1.Run
}

// growthOf compares an extension with what the study has.
func (c *change) growthOf(study *trellisv1.Study, extension Extension) (*growth, error) {
	before, err := c.sections.catalog(study.Name)
	if err != nil {
		return nil, err
	}
	members, err := c.membersOf(study.Name)
	if err != nil {
		return nil, err
	}
	old := make([]*trellisv1.Run, 0, len(before.places))
	for member := range members {
		old = append(old, member.Run)
	}
	g := &growth{before: before}
	runs := slices.Clone(old)
	for _, run := range extension.Runs {
		place, known := before.places[run.GetId()]
		if !known {
			g.added = append(g.added, newRun(study, run))
			continue
		}
		if runs[place] != old[place] {
			return nil, fmt.Errorf("run %s: it occurs twice: %w", run.GetId(), ErrInvalid)
		}
		if longer := withMilestones(old[place], run.GetMilestones()); longer != nil {
			runs[place] = longer
			g.lengthened = append(g.lengthened, placedRun{place, longer})
		}
	}
	slices.SortFunc(g.added, placeOrder(study))
	runs = append(runs, g.added...)
	if g.after, err = newCatalog(study.Name, runs); err != nil {
		return nil, err
	}
	g.after.inherit(before, old, runs)
	return g, g.addTrials(old, runs, extension)
}

// addTrials adds the trials that the study does not have.
func (g *growth) addTrials(old, runs []*trellisv1.Run, extension Extension) error {
	for _, trial := range extension.Trials {
		if place, known := g.before.places[trial.GetRun()]; known {
			if _, has := slices.BinarySearch(old[place].Milestones, trial.GetParameters().GetMaxEpochs()); has {
				continue
			}
		}
		if trial.GetIndex() < extension.Indices || trial.GetIndex() >= extension.NextIndices {
			return fmt.Errorf("trial %d: it is new, and its index not between %d and %d: %w",
				trial.GetIndex(), extension.Indices, extension.NextIndices, ErrInvalid)
		}
		if _, err := g.after.addTrial(runs, trial); err != nil {
			return fmt.Errorf("trial %d: %w", trial.GetIndex(), err)
		}
	}
	return g.after.complete()
}

// newRun is a run of a study to be, or of one that grows.
func newRun(study *trellisv1.Study, run *trellisv1.Run) *trellisv1.Run {
	return &trellisv1.Run{
		Study: study.Name, Id: strings.Clone(run.GetId()), Parameters: proto.CloneOf(run.GetParameters()),
		Milestones: slices.Clone(run.GetMilestones()), State: lifecycle.RunPending, FirstTrial: run.GetFirstTrial(),
		Spared: run.GetSpared(),
	}
}

// withMilestones returns a copy of the run that has these milestones too, nil if it has them all.
func withMilestones(run *trellisv1.Run, milestones []uint32) *trellisv1.Run {
	all := append(slices.Clone(run.Milestones), milestones...)
	slices.Sort(all)
	all = slices.Compact(all)
	if len(all) == len(run.Milestones) {
		return nil
	}
	longer := trajectory.CopyRun(run)
	longer.Milestones, longer.Parameters = all, trajectory.ParametersAt(run, all[len(all)-1])
	return longer
}

// grow makes the growth part of the change.
func (c *change) grow(study *trellisv1.Study, g *growth) error {
	if err := insert(c.txn, tableCatalogs, g.after); err != nil {
		return err
	}
	c.sections.catalogs[study.Name] = g.after
	for _, lengthened := range g.lengthened {
		run, err := c.sections.at(g.after, lengthened.place)
		if err != nil {
			return err
		}
		if err := c.lengthen(run, lengthened.run); err != nil {
			return fmt.Errorf("lengthen run %s: %w", lengthened.run.Id, err)
		}
	}
	members := make([]*trajectory.Trajectory, 0, len(g.added))
	for _, run := range g.added {
		members = append(members, &trajectory.Trajectory{Run: run})
	}
	if err := c.sections.grow(g.after, len(g.before.places), members); err != nil {
		return err
	}
	return c.relate(study, g.after)
}

// lengthen gives a run its new milestones, and answers those of their trials that can be.
func (c *change) lengthen(h handle, longer *trellisv1.Run) error {
	edited := h.edit()
	run := edited.Run
	run.Milestones, run.Parameters = longer.Milestones, longer.Parameters
	if run.State == lifecycle.RunSucceeded && run.StopReason == trellisv1.StopReason_STOP_REASON_MAX_EPOCHS &&
		run.Epochs < run.Parameters.GetMaxEpochs() {
		run.State = lifecycle.Run.Must(run.State, lifecycle.Lengthen)
		run.StopReason = trellisv1.StopReason_STOP_REASON_UNSPECIFIED
	}
	indexes, err := c.indexesOf(run)
	if err != nil {
		return err
	}
	edited.AnswerAgain(indexes)
	return nil
}
