package planning

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"trellis/coordinator/forecast"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/catalog"
	"trellis/results/grid"
	"trellis/results/lattice"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

// Extension counts what an extension of a stored study to a spec would add at the time now. tally is what the forecast of the
// runs that it concerns depends on.
func Extension(
	snapshot *results.Snapshot, study *trellisv1.Study, spec *trellisv1.StudySpec, now time.Time,
) (_ *trellisv1.PlanExtensionResponse, _ *forecast.Tally, err error) {
	e := &extension{
		snapshot: snapshot, tally: forecast.NewTally(spec), response: &trellisv1.PlanExtensionResponse{}, untouched: study.GetUntouched(),
	}
	if e.has, err = snapshot.Catalog(study.GetName()); err != nil {
		return nil, nil, err
	}
	its, byIndex, err := results.Extended(study, spec)
	if err != nil {
		return nil, nil, err
	}
	e.its = its
	e.reopens = !proto.Equal(spec.GetBudget(), study.GetSpec().GetBudget()) &&
		!results.TimeIsOver(&trellisv1.Study{Spec: spec, CreateTime: study.GetCreateTime()}, now)
	if e.reopens && e.untouched.GetState() == lifecycle.TrialCanceled {
		e.untouched = nil
	}
	raises := grid.OnlyRaises(spec, study.GetSpec())
	e.lengthens = !raises && its.Lengthens()
	if byIndex && (raises || e.has.ListsNothing() && e.untouched == nil) {
		err = e.count()
	} else if err = grid.CheckListed(spec, study.GetSpec()); err != nil {
		err = fmt.Errorf("expand the extension of study %s: %w", study.GetName(), err)
	} else {
		err = e.list()
	}
	if err != nil {
		return nil, nil, err
	}
	return e.response, e.tally, snapshot.Err()
}

// extension counts what an extension adds to a study.
type extension struct {
	snapshot *results.Snapshot
	// has are the study's runs and trials: those that follow from its specs, and those that are listed. its are those that
	// follow from its specs after the extension.
	has *catalog.Catalog
	its *lattice.Lattice
	// untouched is what has become of the runs that nobody has begun, and reopens says that those begin after all that were
	// given up because the time of the budget was over.
	untouched *trellisv1.Untouched
	reopens   bool
	// lengthens says that runs that the study has may get trials.
	lengthens bool

	tally    *forecast.Tally
	response *trellisv1.PlanExtensionResponse
}

// count counts what follows from the specs. The runs that the study has are the first, and the others are new.
func (e *extension) count() error {
	had := e.has.BaseRuns()
	e.response.Trials = e.its.Trials() - e.has.Base.Trials()
	e.response.Runs = uint64(e.its.Runs() - had)
	if e.lengthens || e.reopens {
		if err := e.countHad(had); err != nil {
			return err
		}
	}
	if e.untouched == nil { // Otherwise they have ended with the others that nobody has begun.
		for spot := range e.its.Spots(had, e.its.Runs()) {
			e.response.Epochs += uint64(spot.Epochs)
			e.tally.AddSpot(spot)
		}
	}
	if !e.reopens {
		return nil
	}
	first, next := e.has.ListedPlaces()
	for place := first; place < next; place++ {
		known, err := e.snapshot.TrajectoryAt(e.has, place)
		if err != nil {
			return err
		}
		if known.Run.GetState() == lifecycle.RunCanceled {
			e.response.RunsReopened++
			e.response.Epochs += uint64(known.Run.GetParameters().GetMaxEpochs())
			e.tally.Add(&trellisv1.Run{Parameters: known.Run.GetParameters(), State: lifecycle.RunPending}, nil)
		}
	}
	return nil
}

// countHad counts the runs that the study has, so many of which follow from its specs.
func (e *extension) countHad(had uint32) error {
	sections, err := e.snapshot.Sections(e.has)
	if err != nil {
		return err
	}
	next := uint32(0)
	for section := range sections {
		if section.First() >= had {
			break
		}
		e.countUntouched(next, section.First())
		next = section.First()
		for _, known := range section.Trajectories() {
			if known == nil {
				e.countUntouched(next, next+1)
			} else {
				e.countTouched(e.its.Spot(next), known)
			}
			next++
		}
	}
	e.countUntouched(next, had)
	return nil
}

// countUntouched counts runs that nobody has begun, from a place on, below another.
func (e *extension) countUntouched(from, to uint32) {
	if e.untouched != nil {
		return
	}
	reopens := e.has.UntouchedState() != nil
	for place := from; place < to; place++ {
		switch spot := e.its.Spot(place); {
		case reopens:
			if e.has.Lengthens(place, place+1) {
				milestones, _ := e.has.MilestonesAt(place)
				spot.Epochs = milestones[len(milestones)-1]
			}
			e.reopen(spot)
		case e.before(spot) < spot.Epochs:
			e.response.RunsLengthened++
			e.response.Epochs += uint64(spot.Epochs - spot.Before)
			e.response.EpochsBefore += uint64(spot.Before)
			e.tally.AddSpot(spot)
		}
	}
}

// before returns the epoch at which a run ends that the study has.
func (e *extension) before(spot lattice.Spot) uint32 {
	if !e.lengthens {
		return spot.Epochs
	}
	return spot.Before
}

func (e *extension) reopen(spot lattice.Spot) {
	e.response.RunsReopened++
	e.response.Epochs += uint64(spot.Epochs)
	e.tally.AddSpot(spot)
}

// countTouched counts a run of which something is known.
func (e *extension) countTouched(spot lattice.Spot, known *trajectory.Trajectory) {
	if known.Run.GetState() == lifecycle.RunCanceled {
		if e.reopens {
			spot.Epochs = max(spot.Epochs, known.Run.GetParameters().GetMaxEpochs())
			e.reopen(spot)
		}
		return
	}
	if e.before(spot) < spot.Epochs {
		e.lengthen(known, spot.Epochs)
	}
}

// lengthen counts a run that goes on to more epochs, unless it has ended in another way.
func (e *extension) lengthen(known *trajectory.Trajectory, epochs uint32) {
	its := known.Run
	switch its.GetState() {
	case lifecycle.RunFailed, lifecycle.RunPruned, lifecycle.RunCanceled:
		return // It stays so.
	case lifecycle.RunSucceeded:
		if its.GetStopReason() != trellisv1.StopReason_STOP_REASON_MAX_EPOCHS {
			return // It has ended by itself.
		}
	}
	before, r := its.GetParameters().GetMaxEpochs(), e.response
	r.RunsLengthened++
	r.Epochs += uint64(epochs - before)
	r.EpochsBefore += uint64(before - its.GetEpochs())
	r.EpochsAgain += uint64(again(its))
	e.tally.Add(&trellisv1.Run{
		Parameters: trajectory.ParametersAt(its, epochs), State: lifecycle.RunPending,
		Epochs: its.GetEpochs(), Checkpoints: its.GetCheckpoints(),
	}, known.Losses)
}

// again returns how many recorded epochs a run trains again, because no checkpoint has them.
func again(run *trellisv1.Run) uint32 {
	return run.GetEpochs() - min(run.GetEpochs(), trajectory.LastCheckpoint(run).GetEpoch())
}

// list counts an extension that adds what does not follow from the specs alone: it compares all runs.
func (e *extension) list() error {
	for place := range e.its.Runs() {
		if err := e.snapshot.Err(); err != nil {
			return err
		}
		if err := e.listRun(e.its.Run(place)); err != nil {
			return err
		}
	}
	return nil
}

// listRun counts a run that the study would have.
func (e *extension) listRun(run *trellisv1.Run) error {
	place, has := e.has.Twin(run)
	if !has {
		e.response.Trials += uint64(len(run.GetMilestones()))
		e.response.Runs++
		e.response.Epochs += uint64(run.GetParameters().GetMaxEpochs())
		e.tally.Add(run, nil)
		return nil
	}
	known, err := e.snapshot.TrajectoryAt(e.has, place)
	if err != nil {
		return err
	}
	milestones := known.Run.GetMilestones()
	for _, milestone := range run.GetMilestones() {
		if !slices.Contains(milestones, milestone) {
			e.response.Trials++
		}
	}
	if epochs := run.GetParameters().GetMaxEpochs(); epochs > milestones[len(milestones)-1] {
		e.lengthen(known, epochs)
	}
	return nil
}
