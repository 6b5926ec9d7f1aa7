package results

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/auditing"
	"trellis/results/catalog"
	"trellis/results/grid"
	"trellis/results/lattice"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// Extension describes what to add to a study.
type Extension struct {
	// Indices is the study's indices before the extension, and NextIndices after it. New trials have indices from
	// Indices up to, but not including, NextIndices.
	Indices, NextIndices uint64
	// Spec replaces the study's spec. Nil: the spec stays.
	Spec *trellisv1.StudySpec
	// KeepDifference keeps the earlier spec as its difference from Spec, and not whole.
	KeepDifference bool
	Network        *trellisv1.ModelSize // What the networks of Spec have at most. Nil: what those of the study have.
	// Runs and Trials are as in CreateStudy. Those that the study already has are skipped. If the study has a run with
	// other milestones, the new milestones are added to it. New runs that are spared are not pruned.
	Runs   []*trellisv1.Run
	Trials []*trellisv1.Trial
	// Indexed says that what Spec adds follows from it: Runs, Trials and NextIndices are ignored.
	Indexed bool
	// SharesInParts says that what other studies have trained of the new runs may be copied later: see ShareRuns.
	SharesInParts bool
	// Settled says that nothing is left to settle.
	Settled bool
	// MaxTrials is the maximum number of trials after the extension. 0: no limit.
	MaxTrials uint64
}

// ExtendStudy adds runs and trials to a study that is RUNNING, PAUSED or COMPLETED. A COMPLETED study becomes RUNNING
// again, until everything that was added has ended too.
//
// New runs are PENDING, and come after all existing runs. New trials of an existing run get their results at once as
// far as its epochs are recorded. They get a test loss if one was reported for any epoch with the same best weights. If
// new trials need more epochs, a run that ended at its maximum epochs becomes PENDING again and continues. A run that
// ended by itself, by early stopping or because it diverged, gives them their results at once. A LEASED run stays
// LEASED: its worker stops where it was told to, and the run then becomes PENDING. A run that FAILED or was PRUNED
// stays so, and its new trials have no results.
//
// A spec with another budget than the study's raises that: the study then has all runs that it would have if it had
// been created with the new one. Nothing else of the spec may differ, and the extension has no runs of its own. Runs
// that were canceled because the time of the budget was over become PENDING again, if the new one allows more time.
//
// An indexed extension has the runs and trials of a larger grid, in the same order and with the same indexes as one that
// lists them, and its budget may be larger too. If the budget leaves out a part of the grid, the new runs are the next ones
// in the spec's order of the larger grid, without those that the study has, as far as the budget goes. It fails with
// ErrNotIndexed if runs or trials of the study are listed, or if those that have no row have ended.
//
// ExtendStudy returns how many trials were added. It fails with ErrNotFound, with ErrIllegalMove if the study is
// CANCELED, and with ErrStudyChanged if the study's indices differ from the extension's, because it has been extended
// in the meantime. It fails with ErrInvalid if CreateStudy would, if there would be too many trials, or if the
// extension adds nothing.
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
		return 0, fmt.Errorf("its next trial is now %d, not %d: %w", study.Indices, extension.Indices,
			ErrStudyChanged)
	}
	if extension.Indexed && extension.Spec != nil && !grid.OnlyRaises(extension.Spec, study.Spec) {
		return c.extendByIndex(study, extension)
	}
	if raisesBudget(study, extension) {
		return c.raiseBudget(study, extension)
	}
	if err := c.reopen(study); err != nil {
		return 0, err
	}
	study = c.studies.edit(study)
	g, err := c.growthOf(study, extension)
	if err != nil {
		return 0, err
	}
	trials = g.after.Trials() - g.before.Trials()
	switch all := g.after.Trials(); {
	case trials == 0 && (study.Settled || !extension.Settled):
		return 0, fmt.Errorf("it adds nothing: the study already has all of these trials: %w", ErrInvalid)
	case trials > 0 && all > extension.MaxTrials && extension.MaxTrials > 0:
		return 0, fmt.Errorf("it would have %d trials, but at most %d are allowed: %w", all, extension.MaxTrials,
			ErrInvalid)
	}
	if extension.Spec != nil {
		extension.replaceSpec(study)
	}
	study.Settled = extension.Settled
	if !extension.Indexed || extension.Spec == nil {
		study.Indices = extension.NextIndices
	} else if err := passOver(study); err != nil {
		return 0, err
	}
	if trials == 0 {
		return 0, nil
	}
	return trials, c.grow(study, g)
}

// ErrNotIndexed says that what an extension adds has to be listed.
var ErrNotIndexed = lattice.ErrNotIndexed

// extendByIndex adds what follows from a larger spec.
func (c *change) extendByIndex(study *trellisv1.Study, extension Extension) (trials uint64, err error) {
	if _, err := lifecycle.Study.Next(study.State, lifecycle.Reopen); err != nil {
		return 0, err
	}
	its, err := c.sections.catalog(study.Name)
	if err != nil {
		return 0, err
	}
	if !its.ListsNothing() {
		return 0, ErrNotIndexed
	}
	if !grid.Extends(extension.Spec, study.Spec) {
		return 0, fmt.Errorf("its spec does not have all that the study has: %w", ErrInvalid)
	}
	raises, from := raisesBudget(study, extension), its.BaseRuns()
	study = c.studies.edit(study)
	extension.replaceSpec(study)
	study.Extensions = append(slices.Clip(study.Extensions), &trellisv1.GridExtension{
		FirstIndex: study.Indices, Specs: uint32(grid.Extensions(study)),
	})
	if raises && !TimeIsOver(study, c.now.AsTime()) {
		begins, err := c.reopenRuns(study)
		if err != nil {
			return 0, err
		}
		if begins {
			from = 0
		}
	}
	if study.Untouched != nil {
		return 0, ErrNotIndexed
	}
	if its, err = c.sections.catalog(study.Name); err != nil {
		return 0, err
	}
	base, err := newBase(study)
	if err != nil {
		return 0, err
	}
	now := its.Raised(base)
	trials = now.Trials() - its.Trials()
	if settles := extension.Settled && !study.Settled; trials > 0 || !settles {
		if err := checkAdded(trials, now.Trials(), extension); err != nil {
			return 0, err
		}
	}
	study.Indices, study.Settled, study.GridTrials = base.Indices(), extension.Settled, gridTrials(base)
	if err := c.growBase(study, its, now); err != nil {
		return 0, err
	}
	if err := c.reopen(study); err != nil {
		return 0, err
	}
	return trials, c.shareTouched(now, from, extension.SharesInParts)
}

// checkAdded returns an error if an extension adds no trials, or too many.
func checkAdded(trials, all uint64, extension Extension) error {
	switch {
	case trials == 0 && grid.Sampled(extension.Spec):
		return fmt.Errorf("it adds nothing: the budget allows no more trials, so raise it too: %w", ErrInvalid)
	case trials == 0:
		return fmt.Errorf("it adds nothing: the study already has all of these trials: %w", ErrInvalid)
	case all > extension.MaxTrials && extension.MaxTrials > 0:
		return fmt.Errorf("it would have %d trials, but at most %d are allowed: %w", all, extension.MaxTrials, ErrInvalid)
	}
	return nil
}

// ExtendedSize returns how many bytes the study's row would have with a next spec, besides what changes by itself.
func ExtendedSize(study *trellisv1.Study, spec *trellisv1.StudySpec) int {
	extended := CopyStudy(study)
	replaceSpec(extended, spec, true)
	return proto.Size(extended)
}

// reopen makes a study that has ended run again, and does nothing to one that has not. It returns ErrIllegalMove if
// this is not allowed.
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

// growth is what an extension really adds to a study.
type growth struct {
	// before and after are the study's catalogs.
	before, after *catalog.Catalog
	// lengthened are the runs that get more milestones, by place, as they are afterwards except for their states. inOrder
	// has their places, as they have been found.
	lengthened map[uint32]*trellisv1.Run
	inOrder    []uint32
	// added are the new runs, in the order of their places.
	added []*trellisv1.Run
}

// growthOf compares an extension with the study.
func (c *change) growthOf(study *trellisv1.Study, extension Extension) (*growth, error) {
	before, err := c.sections.catalog(study.Name)
	if err != nil {
		return nil, err
	}
	g := &growth{before: before, lengthened: map[uint32]*trellisv1.Run{}}
	old := map[uint32]*trellisv1.Run{}
	shared := grid.NewShared()
	for _, run := range extension.Runs {
		place, its, err := c.known(before, run)
		if err != nil {
			return nil, err
		}
		if its == nil {
			g.added = append(g.added, newRun(study, run, shared))
			continue
		}
		if old[place] != nil {
			return nil, fmt.Errorf("run %s: it occurs twice: %w", run.GetId(), ErrInvalid)
		}
		old[place] = its
		if longer := withMilestones(its, run.GetMilestones()); longer != nil {
			g.lengthened[place] = longer
			g.inOrder = append(g.inOrder, place)
		}
	}
	slices.SortFunc(g.added, catalog.Order(study))
	listed, err := c.listed(before)
	if err != nil {
		return nil, err
	}
	first, _ := before.ListedPlaces()
	for i := range listed {
		if longer := g.lengthened[first+uint32(i)]; longer != nil {
			listed[i] = longer
		}
	}
	trials, err := g.newTrials(old, extension)
	if err != nil {
		return nil, err
	}
	g.after, err = newCatalog(study.Name, before.Base, append(listed, g.added...), append(slices.Clone(before.Listed()), trials...))
	return g, err
}

// known returns a run of an extension as the study has it, and its place. It returns nil if the study does not have it.
func (c *change) known(its *catalog.Catalog, of *trellisv1.Run) (uint32, *trellisv1.Run, error) {
	place, ok := its.Twin(of)
	if !ok {
		return 0, nil, nil
	}
	member, err := c.memberAt(nil, its, place)
	if err != nil || member.Run.Id != of.GetId() {
		return 0, nil, err
	}
	return place, member.Run, nil
}

// listed returns a study's listed runs, in the order of their places.
func (c *change) listed(its *catalog.Catalog) ([]*trellisv1.Run, error) {
	first, next := its.ListedPlaces()
	runs := make([]*trellisv1.Run, 0, next-first)
	for place := first; place < next; place++ {
		member, err := c.memberAt(nil, its, place)
		if err != nil {
			return nil, err
		}
		runs = append(runs, member.Run)
	}
	return runs, nil
}

// newTrials returns the trials that the study does not have. old are its runs that the extension has too, by place.
func (g *growth) newTrials(old map[uint32]*trellisv1.Run, extension Extension) (trials []catalog.Trial, err error) {
	places := make(map[string]uint32, len(old)+len(g.added))
	runs := make(map[uint32]*trellisv1.Run, len(old)+len(g.added))
	for place, run := range old {
		places[run.Id], runs[place] = place, run
		if longer := g.lengthened[place]; longer != nil {
			runs[place] = longer
		}
	}
	_, next := g.before.ListedPlaces()
	for i, run := range g.added {
		place := next + uint32(i)
		places[run.Id], runs[place] = place, run
	}
	for _, trial := range extension.Trials {
		place, ok := places[trial.GetRun()]
		if !ok {
			return nil, fmt.Errorf("trial %d: run %s not found: %w", trial.GetIndex(), trial.GetRun(), ErrInvalid)
		}
		if its := old[place]; its != nil {
			if _, has := slices.BinarySearch(its.Milestones, trial.GetParameters().GetMaxEpochs()); has {
				continue
			}
		}
		if trial.GetIndex() < extension.Indices || trial.GetIndex() >= extension.NextIndices {
			return nil, fmt.Errorf("trial %d: it is new, but its index is not between %d and %d: %w",
				trial.GetIndex(), extension.Indices, extension.NextIndices, ErrInvalid)
		}
		entry, err := catalog.TrialOf(runs[place], place, trial)
		if err != nil {
			return nil, fmt.Errorf("trial %d: %w", trial.GetIndex(), err)
		}
		trials = append(trials, entry)
	}
	return trials, nil
}

// newRun returns a new run of a study that is being created or extended, with the values that such runs share.
func newRun(study *trellisv1.Study, run *trellisv1.Run, shared *grid.Shared) *trellisv1.Run {
	return &trellisv1.Run{
		Study: study.Name, Id: strings.Clone(run.GetId()),
		Parameters: &trellisv1.Parameters{
			MaxEpochs: run.GetParameters().GetMaxEpochs(), Seed: run.GetParameters().GetSeed(),
			Values: shared.Values(run.GetParameters()),
		},
		Milestones: slices.Clone(run.GetMilestones()), State: lifecycle.RunPending, FirstTrial: run.GetFirstTrial(),
		Spared: run.GetSpared(),
	}
}

// CreateListed adds a RUNNING study with the given runs and trials, all PENDING, as older versions have stored them:
// all are listed. It uses these fields of CreateStudy, and of a run id, parameters, milestones and first trial; of a
// trial index, parameters and run. It fails as CreateStudy does, and with ErrInvalid if runs and trials do not match.
func (s *Store) CreateListed(
	index uint64, now *timestamppb.Timestamp, study *trellisv1.Study, runs []*trellisv1.Run, trials []*trellisv1.Trial,
) error {
	c := s.begin(index, now)
	defer c.abort()
	if err := c.createListed(study, runs, trials); err != nil {
		return refusal("create", study.GetName(), err)
	}
	return c.commit()
}

func (c *change) createListed(study *trellisv1.Study, runs []*trellisv1.Run, trials []*trellisv1.Trial) error {
	created, err := c.newStudy(study)
	if err != nil {
		return err
	}
	sorted, shared := make([]*trellisv1.Run, 0, len(runs)), grid.NewShared()
	for _, run := range runs {
		sorted = append(sorted, newRun(created, run, shared))
	}
	slices.SortFunc(sorted, catalog.Order(created))
	places := map[string]uint32{}
	for place, run := range sorted {
		places[run.Id] = uint32(place)
	}
	var listed []catalog.Trial
	for _, trial := range trials {
		place, ok := places[trial.GetRun()]
		if !ok {
			return fmt.Errorf("trial %d: run %s not found: %w", trial.GetIndex(), trial.GetRun(), ErrInvalid)
		}
		entry, err := catalog.TrialOf(sorted[place], place, trial)
		if err != nil {
			return fmt.Errorf("trial %d: %w", trial.GetIndex(), err)
		}
		listed = append(listed, entry)
	}
	its, err := newCatalog(created.Name, nil, sorted, listed)
	if err != nil {
		return err
	}
	terms := trajectory.TermsOf(created.Spec)
	var members []*trajectory.Trajectory
	for _, run := range sorted {
		members = append(members, &trajectory.Trajectory{Run: run, Terms: terms})
	}
	return c.addStudy(created, its, members)
}

// withMilestones returns a copy of the run with the milestones added, or nil if it already has all of them.
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

// grow applies the growth to the change.
func (c *change) grow(study *trellisv1.Study, g *growth) error {
	if err := c.sections.replace(g.after); err != nil {
		return err
	}
	for _, place := range g.inOrder {
		if err := c.lengthenAt(study, g, place); err != nil {
			return fmt.Errorf("lengthen run %s: %w", g.lengthened[place].Id, err)
		}
	}
	members, terms := make([]*trajectory.Trajectory, 0, len(g.added)), trajectory.TermsOf(study.Spec)
	for _, run := range g.added {
		members = append(members, &trajectory.Trajectory{Run: run, Terms: terms})
	}
	_, next := g.before.ListedPlaces()
	if err := c.sections.grow(g.after, next, members); err != nil {
		return err
	}
	return c.relate(study, g.after)
}

// lengthenAt gives the run at a place its new milestones. An untouched one has them already, as its catalog has.
func (c *change) lengthenAt(study *trellisv1.Study, g *growth, place uint32) error {
	if !g.after.InBase(place) {
		run, err := c.sections.at(g.after, place)
		if err != nil {
			return err
		}
		return c.lengthen(run, g.lengthened[place])
	}
	section, err := first[*section](c.reader, nil, tableSections, indexID, sectionKey(study.Name, place/sectionSize))
	if err != nil {
		return err
	}
	if section == nil || section.sealed == nil && section.members[place%sectionSize] == nil {
		trajectory.AddProgress(study.Progress, g.before.Untouched(place).Run, g.after.Untouched(place).Run)
		return nil
	}
	run, err := c.sections.at(g.after, place)
	if err != nil {
		return err
	}
	return c.lengthen(run, g.lengthened[place])
}

// lengthen gives a run its new milestones, and gives their trials results where possible.
func (c *change) lengthen(h handle, longer *trellisv1.Run) error {
	if auditing.BeingAudited(h.run()) {
		// The audit ends where the run did.
		h.endAttempt(lifecycle.Release)
	}
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
