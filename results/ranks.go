package results

import (
	"bytes"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"

	"github.com/hashicorp/go-memdb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/catalog"
	"trellis/results/columns"
	"trellis/results/kept"
	"trellis/results/lifecycle"
	"trellis/results/listing"
	"trellis/results/pruning"
	"trellis/results/ranking"
	"trellis/results/selection"
	"trellis/results/trajectory"
)

// ranks are the keys of a study's trials with results, best first. The last 8 bytes of a key are the trial's index.
type ranks struct {
	study string
	keys  ranking.List
}

// tableRanking has the ranks of each study that has trials with results.
const tableRanking = "ranking"

func rankingSchema() *memdb.TableSchema {
	return tableSchema(tableRanking, index(indexID, func(r *ranks) key { return textKey(r.study) }))
}

// ranksOf returns a study's ranks. The watch set fires when another trial gets its result.
func (r reader) ranksOf(ws memdb.WatchSet, study string) (ranking.List, error) {
	its, err := first[*ranks](r, ws, tableRanking, indexID, textKey(study))
	if err != nil || its == nil {
		return ranking.List{}, err
	}
	return its.keys, nil
}

// setRanks replaces a study's ranks.
func setRanks(txn *memdb.Txn, study string, keys ranking.List) error {
	if keys.Empty() {
		return remove(txn, tableRanking, &ranks{study: study})
	}
	return insert(txn, tableRanking, &ranks{study, keys})
}

// rankingOf returns how a study's trials are ranked.
func (c *change) rankingOf(study string) (listing.Ranking, error) {
	row, err := c.studies.get(textKey(study))
	if err != nil {
		return listing.Ranking{}, err
	}
	return listing.RankingOf(row.Spec), nil
}

// rank brings the rankings up to date with the trials that got or lost their results in this change.
func (c *change) rank() error {
	lost, err := c.keysOf(c.unanswered)
	if err != nil {
		return err
	}
	got, err := c.keysOf(c.answered)
	if err != nil {
		return err
	}
	studies := slices.Sorted(maps.Keys(got))
	for _, study := range slices.Sorted(maps.Keys(lost)) {
		if got[study] == nil {
			studies = append(studies, study)
		}
	}
	for _, study := range studies {
		keys, err := c.ranksOf(nil, study)
		if err != nil {
			return err
		}
		for _, k := range lost[study] {
			var found bool
			if keys, found = keys.Without(k); !found {
				return fmt.Errorf("trial %d of study %q is not ranked", k.Index(), study)
			}
		}
		slices.SortFunc(got[study], listing.Key.Compare)
		if err := setRanks(c.txn, study, keys.With(got[study])); err != nil {
			return err
		}
	}
	return nil
}

// keysOf returns the keys of trials, by study.
func (c *change) keysOf(trials []*trellisv1.Trial) (map[string][]listing.Key, error) {
	rankings, keys := map[string]listing.Ranking{}, map[string][]listing.Key{}
	for _, trial := range trials {
		ranking, known := rankings[trial.Study]
		if !known {
			var err error
			if ranking, err = c.rankingOf(trial.Study); err != nil {
				return nil, err
			}
			rankings[trial.Study] = ranking
		}
		keys[trial.Study] = append(keys[trial.Study], ranking.Key(trial))
	}
	return keys, nil
}

// ranked returns a study's trials with results whose keys are above the given one, best first. The watch set fires when
// another trial gets its result.
func (r reader) ranked(
	ws memdb.WatchSet, study string, after listing.Key,
) (iter.Seq[*trellisv1.Trial], error) {
	keys, err := r.rankedKeys(ws, study, after)
	if err != nil {
		return nil, err
	}
	c, err := first[*catalog.Catalog](r, nil, tableCatalogs, indexID, textKey(study))
	if err != nil {
		return nil, err
	}
	return func(yield func(*trellisv1.Trial) bool) {
		for k := range keys {
			trial, err := r.trialAt(c, k.Index())
			if err != nil || !yield(trial) {
				return
			}
		}
	}, nil
}

// rankedKeys is ranked, of the trials' keys.
func (r reader) rankedKeys(ws memdb.WatchSet, study string, after listing.Key) (iter.Seq[listing.Key], error) {
	keys, err := r.ranksOf(ws, study)
	if err != nil {
		return nil, err
	}
	return func(yield func(listing.Key) bool) {
		for page := range keys.After(after) {
			if r.err() != nil {
				return
			}
			for _, k := range page {
				if !yield(k) {
					return
				}
			}
		}
	}, nil
}

// Ranked returns a study's trials with results, best first: see listing.Ranking. It can be ranged over once. It fails
// with ErrNotFound if there is no such study.
func (s *Snapshot) Ranked(study string) (iter.Seq[*trellisv1.Trial], error) {
	if _, err := s.Study(nil, study); err != nil {
		return nil, err
	}
	return s.ranked(nil, study, listing.Key{})
}

// RankedKeys returns the keys of a study's trials with results, best first: see listing.Ranking. It can be ranged over
// once.
func (s *Snapshot) RankedKeys(study string) (iter.Seq[listing.Key], error) {
	return s.rankedKeys(nil, study, listing.Key{})
}

// rankedBefore returns the key of the trial after which a page begins that comes after so many others, at least one. ok is false
// if fewer have a finite objective, or if others without results may be among them.
func (s *Snapshot) rankedBefore(study string, offset uint64) (before listing.Key, ok bool, err error) {
	sections, err := s.sectionsOf(study)
	if err != nil {
		return before, false, err
	}
	for section := range sections {
		if section.open&section.begun != 0 {
			return before, false, s.Err()
		}
	}
	pages, err := s.RankPages(study)
	if err != nil {
		return before, false, err
	}
	for page := range pages {
		if n := uint64(len(page)); n < offset {
			offset -= n
			continue
		}
		before = page[offset-1]
		return before, before.Compare(listing.LastFinite) < 0, s.Err()
	}
	return before, false, s.Err()
}

// orderOf is what the order of a study's trials is kept for.
type orderOf struct{ by, filter string }

func (o orderOf) bytes() int { return len(o.by) + len(o.filter) }

// keepsOrder says whether the order of a study's trials is worth keeping: it stays as it is, and takes little memory.
func (s *Snapshot) keepsOrder(study *trellisv1.Study, c *catalog.Catalog, of orderOf) bool {
	return study.State != lifecycle.StudyRunning && c.Indices() <= uint64(max(0, kept.LargestAnswer-of.bytes()))/4
}

// inOrder returns the indexes of all trials that meet a query, in its order. They are kept: so a jump to any place of a listing takes
// as long as one to its beginning.
func (s *Snapshot) inOrder(
	study *trellisv1.Study, c *catalog.Catalog, query *selection.Query, order listing.Order, of orderOf,
) ([]uint32, error) {
	return kept.Answer(s.answers.Answers(), study.CreateIndex, study.ModifyIndex, of,
		func(indexes []uint32) int { return of.bytes() + 4*cap(indexes) }, s.Done(), s.Err, func() ([]uint32, error) {
			all := listing.NewAll()
			query.Page, query.Order = all, order
			if err := s.addByFilter(study, c, query); err != nil {
				return nil, err
			}
			return all.Indexes(), s.Err()
		})
}

// pageOf returns the trials of a page, which have nothing but their indexes, and whether there are more.
func pageOf(indexes []uint32, offset uint64, size int) (trials []*trellisv1.Trial, more bool) {
	from := min(offset, uint64(len(indexes)))
	to := min(from+uint64(size), uint64(len(indexes)))
	trials = make([]*trellisv1.Trial, 0, size)
	for _, index := range indexes[from:to] {
		trials = append(trials, &trellisv1.Trial{Index: uint64(index)})
	}
	return trials, to < uint64(len(indexes))
}

// FirstRanked returns the key of the trial that ranks first. ok is false if none has a result.
func (s *Snapshot) FirstRanked(study string) (first listing.Key, ok bool, err error) {
	keys, err := s.RankedKeys(study)
	if err != nil {
		return first, false, err
	}
	for k := range keys {
		return k, true, nil
	}
	return first, false, nil
}

// Answers returns the results of a study's trials, by their indexes, as they are stored: nil where a trial has none. It is faster
// than reading one after the other: trials whose indexes follow each other are often in one section.
func (s *Snapshot) Answers(study string, indexes iter.Seq[uint64]) ([]*trellisv1.Trial, error) {
	c, err := s.catalog(study)
	if err != nil {
		return nil, err
	}
	var answers []*trellisv1.Trial
	var in *section
	var opened trajectory.Opened
	for index := range indexes {
		place, milestone, ok := c.Trial(index)
		if !ok {
			return nil, fmt.Errorf("trial %d of study %q: %w", index, study, ErrNotFound)
		}
		if number := place / sectionSize; in == nil || in.number != number {
			if in, err = first[*section](s.reader, nil, tableSections, indexID, sectionKey(study, number)); err != nil {
				return nil, err
			}
			if opened = (trajectory.Opened{}); in != nil && in.sealed != nil {
				opened = trajectory.Opened{Sealed: in.sealed, Terms: c.Base.Terms}
			}
		}
		var member *trajectory.Trajectory
		switch slot := int(place % sectionSize); {
		case opened.Sealed != nil:
			its, err := opened.Run(slot)
			if err != nil {
				in.fail(err)
			}
			member = c.Unsealed(place, its)
		case in != nil && slot < in.size():
			member = in.members[slot]
		}
		var answer *trellisv1.Trial
		if member != nil && int(milestone) < len(member.Answers) {
			answer = member.Answers[milestone]
		}
		answers = append(answers, answer)
	}
	return answers, nil
}

// RankPages returns the keys of a study's trials with results, best first, as they are stored: in many short lists,
// none of which is empty. Nobody may change them. It can be ranged over once.
func (s *Snapshot) RankPages(study string) (iter.Seq[[]listing.Key], error) {
	keys, err := s.ranksOf(nil, study)
	return func(yield func([]listing.Key) bool) {
		for page := range keys.Pages() {
			if s.Err() != nil || !yield(page) {
				return
			}
		}
	}, err
}

// first returns the lowest key of a touched trial.
func (s *section) first(c *catalog.Catalog, order listing.Order) listing.Key {
	return kept.Of(&s.kept.Kept, order.Kept, func() listing.Key { return firstOf(s.trials(c), order) })
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

// columns returns what the section's touched trials are ordered by.
func (s *section) columns(c *catalog.Catalog, ranking listing.Ranking) *columns.Columns {
	return s.kept.columns.Of(func() *columns.Columns { return columns.Of(ranking, s.trials(c)) })
}

// trials returns those of a section's runs that have been touched, as they are presented.
func (s *section) trials(c *catalog.Catalog) iter.Seq[*trellisv1.Trial] {
	return func(yield func(*trellisv1.Trial) bool) {
		for slot, member := range s.slots(c) {
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

// metricNames are what a study's model reports of an epoch beside its losses, of the validation images: ascending, and
// none before the first epoch. All runs of a model have the same. Of a program, these are all that any run has
// reported.
func (s *Snapshot) metricNames(study string) ([]string, error) {
	members, err := s.touchedOf(study)
	if err != nil {
		return nil, err
	}
	own := map[string]bool{}
	for member := range members {
		if member.Terms != nil && member.Terms.Program != nil {
			for name := range member.Losses.GetMetrics() {
				own[name] = true
			}
			continue
		}
		if run := member.Run; run.Epochs > 0 {
			return slices.Sorted(maps.Keys(trajectory.ValidationMetrics(member.Losses, run.Epochs))), nil
		}
	}
	return slices.Sorted(maps.Keys(own)), s.Err()
}

// Columns returns what the touched trials of each section of a study are ordered by, with the section's number. What is
// returned of a section is the same as long as the section is. It can be ranged over once.
func (s *Snapshot) Columns(study *trellisv1.Study) (iter.Seq2[uint32, *columns.Columns], error) {
	c, err := s.catalog(study.Name)
	if err != nil {
		return nil, err
	}
	sections, err := s.sectionsOf(study.Name)
	if err != nil {
		return nil, err
	}
	ranking := listing.RankingOf(study.Spec)
	return func(yield func(uint32, *columns.Columns) bool) {
		for section := range sections {
			if !yield(section.number, section.columns(c, ranking)) {
				return
			}
		}
	}, nil
}

// rung is what has come to an epoch at which a study's runs are judged. Rungs follow from the study's runs and their
// losses: a run counts from when its losses up to there are recorded.
type rung struct {
	study   string
	epoch   uint32
	results *pruning.Standings
}

// tableRungs has, by study and epoch, the ranking of runs where pruning judges them.
const tableRungs = "rungs"

func rungsSchema() *memdb.TableSchema {
	return tableSchema(tableRungs, index(indexID, func(r *rung) key { return rungKey(r.study, r.epoch) }))
}

func rungKey(study string, epoch uint32) key {
	return newKey(len(study) + 5).text(study).number32(epoch)
}

// newRungs makes the rungs of a study anew, lowest first.
func newRungs(r pruning.Rule, study string, members iter.Seq2[uint32, *trajectory.Trajectory]) []*rung {
	byEpoch := map[uint32][]pruning.Standing{}
	var epochs []uint32
	for _, member := range members {
		for epoch := r.Next(0); epoch <= uint64(pruning.CameTo(member.Run)); epoch = r.Next(uint32(epoch)) {
			rung := uint32(epoch)
			if byEpoch[rung] == nil {
				epochs = append(epochs, rung)
			}
			byEpoch[rung] = append(byEpoch[rung], pruning.StandingOf(r, member.Run, member.ReachedAt(rung)))
		}
	}
	slices.Sort(epochs)
	rungs := make([]*rung, len(epochs))
	for i, epoch := range epochs {
		slices.SortFunc(byEpoch[epoch], pruning.Standing.Compare)
		rungs[i] = &rung{study, epoch, pruning.NewStandings(byEpoch[epoch])}
	}
	return rungs
}

// insertRungs stores the rungs of a study that is new in the store.
func insertRungs(
	txn *memdb.Txn, study *trellisv1.Study, members iter.Seq2[uint32, *trajectory.Trajectory],
) error {
	if r := pruning.Of(study.GetSpec()); r != nil {
		for _, rung := range newRungs(r, study.Name, members) {
			if err := insert(txn, tableRungs, rung); err != nil {
				return err
			}
		}
	}
	return nil
}
