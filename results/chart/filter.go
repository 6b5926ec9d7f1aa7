package chart

import (
	"encoding/binary"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/condition"
	"trellis/results/grid"
	"trellis/results/listing"
	"trellis/results/objective"
	"trellis/results/trajectory"
)

// maxFiltered is how many trials are read to filter by more than parameters. Of more, an even sample is. It takes some
// microseconds to read a trial and to compute a condition of it.
const maxFiltered = 4096

// maxRemembered bounds for how many combinations of parameters it is remembered whether they meet a filter.
const maxRemembered = 1 << 16

// filter says which trials a request is about.
type filter struct {
	s     *source
	meets listing.Filter
	// uses are the fields that it depends on.
	uses []string
	// empty says that all trials meet it.
	empty bool
	// ofPoint says that it depends on parameters alone: those of the axes at positions. remembered says of combinations
	// of their levels whether these meet it. It is nil if the filter depends on the index too.
	ofPoint    bool
	axes       []int
	levels     []uint32
	remembered map[string]bool
	key        []byte
	// few is in place of remembered where there are few combinations: of so many levels by axis, the last of which is none.
	few   []answer
	sizes []uint32
}

// answer is whether a combination meets a filter.
type answer uint8

const (
	unknown answer = iota
	met
	notMet
)

// newFilter compiles a request's filter. It fails with listing.ErrInvalid.
func (s *source) newFilter(expression string) (*filter, error) {
	fields := listing.RankedBy(s.ranking, listing.FieldsOn(grid.Parameters(s.study.GetSpec())))
	f := &filter{s: s, empty: condition.IsEmpty(expression), ofPoint: true, remembered: map[string]bool{}}
	var err error
	if f.meets, f.uses, err = listing.NewFilterOf(expression, fields); err != nil {
		// It may use metrics. To find out which there are, runs are read.
		names, failure := s.metricNames()
		if failure != nil {
			return nil, failure
		}
		if f.meets, f.uses, err = listing.NewFilterOf(expression, listing.WithMetrics(names, fields)); err != nil {
			return nil, err
		}
	}
	for _, name := range f.uses {
		at := s.axes.find(name)
		f.ofPoint = f.ofPoint && (at >= 0 || name == "index")
		if at >= 0 {
			f.axes = append(f.axes, at)
		}
	}
	if slices.Contains(f.uses, "index") {
		f.remembered = nil
	}
	f.levels = make([]uint32, len(f.axes))
	combinations := 1
	for _, at := range f.axes {
		// The levels of axes that don't follow from indexes become known one by one.
		size := len(s.axes.all[at].values) + 1
		if combinations *= size; combinations > maxRemembered || s.axes.products == nil {
			return f, nil
		}
		f.sizes = append(f.sizes, uint32(size))
	}
	f.few = make([]answer, combinations)
	return f, nil
}

// metricNames are those of the metrics of a few runs that have been trained: the first of some sections.
func (s *source) metricNames() ([]string, error) {
	const sections = 16
	found := map[string]bool{}
	if s.study.GetSpec().GetProgram() != nil {
		found[objective.Metric(s.study.GetSpec().GetObjective())] = true
	}
	all, err := s.snapshot.Sections(s.catalog)
	if err != nil {
		return nil, err
	}
	read := 0
	for section := range all {
		for slot := range section.Size() {
			its := section.Trajectory(slot)
			if its == nil || its.Run.Epochs == 0 {
				continue
			}
			if its.Terms.OfProgram() {
				for name := range its.Losses.GetMetrics() {
					found[name] = true
				}
			} else {
				for name := range trajectory.ValidationMetrics(its.Losses, its.Run.Epochs) {
					found[name] = true
				}
			}
			read++
			break
		}
		if read == sections {
			break
		}
	}
	var names []string
	for name := range found {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, s.snapshot.Err()
}

// has says whether a trial meets the filter.
func (f *filter) has(index uint64) (bool, error) {
	switch {
	case f.empty:
		return true, nil
	case !f.ofPoint:
		trial, err := f.s.snapshot.Trial(f.s.study.GetName(), index)
		if err != nil {
			return false, err
		}
		return f.meets(trial)
	}
	if err := f.s.axes.read(index, f.axes, f.levels); err != nil {
		return false, err
	}
	if f.remembered == nil {
		return f.meets(f.trial(index))
	}
	if f.few != nil && f.s.axes.follow(index) {
		return f.hasFew(index)
	}
	f.key = f.key[:0]
	for _, level := range f.levels {
		f.key = binary.LittleEndian.AppendUint32(f.key, level)
	}
	met, known := f.remembered[string(f.key)]
	if known {
		return met, nil
	}
	met, err := f.meets(f.trial(index))
	if err == nil && len(f.remembered) < maxRemembered {
		f.remembered[string(f.key)] = met
	}
	return met, err
}

// hasFew is has where the levels that were read are of few combinations.
func (f *filter) hasFew(index uint64) (bool, error) {
	at := uint32(0)
	for i, level := range f.levels {
		if level == none {
			level = f.sizes[i] - 1
		} else if level >= f.sizes[i]-1 { // The value was added since.
			return f.meets(f.trial(index))
		}
		at = at*f.sizes[i] + level
	}
	if f.few[at] == unknown {
		is, err := f.meets(f.trial(index))
		if err != nil {
			return false, err
		}
		if f.few[at] = notMet; is {
			f.few[at] = met
		}
	}
	return f.few[at] == met, nil
}

// trial is a trial as far as a filter of parameters depends on it.
func (f *filter) trial(index uint64) *trellisv1.Trial {
	return &trellisv1.Trial{Index: index, Parameters: f.s.axes.point(f.axes, f.levels)}
}
