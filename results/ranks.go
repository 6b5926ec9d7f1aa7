package results

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/hashicorp/go-memdb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/catalog"
	"trellis/results/columns"
	"trellis/results/kept"
	"trellis/results/listing"
	"trellis/results/pruning"
	"trellis/results/trajectory"
)

// rankPageSize is the maximum number of trials on a page of a ranking.
const rankPageSize = 128

// rankPage is a part of the ranking of a study's trials with results: from its key up to the key of the next page. Like
// sections, pages make the index cheap.
type rankPage struct {
	study string
	from  listing.Key
	// trials are the keys of the trials. The last 8 bytes of a key are the trial's index.
	trials []listing.Key
}

// tableRanking has the trials with results by study, best first, in pages.
const tableRanking = "ranking"

func rankingSchema() *memdb.TableSchema {
	return tableSchema(tableRanking, index(indexID, func(p *rankPage) key { return rankPageKey(p.study, p.from) }))
}

func rankPageKey(study string, from listing.Key) key {
	return append(newKey(len(study)+1+len(from)).text(study), from[:]...)
}

// rankPageOf returns the page of a study's ranking where a key belongs, or nil if there is none yet.
func (r reader) rankPageOf(study string, k listing.Key) (*rankPage, error) {
	pages, err := r.txn.ReverseLowerBound(tableRanking, indexID, rankPageKey(study, k))
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", tableRanking, err)
	}
	if page, ok := pages.Next().(*rankPage); ok && page.study == study {
		return page, nil
	}
	return nil, nil
}

// rankingOf returns how a study's trials are ranked.
func (c *change) rankingOf(study string) (listing.Ranking, error) {
	row, err := c.studies.get(textKey(study))
	if err != nil {
		return listing.Ranking{}, err
	}
	return listing.RankingOf(row.Spec), nil
}

// unrank takes the trials that have lost their results in this change from the rankings.
func (c *change) unrank() error {
	for _, trial := range c.unanswered {
		ranking, err := c.rankingOf(trial.Study)
		if err != nil {
			return err
		}
		page, err := c.rankPageOf(trial.Study, ranking.Key(trial))
		if err != nil {
			return err
		}
		if page == nil {
			return fmt.Errorf("trial %d of study %q is not ranked", trial.Index, trial.Study)
		}
		k := ranking.Key(trial)
		left := slices.DeleteFunc(slices.Clone(page.trials), func(other listing.Key) bool { return other == k })
		if len(left) == 0 {
			err = remove(c.txn, tableRanking, page)
		} else {
			err = insert(c.txn, tableRanking, &rankPage{page.study, page.from, left})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// rank adds the trials that got their results in this change to the rankings.
func (c *change) rank() error {
	if err := c.unrank(); err != nil {
		return err
	}
	type ranked struct {
		study string
		key   listing.Key
	}
	rankings, answered := map[string]listing.Ranking{}, make([]ranked, 0, len(c.answered))
	for _, trial := range c.answered {
		ranking, known := rankings[trial.Study]
		if !known {
			var err error
			if ranking, err = c.rankingOf(trial.Study); err != nil {
				return err
			}
			rankings[trial.Study] = ranking
		}
		answered = append(answered, ranked{trial.Study, ranking.Key(trial)})
	}
	slices.SortFunc(answered, func(a, b ranked) int {
		return cmp.Or(strings.Compare(a.study, b.study), bytes.Compare(a.key[:], b.key[:]))
	})
	// Look up all pages before storing the first: a lookup in a table that the transaction has changed is expensive.
	var pages []*rankPage
	var keys [][]listing.Key
	for _, its := range answered {
		page, err := c.rankPageOf(its.study, its.key)
		if err != nil {
			return err
		}
		last := len(pages) - 1
		if page == nil && (last < 0 || pages[last].study != its.study) {
			page = &rankPage{study: its.study}
		}
		if page != nil && (last < 0 || page != pages[last]) {
			pages, keys = append(pages, page), append(keys, nil)
			last++
		}
		keys[last] = append(keys[last], its.key)
	}
	for i, page := range pages {
		if err := insertRanks(c.txn, page, merge(page.trials, keys[i])); err != nil {
			return err
		}
	}
	return nil
}

// merge merges two ranked lists of trials.
func merge(a, b []listing.Key) []listing.Key {
	merged := make([]listing.Key, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if bytes.Compare(a[0][:], b[0][:]) < 0 {
			merged, a = append(merged, a[0]), a[1:]
		} else {
			merged, b = append(merged, b[0]), b[1:]
		}
	}
	return append(append(merged, a...), b...)
}

// insertRanks replaces a page with the ranked trials, divided into several pages if there are too many for one. The
// pages take the trials over.
func insertRanks(txn *memdb.Txn, page *rankPage, trials []listing.Key) error {
	parts := (len(trials) + rankPageSize - 1) / rankPageSize
	from := page.from
	for part := range parts {
		part := trials[part*len(trials)/parts : (part+1)*len(trials)/parts]
		if &part[0] != &trials[0] {
			from = part[0]
		}
		if parts > 1 {
			// Each page has an array of its own, so that those of the others can go.
			part = slices.Clone(part)
		}
		if err := insert(txn, tableRanking, &rankPage{page.study, from, part}); err != nil {
			return err
		}
	}
	return nil
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
	begin, err := r.rankPageOf(study, after)
	if err != nil {
		return nil, err
	}
	var pages iter.Seq[*rankPage]
	if begin == nil || ws != nil {
		pages, err = scan[*rankPage](r, ws, tableRanking, indexID, textKey(study))
	} else {
		pages, err = scanFrom[*rankPage](r, tableRanking, indexID, rankPageKey(study, begin.from))
	}
	if err != nil {
		return nil, err
	}
	return func(yield func(listing.Key) bool) {
		for page := range pages {
			if page.study != study || r.err() != nil {
				return
			}
			for _, k := range page.trials {
				if bytes.Compare(k[:], after[:]) > 0 && !yield(k) {
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

// RankPages returns the keys of a study's trials with results, best first, as they are stored: in many short lists,
// none of which is empty. Nobody may change them. It can be ranged over once.
func (s *Snapshot) RankPages(study string) (iter.Seq[[]listing.Key], error) {
	pages, err := scan[*rankPage](s.reader, nil, tableRanking, indexID, textKey(study))
	return func(yield func([]listing.Key) bool) {
		for page := range pages {
			if s.Err() != nil || !yield(page.trials) {
				return
			}
		}
	}, err
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

// columnsKey is under which a section keeps its columns.
type columnsKey struct{}

// columns returns what the section's touched trials are ordered by.
func (s *section) columns(c *catalog.Catalog, ranking listing.Ranking) *columns.Columns {
	return kept.Of(s.kept, columnsKey{}, func() *columns.Columns { return columns.Of(ranking, s.trials(c)) })
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
