package results

import (
	"bytes"
	"fmt"
	"iter"
	"maps"
	"math"
	"runtime"
	"slices"
	"sync"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/catalog"
	"trellis/results/consistency"
	"trellis/results/kept"
	"trellis/results/lifecycle"
	"trellis/results/listing"
	"trellis/results/objective"
	"trellis/results/trajectory"
)

// sealed reads a sealed section. What it contains is checked when all rows have been read: see checkSealed.
func (r *restorer) sealed(row *trellisv1.SealedSection) error {
	study, err := r.of(row.Study)
	if err != nil {
		return err
	}
	if err := r.follows(newKey(0).text(row.Study).number32(row.Number)); err != nil {
		return err
	}
	first := uint64(row.Number) * sectionSize
	if study.base == nil || first >= uint64(study.base.Runs()) ||
		len(row.Ends) != int(min(sectionSize, uint64(study.base.Runs())-first)) ||
		!slices.IsSorted(row.Ends) || int(row.Ends[len(row.Ends)-1]) != len(row.Data) {
		return fmt.Errorf("section %d of study %q, which has no such section: %w", row.Number, row.Study, ErrCorrupt)
	}
	its := &section{
		study: study.study.Name, number: row.Number, changed: row.Changed, sealed: &sealed{row.Data, row.Ends},
		kept: &kept.Kept{},
	}
	for slot := range row.Ends {
		its.begun = setBit(its.begun, slot, true)
	}
	study.sealed = append(study.sealed, its)
	return nil
}

// ranks reads a part of a ranking.
func (r *restorer) ranks(row *trellisv1.Ranks) error {
	study, err := r.of(row.Study)
	if err != nil {
		return err
	}
	if err := r.follows(newKey(0).text(row.Study).number(uint64(len(study.ranks)))); err != nil {
		return err
	}
	for part := range slices.Chunk(row.Keys, len(listing.Key{})) {
		var k listing.Key
		if copy(k[:], part) != len(k) {
			return fmt.Errorf("the ranking of study %q is cut off: %w", row.Study, ErrCorrupt)
		}
		study.ranks = append(study.ranks, k)
	}
	return nil
}

// checkSealed checks all sealed runs, on all cores, and returns what they count for: as touched runs of the study.
func (s *restoredStudy) checkSealed() (*trellisv1.Progress, error) {
	var all sync.WaitGroup
	parts := make([]*trellisv1.Progress, runtime.GOMAXPROCS(0))
	errs := make([]error, len(parts))
	for part := range parts {
		parts[part] = &trellisv1.Progress{}
		all.Go(func() {
			for i := part; i < len(s.sealed) && errs[part] == nil; i += len(parts) {
				errs[part] = s.checkSection(s.sealed[i], parts[part])
			}
		})
	}
	all.Wait()
	sum := &trellisv1.Progress{}
	for part, progress := range parts {
		if errs[part] != nil {
			return nil, errs[part]
		}
		addSealed(sum, progress)
	}
	return sum, nil
}

// checkSection checks the runs of a sealed section, and adds them to the progress.
func (s *restoredStudy) checkSection(its *section, progress *trellisv1.Progress) error {
	first := its.number * sectionSize
	at, _ := slices.BinarySearchFunc(s.touched, first, func(m placedMember, place uint32) int {
		return int(int64(m.place) - int64(place))
	})
	if at < len(s.touched) && s.touched[at].place < first+uint32(its.size()) {
		return fmt.Errorf("section %d of study %q is there twice: %w", its.number, its.study, ErrCorrupt)
	}
	for slot := range its.size() {
		sealed, err := trajectory.UnsealRun(its.sealed.at(slot))
		if err == nil {
			err = s.checkSealedRun(sealed, first+uint32(slot))
		}
		if err != nil {
			return fmt.Errorf("section %d of study %q: %w: %w", its.number, its.study, err, ErrCorrupt)
		}
		trajectory.AddTouched(progress, s.study.Untouched, sealed.Run)
	}
	return nil
}

// checkSealedRun returns an error if a sealed run contradicts itself or the spec.
func (s *restoredStudy) checkSealedRun(its *trajectory.Trajectory, place uint32) error {
	run := its.Run
	milestones, indexes := s.catalog.MilestonesAt(place)
	if !slices.Equal(run.Milestones, milestones) {
		return fmt.Errorf("a run has milestones %v, not %v", run.Milestones, milestones)
	}
	run.Parameters = &trellisv1.Parameters{MaxEpochs: milestones[len(milestones)-1]}
	if err := consistency.CheckRun(run); err != nil {
		return err
	}
	its.Terms = s.terms
	if err := its.CheckLosses(its.Losses); err != nil {
		return err
	}
	if seconds := len(its.Losses.Seconds); seconds > int(run.Epochs) {
		return fmt.Errorf("times of %d epochs for %d", seconds, run.Epochs)
	}
	for milestone, answer := range its.Answers {
		if answer.Index != indexes[milestone] || answer.State != lifecycle.TrialSucceeded ||
			answer.Epochs != min(run.Epochs, milestones[milestone]) {
			return fmt.Errorf("trial %d does not follow from its run", answer.Index)
		}
	}
	return nil
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

// checkRanks returns the ranking that has been read, of as many trials as have results.
func (s *restoredStudy) checkRanks(answered uint64) ([]listing.Key, error) {
	follows := uint64(len(s.ranks)) == answered
	for i, k := range s.ranks {
		if !follows || i > 0 && bytes.Compare(s.ranks[i-1][:], k[:]) >= 0 {
			follows = false
			break
		}
		_, _, follows = s.catalog.Trial(k.Index())
	}
	if !follows {
		return nil, fmt.Errorf("the ranking of study %q is not that of its %d results: %w", s.study.Name, answered, ErrCorrupt)
	}
	return s.ranks, nil
}

// first returns the lowest key of a touched trial.
func (s *section) first(c *catalog.Catalog, order listing.Order) listing.Key {
	return kept.Of(s.kept, order.Kept, func() listing.Key { return firstOf(s.trials(c), order) })
}

func firstOf(trials iter.Seq[*trellisv1.Trial], order listing.Order) listing.Key {
	first := listing.Key(bytes.Repeat([]byte{math.MaxUint8}, len(listing.Key{})))
	for trial := range trials {
		if k := order.Key(trial); bytes.Compare(k[:], first[:]) < 0 {
			first = k
		}
	}
	return first
}

// keepFirsts computes the first keys of a section that is about to be sealed, in all orders that don't depend on the study's
// spec: afterwards that takes longer.
func (s *section) keepFirsts(c *catalog.Catalog) {
	trials := slices.Collect(s.trials(c))
	metrics := map[string]bool{}
	for _, trial := range trials {
		for name := range trial.Metrics {
			metrics[name] = true
		}
	}
	ranking := listing.Ranking{Maximize: objective.Maximizes(c.Base.Terms.OfObjective())}
	for _, order := range listing.Common(ranking, slices.Sorted(maps.Keys(metrics))) {
		kept.Of(s.kept, order.Kept, func() listing.Key { return firstOf(slices.Values(trials), order) })
	}
}

// trials returns those of a section's runs that have been touched, as they are presented.
func (s *section) trials(c *catalog.Catalog) iter.Seq[*trellisv1.Trial] {
	return func(yield func(*trellisv1.Trial) bool) {
		for slot := range s.size() {
			member := s.member(c, slot)
			if member == nil {
				continue
			}
			var indexes []uint64
			for milestone := range member.Run.Milestones {
				index := uint64(0)
				if milestone >= len(member.Answers) {
					if indexes == nil {
						indexes = c.IndexesAt(s.number*sectionSize + uint32(slot))
					}
					index = indexes[milestone]
				}
				if !yield(trajectory.Presented(member.Trial(uint32(milestone), index))) {
					return
				}
			}
		}
	}
}
