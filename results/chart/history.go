package chart

import (
	"slices"
	"sort"

	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/listing"
	"trellis/results/trajectory"
)

const (
	defaultSteps = 500
	// maxCompared is how many trials are compared, best first, to find those that were better than all before them. The
	// steps before these are found among the trials that were done before all of them, of which so many are read at
	// most.
	maxCompared = 1 << 14
)

// History returns how a study's best objective has become better: see trellisv1.GetHistoryRequest. It fails with
// results.ErrNotFound if there is no such study.
func History(snapshot *results.Snapshot, request *trellisv1.GetHistoryRequest) (*trellisv1.GetHistoryResponse, error) {
	s, err := newSource(snapshot, request.GetStudy())
	if err != nil {
		return nil, err
	}
	h := &history{source: s}
	if err := h.addEnds(); err != nil {
		return nil, err
	}
	steps, exact, err := h.steps()
	if err != nil {
		return nil, err
	}
	most := orDefault(request.GetSteps(), defaultSteps)
	response := &trellisv1.GetHistoryResponse{Basis: s.basis(s.ranks.total, s.ranks.total), StepsTotal: uint64(len(steps))}
	response.Basis.Exact = exact
	if len(steps) > most {
		kept := make([]step, 0, most)
		for _, at := range even(0, len(steps), most) {
			kept = append(kept, steps[at])
		}
		steps = kept
	}
	moments := h.moments(most)
	// What was done until when is counted for both at once.
	ends := make([]uint64, 0, len(steps)+len(moments))
	for _, its := range steps {
		ends = append(ends, its.end)
	}
	ends = append(ends, moments...)
	slices.Sort(ends)
	ends = slices.Compact(ends)
	done := h.done(ends)
	doneAt := func(end uint64) uint64 {
		at, _ := slices.BinarySearch(ends, end)
		return done[at]
	}
	for _, its := range steps {
		response.Steps = append(response.Steps, &trellisv1.GetHistoryResponse_Step{
			Trial: its.key.Index(), Objective: s.ranking.ObjectiveOf(its.key), Done: doneAt(its.end), At: s.moment(its.end),
		})
	}
	for _, end := range moments {
		response.Done = append(response.Done, &trellisv1.GetHistoryResponse_Done{Done: doneAt(end), At: s.moment(end)})
	}
	return response, snapshot.Err()
}

// moment returns when a command was written.
func (s *source) moment(index uint64) *trellisv1.Moment {
	at, within, known := s.snapshot.Times().At(index)
	if !known {
		return &trellisv1.Moment{Index: index}
	}
	return &trellisv1.Moment{Index: index, Time: timestamppb.New(at), WithinSeconds: within.Seconds()}
}

// ends are when the runs of a section were done that have results.
type ends struct {
	// begun is the command that began the first attempt at one of the runs, whether or not it has results, and 0 if
	// there is none.
	begun uint64
	// low is when the first run was done and high when the last was; so many trials have results.
	low, high uint64
	trials    uint64
	// held says that a worker holds one of the runs.
	held bool
	// runs are by slot.
	runs []end
}

// end is when a run was done: so many commands after ends.low. One without results has no trials.
type end struct {
	after  uint32
	trials uint32
}

type endsKey struct{}

// endsOf returns the ends of a section, which are kept beside it.
func endsOf(section results.Section) *ends {
	return results.Keep(section, endsKey{}, func() *ends {
		spans := make([]trajectory.Span, section.Size())
		e := &ends{runs: make([]end, len(spans)), low: ^uint64(0)}
		for slot := range spans {
			its := section.Span(slot)
			spans[slot], e.held = its, e.held || its.Held
			if begun := its.First / results.MaxGrants; begun > 0 && (e.begun == 0 || begun < e.begun) {
				e.begun = begun
			}
			if its.Answered > 0 {
				e.low, e.high = min(e.low, its.Changed), max(e.high, its.Changed)
				e.trials += uint64(its.Answered)
			}
		}
		for slot, its := range spans {
			if its.Answered > 0 {
				e.runs[slot] = end{uint32(min(its.Changed-e.low, 1<<32-1)), uint32(its.Answered)}
			}
		}
		return e
	})
}

// history is an answer that is being made.
type history struct {
	*source
	// sections are those with results, in the order of their places, and first are the places of their first runs.
	sections []*ends
	first    []uint32
}

func (h *history) addEnds() error {
	sections, err := h.snapshot.Sections(h.catalog)
	if err != nil {
		return err
	}
	for section := range sections {
		its := endsOf(section)
		if its.trials > 0 {
			h.sections, h.first = append(h.sections, its), append(h.first, section.First())
		}
	}
	return h.snapshot.Err()
}

// end returns when the run at a place was done.
func (h *history) end(place uint32) uint64 {
	at := sort.Search(len(h.first), func(i int) bool { return h.first[i] > place }) - 1
	its := h.sections[at]
	return its.low + uint64(its.runs[place-h.first[at]].after)
}

// step is a trial whose objective was better than all before it.
type step struct {
	end uint64
	key listing.Key
}

// steps returns them, oldest first. exact says that none is missing.
//
// A trial is one if it was done before all better ones and, of those with the same objective, before the others. So the best
// trials are compared in the order of their ranks. Where these are only a part, the earlier steps are among those that were
// done before all of them.
func (h *history) steps() (steps []step, exact bool, err error) {
	earliest := ^uint64(0)
	add := func(its step) {
		if its.end >= earliest {
			return
		}
		earliest = its.end
		if n := len(steps); n > 0 && h.ranking.ObjectiveOf(its.key) == h.ranking.ObjectiveOf(steps[n-1].key) {
			// The later one ranks first for another reason, such as that it is shorter: that is no better objective.
			steps[n-1] = its
			return
		}
		steps = append(steps, its)
	}
	compare := func(rank int) error {
		k := h.ranks.at(rank)
		place, _, ok := h.catalog.Trial(k.Index())
		if !ok {
			return results.ErrNotFound
		}
		add(step{h.end(place), k})
		return nil
	}
	compared := min(h.ranks.finite, maxCompared)
	for rank := range compared {
		if err := compare(rank); err != nil {
			return nil, false, err
		}
	}
	exact = true
	if compared < h.ranks.finite {
		var earlier []step
		if earlier, exact, err = h.before(earliest); err != nil {
			return nil, false, err
		}
		for _, its := range earlier {
			add(its)
		}
	}
	slices.Reverse(steps)
	return steps, exact, nil
}

// before returns trials with a finite objective that were done before a command, best first: all, or some if there are
// too many.
func (h *history) before(index uint64) (found []step, all bool, err error) {
	type run struct {
		place uint32
		end   uint64
	}
	var runs []run
	for i, its := range h.sections {
		if its.low >= index {
			continue
		}
		for slot, one := range its.runs {
			if end := its.low + uint64(one.after); one.trials > 0 && end < index {
				runs = append(runs, run{h.first[i] + uint32(slot), end})
			}
		}
	}
	wanted := even(0, len(runs), min(len(runs), maxFiltered))
	for i, at := range wanted {
		if i%64 == 0 && h.snapshot.Err() != nil {
			return nil, false, h.snapshot.Err()
		}
		its, err := h.snapshot.TrajectoryAt(h.catalog, runs[at].place)
		if err != nil {
			return nil, false, err
		}
		for _, trial := range its.Answers {
			if listing.Finite(trial.Objective) {
				found = append(found, step{runs[at].end, h.ranking.Key(trial)})
			}
		}
	}
	slices.SortFunc(found, func(a, b step) int { return slices.Compare(a.key[:], b.key[:]) })
	return found, len(wanted) == len(runs), nil
}

// moments returns commands from the first after which a trial had its result to the last, evenly.
func (h *history) moments(n int) []uint64 {
	if len(h.sections) == 0 {
		return nil
	}
	low, high := ^uint64(0), uint64(0)
	for _, its := range h.sections {
		low, high = min(low, its.low), max(high, its.high)
	}
	var moments []uint64
	for _, at := range even(0, int(min(high-low, 1<<62))+1, n) {
		moments = append(moments, low+uint64(at))
	}
	return moments
}

// done returns how many trials had their results after each of some commands, which ascend.
func (h *history) done(until []uint64) []uint64 {
	counts := make([]uint64, len(until)+1)
	after := func(end uint64) int { return sort.Search(len(until), func(i int) bool { return until[i] >= end }) }
	for _, its := range h.sections {
		first, last := after(its.low), after(its.high)
		if first == last {
			counts[first] += its.trials
			continue
		}
		for _, one := range its.runs {
			if one.trials > 0 {
				counts[after(its.low+uint64(one.after))] += uint64(one.trials)
			}
		}
	}
	done := uint64(0)
	for i := range until {
		done += counts[i]
		counts[i] = done
	}
	return counts[:len(until)]
}
