package results

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/go-memdb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/catalog"
	"trellis/results/grid"
)

// Runs with the same id in different studies are twins. An index of twins would have an entry for each of a million
// runs, which most stores would never use. So the store only records which studies have twins at all, and looks for a
// run's twins in the catalogs of these studies.

// relatives are the studies that have runs in common with a study, and that study itself, oldest first. A study that
// has no run in common with another has no relatives, nor has one whose runs are not the same each time: see
// grid.Shares. Rows are derived from the catalogs.
type relatives struct {
	study  string
	family []relative
}

type relative struct {
	study string
	// created is the study's create_index.
	created uint64
	// fresh says that the study uses no results of other studies.
	fresh bool
}

// tableRelatives has, by study, the other studies that have runs in common with it.
const tableRelatives = "relatives"

func relativesSchema() *memdb.TableSchema {
	return tableSchema(tableRelatives, index(indexID, func(r *relatives) key { return textKey(r.study) }))
}

func relativeOf(study *trellisv1.Study) relative {
	return relative{study: study.Name, created: study.CreateIndex, fresh: study.Fresh}
}

// with returns a study's relatives with others added, which are not there yet. It returns a new row, because stored
// rows are never changed.
func (r *relatives) with(self relative, others ...relative) *relatives {
	if len(others) == 0 {
		return r
	}
	family := []relative{self}
	if r != nil {
		family = r.family
	}
	family = slices.Concat(family, others)
	slices.SortFunc(family, func(a, b relative) int { return cmp.Compare(a.created, b.created) })
	return &relatives{study: self.study, family: family}
}

// without returns the relatives without one of them, or nil if no other is left.
func (r *relatives) without(other string) *relatives {
	family := slices.DeleteFunc(slices.Clone(r.family), func(r relative) bool { return r.study == other })
	if len(family) < 2 {
		return nil
	}
	return &relatives{study: r.study, family: family}
}

// is returns the study's own entry.
func (r *relatives) is(study string) relative {
	return r.family[slices.IndexFunc(r.family, func(r relative) bool { return r.study == study })]
}

// relativesOf returns a study's relatives, nil if it has none.
func (r reader) relativesOf(study string) (*relatives, error) {
	return first[*relatives](r, nil, tableRelatives, indexID, textKey(study))
}

// relate finds the relatives of a study with a new catalog: the study has been created, or has more runs than before.
func (c *change) relate(study *trellisv1.Study, its *catalog.Catalog) error {
	if !shares(study) {
		return nil
	}
	catalogs, err := c.mayMeet(its)
	if err != nil {
		return err
	}
	known, err := c.relativesOf(study.Name)
	if err != nil {
		return err
	}
	var found []relative
	for _, other := range catalogs {
		if other.Study == study.Name || known.has(other.Study) {
			continue
		}
		if common, err := c.mayShare(its, other); err != nil || !common {
			if err != nil {
				return err
			}
			continue
		}
		row, err := c.studies.get(textKey(other.Study))
		if err != nil {
			return err
		}
		if !shares(row) {
			continue
		}
		found = append(found, relativeOf(row))
		if err := c.insertRelative(relativeOf(row), relativeOf(study)); err != nil {
			return err
		}
	}
	now := known.with(relativeOf(study), found...)
	c.family[study.Name] = now
	if now == known {
		return nil
	}
	return insert(c.txn, tableRelatives, now)
}

// indexMeeting finds catalogs that may have runs in common: by what all runs of a study have in common, and by the values of
// each parameter. A study that lists runs is found by that.
const indexMeeting = "meeting"

// mostTold is how many values of a parameter studies are found by. A study with more is found whatever the others have.
const mostTold = 32

func meetings() *memdb.IndexSchema {
	return &memdb.IndexSchema{Name: indexMeeting, AllowMissing: true, Indexer: meetingIndexer{}}
}

// meetingIndexer maps catalogs to their keys in indexMeeting.
type meetingIndexer struct{}

func (meetingIndexer) FromObject(raw any) (bool, [][]byte, error) {
	c, ok := raw.(*catalog.Catalog)
	if !ok {
		return false, nil, fmt.Errorf("a %T is in the wrong table", raw)
	}
	var keys [][]byte
	if c.ListsRuns() {
		keys = append(keys, listingKey)
	}
	if c.Base == nil {
		return true, keys, nil
	}
	common, values := c.Base.Telling(mostTold)
	for name, its := range values {
		for _, value := range its.Values {
			keys = append(keys, meetingKey(common, name, value))
		}
		if its.Large {
			keys = append(keys, meetingKey(common, name, ""))
		}
	}
	return true, keys, nil
}

func (meetingIndexer) FromArgs(args ...any) ([]byte, error) {
	return indexer[*catalog.Catalog](nil).FromArgs(args...)
}

func (i meetingIndexer) PrefixFromArgs(args ...any) ([]byte, error) { return i.FromArgs(args...) }

var (
	_ memdb.MultiIndexer  = meetingIndexer{}
	_ memdb.PrefixIndexer = meetingIndexer{}
)

// listingKey is that of studies that list runs. No study has nothing in common.
var listingKey = textKey("")

func meetingKey(common, name, value string) key {
	return newKey(len(common) + len(name) + len(value) + 3).text(common).text(name).text(value)
}

// mayMeet returns the catalogs of other studies that may have a run in common with one, the same every time and in the order
// of their names: of those whose parameter has one of its values, for the parameter for which these are fewest.
func (r reader) mayMeet(its *catalog.Catalog) ([]*catalog.Catalog, error) {
	if its.ListsRuns() {
		return all[*catalog.Catalog](r, nil, tableCatalogs, indexID, nil)
	}
	common, values := its.Base.Telling(mostTold)
	var lists []*meeting
	for _, name := range slices.Sorted(maps.Keys(values)) {
		of := values[name]
		if of.Large || of.Lacking {
			continue
		}
		list := &meeting{}
		for _, value := range append([]string{""}, of.Values...) {
			rows, err := r.txn.Get(tableCatalogs, indexMeeting, meetingKey(common, name, value))
			if err != nil {
				return nil, fmt.Errorf("look up %s: %w", tableCatalogs, err)
			}
			list.rows = append(list.rows, rows)
		}
		lists = append(lists, list)
	}
	if len(lists) == 0 {
		return all[*catalog.Catalog](r, nil, tableCatalogs, indexID, nil)
	}
	found, err := all[*catalog.Catalog](r, nil, tableCatalogs, indexMeeting, listingKey)
	if err != nil {
		return nil, err
	}
	// They take turns, so that the shortest is at its end as soon as if it were alone.
	for turn := 0; ; turn++ {
		if list := lists[turn%len(lists)]; !list.advance() {
			found = append(found, list.found...)
			break
		}
	}
	slices.SortFunc(found, func(a, b *catalog.Catalog) int { return strings.Compare(a.Study, b.Study) })
	return slices.Compact(found), nil
}

// meeting are the catalogs whose studies have one of some values of a parameter.
type meeting struct {
	rows  []memdb.ResultIterator
	found []*catalog.Catalog
}

// advance finds one more. It returns false if there is none.
func (m *meeting) advance() bool {
	for len(m.rows) > 0 {
		if row := m.rows[0].Next(); row != nil {
			m.found = append(m.found, row.(*catalog.Catalog))
			return true
		}
		m.rows = m.rows[1:]
	}
	return false
}

// mayShare is false only if two studies surely have no run in common.
func (c *change) mayShare(a, b *catalog.Catalog) (bool, error) {
	if a.HasListedOf(b) || a.Base != nil && b.Base != nil && a.Base.MayShare(b.Base.Lattice) {
		return true, nil
	}
	for _, pair := range [][2]*catalog.Catalog{{a, b}, {b, a}} {
		if pair[1].Base == nil {
			continue
		}
		first, next := pair[0].ListedPlaces()
		for place := first; place < next; place++ {
			h, err := c.sections.at(pair[0], place)
			if err != nil {
				return false, err
			}
			if common, decided := inBase(pair[1], h.run()); decided {
				if common {
					return true, nil
				}
				break
			}
		}
	}
	return false, nil
}

// inBase says whether a run follows from the spec of a study. decided is false if the study has no run of its
// parameters: if it has one that is another run, it has none in common with the run's study at all.
func inBase(its *catalog.Catalog, run *trellisv1.Run) (common, decided bool) {
	place, ok := its.Base.PlaceOf(run.Parameters)
	if !ok {
		return false, false
	}
	return its.Base.Run(place).Id == run.Id, true
}

// insertRelative adds a relative to a study's relatives.
func (c *change) insertRelative(study, other relative) error {
	known, err := c.relativesOf(study.study)
	if err != nil {
		return err
	}
	now := known.with(study, other)
	c.family[study.study] = now
	return insert(c.txn, tableRelatives, now)
}

// shares says whether a study may use what other studies have trained, and they what it has: see grid.Shares. What is
// declared of its program must not have been refuted.
func shares(study *trellisv1.Study) bool {
	return grid.Shares(study.GetSpec()) && len(study.GetRefuted()) == 0
}

// forgetRelatives removes a study from the relatives of the others: it is deleted, or shares nothing any more.
func (c *change) forgetRelatives(study string) error {
	its, err := c.relativesOf(study)
	if err != nil || its == nil {
		return err
	}
	for _, other := range its.family {
		if other.study == study {
			continue
		}
		row, err := c.relativesOf(other.study)
		if err != nil {
			return err
		}
		left := row.without(study)
		c.family[other.study] = left
		if left == nil {
			err = remove(c.txn, tableRelatives, row)
		} else {
			err = insert(c.txn, tableRelatives, left)
		}
		if err != nil {
			return err
		}
	}
	c.family[study] = nil
	return remove(c.txn, tableRelatives, its)
}

func (r *relatives) has(study string) bool {
	return r != nil && slices.ContainsFunc(r.family, func(r relative) bool { return r.study == study })
}

// restoreRelatives finds the relatives of all studies. Comparing all listed runs of each study with those of each other
// would take too long if there are many studies. Instead it sorts their ids, so that twins are next to each other.
func restoreRelatives(txn *memdb.Txn, studies []*restoredStudy) error {
	if len(studies) < 2 {
		return nil
	}
	related, known := make([][]relative, len(studies)), newPairs(len(studies))
	relate := func(i, j int) {
		if known.add(i, j) {
			related[i] = append(related[i], relativeOf(studies[j].study))
			related[j] = append(related[j], relativeOf(studies[i].study))
		}
	}
	relateListed(studies, relate)
	numbers, listing := make(map[string]int, len(studies)), []int(nil)
	for i, study := range studies {
		if numbers[study.study.Name] = i; len(study.runs) > 0 {
			listing = append(listing, i)
		}
	}
	for i, a := range studies {
		if a.catalog.Base == nil || !shares(a.study) {
			continue
		}
		others, err := reader{txn: txn}.mayMeet(a.catalog)
		if err != nil {
			return err
		}
		for _, other := range others {
			j := numbers[other.Study]
			if i != j && shares(studies[j].study) && other.Base != nil && a.catalog.Base.MayShare(other.Base.Lattice) {
				relate(i, j)
			}
		}
		for _, j := range listing {
			b := studies[j]
			if i == j || !shares(b.study) || known.has(i, j) {
				continue
			}
			for _, run := range b.runs {
				if common, decided := inBase(a.catalog, run); decided {
					if common {
						relate(i, j)
					}
					break
				}
			}
		}
	}
	var none *relatives
	for i, others := range related {
		if row := none.with(relativeOf(studies[i].study), others...); row != nil {
			if err := insert(txn, tableRelatives, row); err != nil {
				return err
			}
		}
	}
	return nil
}

// pairs are pairs of studies: a bit for each, as there may be ten thousand studies.
type pairs struct {
	studies int
	bits    []uint64
}

func newPairs(studies int) *pairs { return &pairs{studies, make([]uint64, (studies*studies+63)/64)} }

func (p *pairs) bit(i, j int) (word *uint64, bit uint64) {
	number := min(i, j)*p.studies + max(i, j)
	return &p.bits[number/64], 1 << (number % 64)
}

func (p *pairs) has(i, j int) bool {
	word, bit := p.bit(i, j)
	return *word&bit != 0
}

// add adds a pair, and says whether it was not there yet.
func (p *pairs) add(i, j int) bool {
	word, bit := p.bit(i, j)
	had := *word&bit != 0
	*word |= bit
	return !had
}

// relateListed relates the studies that list a run in common.
func relateListed(studies []*restoredStudy, relate func(i, j int)) {
	type place struct {
		id    string
		study int
	}
	var places []place
	for number, study := range studies {
		if !shares(study.study) {
			continue
		}
		for _, run := range study.runs {
			places = append(places, place{run.Id, number})
		}
	}
	slices.SortFunc(places, func(a, b place) int {
		return cmp.Or(strings.Compare(a.id, b.id), cmp.Compare(a.study, b.study))
	})
	for i, first := range places {
		for _, second := range places[i+1:] {
			if second.id != first.id {
				break
			}
			relate(first.study, second.study)
		}
	}
}
