package results

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/catalog"
	"trellis/results/grid"
	"trellis/results/lattice"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// A budget of trials or epochs decides which runs a study has: the first ones in its order. A larger one has the same
// runs at the same places, and more after them, so that raising it only makes the base larger. A budget of time decides
// which of them begin: once it is over, those that have no epochs, and that no worker holds, are CANCELED, although
// their study is not.

// gridTrials is Study.grid_trials.
func gridTrials(base *catalog.Base) uint64 {
	if all := base.AllTrials(); all > base.Trials() {
		return all
	}
	return 0
}

// raisesBudget says whether an extension is one of the study's budget.
func raisesBudget(study *trellisv1.Study, extension Extension) bool {
	return extension.Spec != nil && !proto.Equal(extension.Spec.GetBudget(), study.Spec.GetBudget())
}

// raiseBudget gives a study a larger budget, and returns how many trials it has got.
func (c *change) raiseBudget(study *trellisv1.Study, extension Extension) (trials uint64, err error) {
	if _, err := lifecycle.Study.Next(study.State, lifecycle.Reopen); err != nil {
		return 0, err
	}
	if !study.Indexed || len(extension.Runs)+len(extension.Trials) > 0 ||
		!grid.OnlyRaises(extension.Spec, study.Spec) {
		return 0, fmt.Errorf("only its budget may be raised: %w", ErrInvalid)
	}
	study = c.studies.edit(study)
	had := study.Spec.GetBudget()
	extension.replaceSpec(study)
	begins := false
	if !TimeIsOver(study, c.now.AsTime()) {
		if begins, err = c.reopenRuns(study); err != nil {
			return 0, err
		}
	}
	its, err := c.sections.catalog(study.Name)
	if err != nil {
		return 0, err
	}
	base, err := newBase(study)
	if err != nil {
		return 0, err
	}
	now := its.Raised(base)
	trials = now.Trials() - its.Trials()
	switch all := now.Trials(); {
	case trials == 0 && proto.Equal(had.GetTime(), study.Spec.GetBudget().GetTime()) && study.Spec.GetBudget() != nil:
		return 0, fmt.Errorf("it adds nothing: the larger budget allows no more trials: %w", ErrInvalid)
	case trials > 0 && all > extension.MaxTrials && extension.MaxTrials > 0:
		return 0, fmt.Errorf("it would have %d trials, but at most %d are allowed: %w", all, extension.MaxTrials,
			ErrInvalid)
	}
	study.GridTrials = gridTrials(base)
	if trials > 0 {
		if err := c.growBase(study, its, now); err != nil {
			return 0, err
		}
	} else if err := c.sections.replace(now); err != nil {
		return 0, err
	}
	if trials == 0 && !begins {
		return 0, nil
	}
	if err := c.reopen(study); err != nil {
		return 0, err
	}
	study.Settled = false
	from := its.BaseRuns()
	if begins {
		from = 0
	}
	return trials, c.shareTouched(now, from, extension.SharesInParts)
}

// passOver gives the points of a study's grid new indices that no trial has, as listing them does where the study has
// them all.
func passOver(study *trellisv1.Study) error {
	g, err := grid.New(study.Spec)
	if err != nil {
		return err
	}
	if next := study.Indices + g.Size(); next > study.Indices {
		study.Indices = next
	}
	return nil
}

// growBase gives a study the catalog now, which has more runs that follow from the specs than the catalog before, or
// more trials of these.
func (c *change) growBase(study *trellisv1.Study, before, now *catalog.Catalog) error {
	longer, err := c.lengthenedIn(before, now)
	if err != nil {
		return err
	}
	if study.Untouched != nil {
		// New runs have ended with those that nothing has touched: who watches is told of them.
		study.Untouched = proto.CloneOf(study.Untouched)
		study.Untouched.ModifyIndex = c.index
		now = now.WithUntouched(study.Untouched)
	}
	if err := c.sections.replace(now); err != nil {
		return err
	}
	runs, trials, epochs := before.Cost()
	allRuns, allTrials, allEpochs := now.Cost()
	for _, its := range longer {
		// What they get is counted when they are lengthened.
		was := its.run()
		trials += uint64(len(its.longer.Milestones) - len(was.Milestones))
		epochs += uint64(its.longer.Parameters.MaxEpochs - was.Parameters.MaxEpochs)
	}
	more := trajectory.Untouched(allRuns-runs, allTrials-trials, allEpochs-epochs, study.Untouched)
	trajectory.AddUntouched(study.Progress, more, 1)
	if err := c.growSection(now, before.BaseRuns()); err != nil {
		return err
	}
	for _, its := range longer {
		if err := c.lengthen(its.handle, its.longer); err != nil {
			return fmt.Errorf("lengthen run %s: %w", its.longer.Id, err)
		}
	}
	return c.relate(study, now)
}

// lengthening is a run, and the same with more milestones, but for its state.
type lengthening struct {
	handle
	longer *trellisv1.Run
}

// lengthenedIn returns the touched runs that have more trials by the catalog now than by the one before.
func (c *change) lengthenedIn(before, now *catalog.Catalog) (longer []lengthening, err error) {
	if !now.Base.Lengthens() {
		return nil, nil
	}
	touched, err := c.sections.touched(before)
	if err != nil {
		return nil, err
	}
	for _, h := range touched {
		if place := h.number*sectionSize + uint32(h.slot); now.InBase(place) {
			milestones, _ := now.MilestonesAt(place)
			if run := withMilestones(h.run(), milestones); run != nil {
				longer = append(longer, lengthening{h, run})
			}
		}
	}
	return longer, nil
}

// growSection adds the untouched runs from a place on to the section that has those before it, as far as they belong to
// it.
func (c *change) growSection(now *catalog.Catalog, from uint32) error {
	if from%sectionSize == 0 {
		return nil
	}
	h, err := c.sections.at(now, from)
	if err != nil || h.before == nil {
		return err
	}
	grown, whole := h.change(), untouchedSection(now, h.number)
	for slot := len(grown.members); slot < len(whole.members); slot++ {
		grown.members = append(grown.members, nil)
		grown.open = setBit(grown.open, slot, true)
		grown.pending = setBit(grown.pending, slot, whole.pending != 0)
	}
	return nil
}

// TimeIsOver says whether the time of a study's budget is over.
func TimeIsOver(study *trellisv1.Study, now time.Time) bool {
	budget := study.GetSpec().GetBudget()
	return budget.GetTime() != nil && !now.Before(study.GetCreateTime().AsTime().Add(budget.GetTime().AsDuration()))
}

// EndTimeBudget cancels the runs of a RUNNING study that have not begun, because the time of its budget is over: those
// that have no epochs and that no worker holds. created is the study's create_index. It fails with ErrNotFound, and
// with ErrIllegalMove if the study is another one or is in another state, or if its time is not over.
func (s *Store) EndTimeBudget(index uint64, now *timestamppb.Timestamp, name string, created uint64) error {
	c := s.begin(index, now)
	defer c.abort()
	if err := c.endTimeBudget(name, created); err != nil {
		return refusal("end the time of", name, err)
	}
	return c.commit()
}

func (c *change) endTimeBudget(name string, created uint64) error {
	study, err := c.studies.get(textKey(name))
	if err != nil {
		return err
	}
	if study.CreateIndex != created || study.State != lifecycle.StudyRunning || !TimeIsOver(study, c.now.AsTime()) {
		return fmt.Errorf("it has time left, or is not running: %w", ErrIllegalMove)
	}
	study = c.studies.edit(study)
	message := fmt.Sprintf("not trained: the time budget of %s is over",
		shortTime(study.Spec.GetBudget().GetTime().AsDuration()))
	its, err := c.sections.catalog(name)
	if err != nil {
		return err
	}
	touched, err := c.sections.unsealed(its)
	if err != nil {
		return err
	}
	for _, h := range touched {
		if NotBegun(h.run()) {
			h.endAttempt(lifecycle.Cancel).Run.Error = message
		}
	}
	// With nothing else left to do, the best of its runs goes on if it is held.
	if _, err := c.prunerOf(name); err != nil {
		return err
	}
	return c.cancelUntouched(study, message)
}

// NotBegun says whether a run waits for its first epoch.
func NotBegun(run *trellisv1.Run) bool {
	return run.GetState() == lifecycle.RunPending && run.GetEpochs() == 0 && run.GetDispute() == nil
}

// reopenRuns makes the runs PENDING that have been canceled because the time was over, and says whether there were any.
func (c *change) reopenRuns(study *trellisv1.Study) (any bool, err error) {
	its, err := c.sections.catalog(study.Name)
	if err != nil {
		return false, err
	}
	touched, err := c.sections.unsealed(its)
	if err != nil {
		return false, err
	}
	for _, h := range touched {
		if h.run().State == lifecycle.RunCanceled {
			run := h.edit().Run
			run.State, run.Error = lifecycle.Run.Must(run.State, lifecycle.Reopen), ""
			any = true
		}
	}
	if study.GetUntouched().GetState() != lifecycle.TrialCanceled {
		return any, nil
	}
	runs, trials, epochs, err := c.untouched(study)
	if err != nil {
		return false, err
	}
	trajectory.AddUntouched(study.Progress, trajectory.Untouched(runs, trials, epochs, study.Untouched), -1)
	trajectory.AddUntouched(study.Progress, trajectory.Untouched(runs, trials, epochs, nil), 1)
	return true, c.setUntouched(study, nil)
}

// shortTime writes 8h0m0s as 8h.
func shortTime(d time.Duration) string {
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}

// Extended returns the runs and trials that follow from a study's specs if it is extended to a spec whose defaults are
// set. Those that are listed are none of these: those of old studies, of their extensions, and of seeds that settle has
// added. byIndex says that the runs that follow from its specs now have the same places there, and are the first.
func Extended(study *trellisv1.Study, spec *trellisv1.StudySpec) (its *lattice.Lattice, byIndex bool, err error) {
	as := CopyStudy(study)
	replaceSpec(as, proto.CloneOf(spec), true)
	if !grid.OnlyRaises(spec, study.Spec) {
		as.Extensions = append(slices.Clip(as.Extensions), &trellisv1.GridExtension{
			FirstIndex: study.Indices, Specs: uint32(grid.Extensions(as)),
		})
	}
	switch base, err := newBase(as); {
	case err == nil:
		return base.Lattice, study.Indexed, nil
	case !errors.Is(err, ErrNotIndexed):
		return nil, false, err
	}
	as.Extensions, as.SpecHistory, as.EarlierSpecs = nil, nil, nil
	its, err = lattice.New(as)
	return its, false, err
}
