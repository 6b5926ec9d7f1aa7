package forecast

import (
	trellisv1 "trellis/proto/trellis/v1"
)

// schedule is what happens on the slots from now on: first the runs that they hold, then the queue ahead of the study.
type schedule struct {
	slots
	// ahead is the work in the queue ahead of the study.
	ahead float64
	// busy is when the last of the study's own started runs ends, at the earliest.
	busy float64
}

// schedule puts the runs that are held on the current slots.
func (s *simulation) schedule(in Input, p play) *schedule {
	made := &schedule{ahead: ahead(in.Ahead) * s.slowness}
	on := map[string]slots{}
	for _, worker := range in.Workers {
		of := newSlots(worker.Slots)
		for i := range of {
			of[i].factor = s.pace.on(worker.Name)
		}
		on[worker.Name] = of
	}
	// A worker has a slot for each run that it holds, or these take turns where the study's runs have room in fewer. If the
	// worker is draining, the run gets a slot that accepts no other run.
	hold := func(worker string, seconds float64) float64 {
		if of := on[worker]; len(of) > 0 {
			return of.run(seconds)
		}
		return seconds * s.pace.on(worker)
	}
	for i, held := range s.study.held {
		made.busy = max(made.busy, hold(held.worker, p.held[i]))
	}
	for _, held := range in.Held {
		hold(held.Worker, held.Seconds*s.slowness)
	}
	for _, worker := range in.Workers {
		made.slots = append(made.slots, on[worker.Name]...)
	}
	made.order()
	return made
}

// anew puts the runs that are held on n equal slots instead.
func (s *simulation) anew(in Input, p play, n int) *schedule {
	made := &schedule{slots: newSlots(n), ahead: ahead(in.Ahead) * s.slowness}
	for _, seconds := range p.held {
		made.busy = max(made.busy, made.run(seconds))
	}
	for _, held := range in.Held {
		made.run(held.Seconds * s.slowness)
	}
	return made
}

func ahead(queues []*trellisv1.Estimate) (seconds float64) {
	for _, queue := range queues {
		seconds += queue.GetExpected()
	}
	return seconds
}

// finish simulates the queue, and returns when the last run of the study ends.
func (s *schedule) finish(p play) float64 {
	if p.bulk == 0 && len(p.rest) == 0 {
		return s.busy
	}
	s.pour(s.ahead)
	end := max(s.busy, s.pour(p.bulk))
	s.order()
	for _, seconds := range p.rest {
		end = max(end, s.run(seconds))
	}
	return end
}

const (
	// mostSlots is the maximum number of slots of an alternative.
	mostSlots = 1 << 14
	// worthwhile says when more slots are worth mentioning: when an alternative takes more than this many times as long
	// as with all useful slots.
	worthwhile = 1.05
)

// alternatives returns how long the study takes with 1, 2, 4, ... slots, up to the number where more don't help because
// the longest run dominates.
func (s *simulation) alternatives(in Input, played []play) (list []*trellisv1.Forecast_Alternative) {
	with := func(n int) float64 {
		sum := 0.0
		for _, p := range played {
			sum += s.anew(in, p, n).finish(p)
		}
		return sum / float64(len(played))
	}
	useful := s.study.queue.runs + len(s.study.held) + len(in.Held)
	if useful == 0 {
		return nil
	}
	best := with(min(useful, mostSlots))
	for n := 1; ; n *= 2 {
		seconds := with(n)
		list = append(list, &trellisv1.Forecast_Alternative{Slots: uint32(n), Seconds: seconds})
		if seconds <= worthwhile*best || n >= mostSlots {
			return list
		}
	}
}
