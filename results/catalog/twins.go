package catalog

import trellisv1 "trellis/proto/trellis/v1"

// Twin returns the place of the run that has the id of another study's run, if there is one. It may be another run: the
// caller compares the ids.
func (c *Catalog) Twin(run *trellisv1.Run) (place uint32, ok bool) {
	if place, ok = c.places[run.Id]; ok || c.Base == nil {
		return place, ok
	}
	return c.Base.PlaceOf(run.Parameters)
}

// HasListedOf says whether two studies list a run in common.
func (c *Catalog) HasListedOf(other *Catalog) bool {
	fewer, more := c.places, other.places
	if len(fewer) > len(more) {
		fewer, more = more, fewer
	}
	for id := range fewer {
		if _, ok := more[id]; ok {
			return true
		}
	}
	return false
}
