package results

import (
	"fmt"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/trajectory"
)

// sectionEdit is a section that a change has looked at: before the change and, if anything in it has been changed, after. One
// that is new has no before.
type sectionEdit struct {
	before, after *section
}

// handle is a run within a change.
type handle struct {
	*sectionEdit
	slot int
}

// member is what is known of the run as the change has left it so far, for reading.
func (h handle) member() *trajectory.Trajectory {
	if h.after != nil {
		return h.after.members[h.slot]
	}
	return h.before.members[h.slot]
}

func (h handle) run() *trellisv1.Run { return h.member().Run }

// edit returns the change's own copy of what is known of the run, and of the run in it, for changing.
func (h handle) edit() *trajectory.Trajectory {
	h.change()
	if stored := h.stored(h.slot); stored != nil && h.after.members[h.slot] == stored {
		h.after.members[h.slot] = stored.Clone()
	}
	return h.after.members[h.slot]
}

// change returns the change's own copy of the section.
func (e *sectionEdit) change() *section {
	if e.after == nil {
		s := *e.before
		s.members = slices.Clone(s.members)
		e.after = &s
	}
	return e.after
}

// stored is what was known of a run before the change, nil if it is new.
func (e *sectionEdit) stored(slot int) *trajectory.Trajectory {
	if e.before == nil || slot >= len(e.before.members) {
		return nil
	}
	return e.before.members[slot]
}

// sectionPlace is where a section is.
type sectionPlace struct {
	catalog *catalog
	number  uint32
}

// sectionEdits are the sections that a change has looked at.
type sectionEdits struct {
	reader
	catalogs map[string]*catalog
	byPlace  map[sectionPlace]*sectionEdit
	// inOrder are the same, in the order in which they were looked at.
	inOrder []*sectionEdit
}

func newSectionEdits(r reader) sectionEdits {
	return sectionEdits{reader: r, catalogs: map[string]*catalog{}, byPlace: map[sectionPlace]*sectionEdit{}}
}

// add makes new sections part of the change. Their members are the change's own.
func (e *sectionEdits) add(c *catalog, sections []*section) {
	e.catalogs[c.study] = c
	for _, section := range sections {
		edit := &sectionEdit{after: section}
		e.byPlace[sectionPlace{c, section.number}] = edit
		e.inOrder = append(e.inOrder, edit)
	}
}

// grow puts new members of a study behind those that it has had. The catalog has them already; they are the change's own.
func (e *sectionEdits) grow(c *catalog, had int, members []*trajectory.Trajectory) error {
	if room := min(-had&(sectionSize-1), len(members)); room > 0 {
		last, err := e.at(c, uint32(had-1))
		if err != nil {
			return err
		}
		section := last.change()
		section.members = append(section.members, members[:room]...)
		had, members = had+room, members[room:]
	}
	sections := newSections(c.study, members)
	for i, section := range sections {
		section.number = uint32(had/sectionSize + i)
	}
	e.add(c, sections)
	return nil
}

// find returns a run, or ErrNotFound.
func (e *sectionEdits) find(study, id string) (handle, error) {
	c, err := e.catalog(study)
	if err != nil {
		return handle{}, err
	}
	if c != nil {
		if place, ok := c.places[id]; ok {
			return e.at(c, place)
		}
	}
	return handle{}, fmt.Errorf("the run: %w", ErrNotFound)
}

// catalog returns a study's catalog, nil if there is no such study.
func (e *sectionEdits) catalog(study string) (*catalog, error) {
	if c := e.catalogs[study]; c != nil {
		return c, nil
	}
	c, err := first[*catalog](e.reader, nil, tableCatalogs, indexID, textKey(study))
	if c != nil {
		e.catalogs[c.study] = c
	}
	return c, err
}

// at returns the run at a place that the catalog has.
func (e *sectionEdits) at(c *catalog, place uint32) (handle, error) {
	slot, where := int(place%sectionSize), sectionPlace{c, place / sectionSize}
	if edit := e.byPlace[where]; edit != nil {
		return handle{edit, slot}, nil
	}
	stored, err := first[*section](e.reader, nil, tableSections, indexID, sectionKey(c.study, where.number))
	if err != nil {
		return handle{}, err
	}
	edit := &sectionEdit{before: stored}
	e.byPlace[where] = edit
	e.inOrder = append(e.inOrder, edit)
	return handle{edit, slot}, nil
}
