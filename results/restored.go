package results

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/hashicorp/go-memdb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/auditing"
	"trellis/results/catalog"
	"trellis/results/consistency"
	"trellis/results/grid"
	"trellis/results/lifecycle"
	"trellis/results/listing"
	"trellis/results/ranking"
	"trellis/results/trajectory"
)

// restoredStudy is what has been read of a study.
type restoredStudy struct {
	study *trellisv1.Study
	terms *trajectory.Terms
	// shared is what the points of its runs share.
	shared *grid.Shared
	// base is nil if all runs are listed. touched are its runs that have rows, in the order of their places, and lost
	// is how many of these have had their losses.
	base    *catalog.Base
	touched []placedMember
	at      int
	// runs are the listed ones, in the order of their places, and members these with what else is known of them. places
	// has their numbers, by id.
	runs    []*trellisv1.Run
	members []*trajectory.Trajectory
	places  map[string]int
	listed  []catalog.Trial
	// sealed are the sealed sections. checks checks them while the next ones are read.
	sealed []*section
	checks *sealedChecks
	// catalog is made when all trials have been read.
	catalog *catalog.Catalog
}

// placedMember is a run of the base.
type placedMember struct {
	place uint32
	*trajectory.Trajectory
}

// placeOf returns the place of the next run that is read, and whether it follows from the spec.
func (s *restoredStudy) placeOf(run *trellisv1.Run) (place uint32, based bool) {
	next := uint32(len(s.runs))
	if s.base == nil {
		return next, false
	}
	// Whatever its row says: its parameters decide where it stands.
	if place, ok := s.base.PlaceOf(run.Parameters); ok && place == run.Place && len(s.runs) == 0 {
		return place, true
	}
	return catalog.ListedFrom + next, false
}

// firstListed returns the place of the first listed run.
func (s *restoredStudy) firstListed() uint32 {
	if s.base == nil {
		return 0
	}
	return catalog.ListedFrom
}

// listedTrial takes up a listed trial of a run.
func (s *restoredStudy) listedTrial(trial *trellisv1.Trial, its *trajectory.Trajectory, place uint32) error {
	entry, err := catalog.TrialOf(its.Run, place, trial)
	if err != nil {
		return corrupt(fmt.Errorf("trial %d: %w", trial.Index, err))
	}
	s.listed = append(s.listed, entry)
	if trial.State == lifecycle.TrialSucceeded {
		answer(its, trial)
	}
	return nil
}

// next returns the touched run at a place, which is not before that of the call before, or nil if there is none.
func (s *restoredStudy) next(place uint32) *trajectory.Trajectory {
	for ; s.at < len(s.touched) && s.touched[s.at].place <= place; s.at++ {
		if s.touched[s.at].place == place {
			return s.touched[s.at].Trajectory
		}
	}
	return nil
}

// ofLosses returns the run that losses are of, and its place. Runs that follow from the spec come first, in their
// order.
func (s *restoredStudy) ofLosses(losses *trellisv1.Losses) (*trajectory.Trajectory, uint32, error) {
	if number, listed := s.places[losses.Run]; listed {
		return s.members[number], s.firstListed() + uint32(number), nil
	}
	for ; s.at < len(s.touched); s.at++ {
		if its := s.touched[s.at]; its.Run.Id == losses.Run {
			return its.Trajectory, its.place, nil
		}
	}
	return nil, 0, fmt.Errorf("losses of run %q, which does not exist: %w", losses.Run, ErrCorrupt)
}

// complete makes the catalog once all trials have been read.
func (s *restoredStudy) complete(version uint32) error {
	if s.catalog != nil {
		return nil
	}
	if len(s.listed) == 0 && s.base == nil {
		return fmt.Errorf("study %q has no trials: %w", s.study.Name, ErrCorrupt)
	}
	var err error
	if s.catalog, err = newCatalog(s.study.Name, s.base, s.runs, s.listed); err != nil {
		return corrupt(fmt.Errorf("study %q: %w", s.study.Name, err))
	}
	s.listed, s.at = nil, 0
	if version == 1 {
		s.upgrade()
	}
	return nil
}

// insert stores what has been read of the study.
func (s *restoredStudy) insert(txn *memdb.Txn) error {
	if s.base == nil {
		s.dropUnranked()
	}
	leased, progress := false, s.catalog.Progress()
	order := listing.RankingOf(s.study.Spec)
	ranked := make([]listing.Key, 0, len(s.touched)+len(s.members))
	take := func(its *trajectory.Trajectory, place uint32) error {
		leased = leased || auditing.Held(its.Run)
		err := s.check(its, place)
		for _, trial := range its.Answers {
			ranked = append(ranked, order.Key(trial))
		}
		return err
	}
	for _, its := range s.touched {
		trajectory.AddTouched(progress, s.study.Untouched, its.Run)
		if err := take(its.Trajectory, its.place); err != nil {
			return err
		}
	}
	for number, its := range s.members {
		trajectory.AddProgress(progress, nil, its.Run)
		if err := take(its, s.firstListed()+uint32(number)); err != nil {
			return err
		}
	}
	sealed, keys, err := s.checkSealed()
	if err != nil {
		return err
	}
	addSealed(progress, sealed)
	if err := consistency.CheckStudy(s.study, progress, leased, s.catalog.Indices()); err != nil {
		return err
	}
	slices.SortFunc(ranked, listing.Key.Compare)
	for _, part := range keys {
		ranked = ranking.Merge(ranked, part)
	}
	if len(ranked) > 0 {
		if err := setRanks(txn, s.study.Name, ranking.Of(ranked)); err != nil {
			return err
		}
	}
	if err := insertMembers(txn, s.catalog, s.touched, s.members, s.sealed); err != nil {
		return err
	}
	return insertRungs(txn, s.study, s.each)
}

// each yields all runs that have rows, the sealed ones one after the other.
func (s *restoredStudy) each(yield func(uint32, *trajectory.Trajectory) bool) {
	for _, its := range s.touched {
		if !yield(its.place, its.Trajectory) {
			return
		}
	}
	for number, its := range s.members {
		if !yield(s.firstListed()+uint32(number), its) {
			return
		}
	}
	for _, section := range s.sealed {
		if !section.each(s.catalog, yield) {
			return
		}
	}
}

// check returns an error if a run's results do not follow from it.
func (s *restoredStudy) check(its *trajectory.Trajectory, place uint32) error {
	run := its.Run
	if run.Epochs > 0 && its.Losses == nil {
		return fmt.Errorf("run %s of study %q has no losses: %w", run.Id, s.study.Name, ErrCorrupt)
	}
	slices.SortFunc(its.Answers, func(a, b *trellisv1.Trial) int {
		return cmp.Compare(a.Parameters.GetMaxEpochs(), b.Parameters.GetMaxEpochs())
	})
	its.Answers = slices.Clip(its.Answers)
	if s.catalog.InBase(place) {
		if err := s.checkBased(run, place); err != nil {
			return err
		}
	}
	indexes := s.catalog.IndexesAt(place)
	follows := len(its.Answers) == trajectory.AnsweredTrials(run) && len(indexes) == len(run.Milestones)
	for milestone, trial := range its.Answers {
		follows = follows && trial.Index == indexes[milestone] &&
			trial.Epochs == min(run.Epochs, run.Milestones[milestone])
	}
	if !follows {
		return fmt.Errorf("the results of run %s of study %q do not follow from its %d epochs: %w",
			run.Id, s.study.Name, run.Epochs, ErrCorrupt)
	}
	return nil
}

// checkBased returns an error if a run is not the one that follows from the spec at its place.
func (s *restoredStudy) checkBased(run *trellisv1.Run, place uint32) error {
	as := s.base.Lattice.Run(place)
	milestones, _ := s.catalog.MilestonesAt(place)
	if run.Id != as.Id || run.FirstTrial != as.FirstTrial || !slices.Equal(run.Milestones, milestones) ||
		run.Parameters.GetMaxEpochs() != milestones[len(milestones)-1] {
		return fmt.Errorf("run %q of study %q is not the one at place %d, %s: %w", run.Id, s.study.Name, place, as.Id,
			ErrCorrupt)
	}
	return nil
}

// dropUnranked takes the results of listed runs that have not reported the objective's metric: at first, programs'
// trials got theirs without it.
func (s *restoredStudy) dropUnranked() {
	dropped := false
	for _, its := range s.members {
		if run := its.Run; run.State == lifecycle.RunSucceeded || !trajectory.Unranked(run) {
			continue
		}
		dropped = dropped || len(its.Answers) > 0
		its.Answers = nil
	}
	if !dropped || s.study.Progress == nil {
		return
	}
	progress := consistency.ProgressOf(s.runs)
	progress.TrainingSeconds, progress.SecondsShared = s.study.Progress.TrainingSeconds, s.study.Progress.SecondsShared
	s.study.Progress = progress
}

// upgrade fills in the fields that a snapshot of version 1 does not have, as if the study had been created today.
func (s *restoredStudy) upgrade() {
	s.study.Numerics = numericsOfVersion1
	s.study.Indices = s.catalog.Indices()
	if s.study.Progress != nil {
		s.study.Progress.EpochsAlone = consistency.ProgressOf(s.runs).EpochsAlone
	}
}

// sealed reads a sealed section. What it contains is checked meanwhile: see checkSealed.
func (r *restorer) sealed(row *trellisv1.SealedSection) error {
	study, err := r.of(row.Study)
	if err != nil {
		return err
	}
	if err := r.follows(newKey(0).text(row.Study).number32(row.Number)); err != nil {
		return err
	}
	first := uint64(row.Number) * sectionSize
	runs, err := trajectory.SealedOf(row)
	if err != nil || study.base == nil || first >= uint64(study.base.Runs()) ||
		runs.Size() != int(min(sectionSize, uint64(study.base.Runs())-first)) {
		return fmt.Errorf("section %d of study %q, which has no such section: %w", row.Number, row.Study, ErrCorrupt)
	}
	its := &section{
		study: study.study.Name, number: row.Number, changed: row.Changed, sealed: runs, kept: &keptOfSection{},
	}
	for slot := range runs.Size() {
		its.begun = setBit(its.begun, slot, true)
	}
	study.sealed = append(study.sealed, its)
	if study.checks == nil {
		// All runs and trials have been read.
		if err := study.complete(r.version); err != nil {
			return err
		}
		study.checks = study.startChecks()
	}
	study.checks.sections <- its
	return nil
}

// checkSealed returns what all sealed runs count for, as touched runs of the study, once they have been checked, and
// the keys of their trials in the ranking, as lists in order.
func (s *restoredStudy) checkSealed() (sum *trellisv1.Progress, keys [][]listing.Key, err error) {
	sum = &trellisv1.Progress{}
	if s.checks == nil {
		return sum, nil, nil
	}
	s.checks.end()
	for part, progress := range s.checks.parts {
		if err := s.checks.errs[part]; err != nil {
			return nil, nil, err
		}
		addSealed(sum, progress)
	}
	return sum, s.checks.keys, nil
}

// sectionReader has what is used again for the next section.
type sectionReader struct {
	opened trajectory.Opened
	points [sectionSize]trellisv1.Parameters
}

// checkSection checks the runs of a sealed section, adds them to the progress, and returns the keys with those of their
// trials in the ranking. While the runs are at hand, it computes what answers need of them: later that would take as
// long again.
func (s *restoredStudy) checkSection(
	with *sectionReader, its *section, progress *trellisv1.Progress, ranking listing.Ranking, keys []listing.Key,
) ([]listing.Key, error) {
	first := its.number * sectionSize
	at, _ := slices.BinarySearchFunc(s.touched, first, func(m placedMember, place uint32) int {
		return int(int64(m.place) - int64(place))
	})
	if at < len(s.touched) && s.touched[at].place < first+uint32(its.size()) {
		return nil, fmt.Errorf("section %d of study %q is there twice: %w", its.number, its.study, ErrCorrupt)
	}
	open := *its // What is computed of it is kept beside the section.
	open.sealed, open.members = nil, make([]*trajectory.Trajectory, 0, its.size())
	changed := uint64(0)
	with.opened.Sealed, with.opened.Terms = its.sealed, s.terms
	with.opened.Reuse()
	for slot := range its.size() {
		point := &with.points[slot]
		milestones, indexes := s.catalog.ReadTrialsAt(first+uint32(slot), point)
		sealed, err := with.opened.Unchecked(slot, milestones)
		if err == nil {
			err = with.check(sealed, point, indexes)
		}
		if err == nil {
			err = checkSpan(its.sealed, slot, sealed)
		}
		if err != nil {
			return nil, fmt.Errorf("section %d of study %q: %w: %w", its.number, its.study, err, ErrCorrupt)
		}
		changed = max(changed, sealed.Run.ModifyIndex)
		trajectory.AddTouched(progress, s.study.Untouched, sealed.Run)
		for _, trial := range sealed.Answers {
			keys = append(keys, ranking.Key(trial))
		}
		open.members = append(open.members, sealed)
	}
	if its.changed != changed {
		return nil, fmt.Errorf("section %d of study %q was last changed at %d, not %d: %w",
			its.number, its.study, changed, its.changed, ErrCorrupt)
	}
	open.columns(s.catalog, ranking)
	open.account(s.catalog)
	return keys, nil
}

// check returns an error if a sealed run contradicts itself or the spec, from which its point and its trials follow.
// Then the run gets these, but not its id, which takes longest to compute. The point becomes that of the run.
func (with *sectionReader) check(its *trajectory.Trajectory, point *trellisv1.Parameters, indexes []uint64) error {
	run := its.Run
	milestones := run.Milestones
	point.MaxEpochs = milestones[len(milestones)-1]
	run.Parameters = point
	if err := consistency.CheckRun(run); err != nil {
		return err
	}
	if err := its.CheckLosses(its.Losses); err != nil {
		return err
	}
	if its.Answers == nil {
		with.opened.AnswerLate(its, indexes)
		return nil
	}
	for milestone, answer := range its.Answers {
		if answer.Index != indexes[milestone] || answer.State != lifecycle.TrialSucceeded ||
			answer.Epochs != min(run.Epochs, milestones[milestone]) {
			return fmt.Errorf("trial %d does not follow from its run", answer.Index)
		}
		answer.Parameters = trajectory.ParametersAt(run, milestones[milestone])
	}
	return nil
}

// checkSpan returns an error if the span that is read from a sealed run is not that of the run, which has its answers.
func checkSpan(of *trajectory.Sealed, slot int, its *trajectory.Trajectory) error {
	span, err := of.Span(slot)
	if want := trajectory.SpanOf(its); err == nil && span != want {
		err = fmt.Errorf("a run has the span %+v, not %+v", want, span)
	}
	return err
}

// addSealed adds what sealed runs count for to a progress, but for sums of times.
func addSealed(progress, sealed *trellisv1.Progress) {
	progress.TrialsSucceeded += sealed.TrialsSucceeded
	progress.RunsSucceeded += sealed.RunsSucceeded
	progress.TrialsFailed += sealed.TrialsFailed
	progress.RunsFailed += sealed.RunsFailed
	progress.TrialsCanceled += sealed.TrialsCanceled
	progress.RunsCanceled += sealed.RunsCanceled
	progress.Epochs += sealed.Epochs
	progress.EpochsLeft += sealed.EpochsLeft
	progress.EpochsShared += sealed.EpochsShared
	progress.EpochsAlone += sealed.EpochsAlone
	progress.RunsAudited += sealed.RunsAudited
}
