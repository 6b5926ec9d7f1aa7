package forecast

import (
	"cmp"
	"math"
	"slices"
)

// Machines are sometimes busy with other work. This usually passes, so epochs that took unusually long say little about
// the future. Their extra time counts the more, the more often it has happened. Load that lasts becomes the usual, once
// it has most of the weight.
const (
	// burst is how many times the usual time an epoch must take to count as part of a burst.
	burst = 1.5
	// manyBursts is the number of bursts at which half of their extra time is expected again.
	manyBursts = 2
)

// weighedPace is a pace and its weight.
type weighedPace struct{ pace, weight float64 }

// paces returns the paces of a run's spells, times a factor.
func (m *weighted) paces(factor float64) (list []weighedPace) {
	for i, s := range m.spells {
		list = append(list, weighedPace{s.pace() * factor, m.weights[i]})
	}
	return list
}

// median returns the lowest pace that at most half of the weight is above.
func median(list []weighedPace) float64 {
	slices.SortFunc(list, func(a, b weighedPace) int { return cmp.Compare(a.pace, b.pace) })
	total, sum := 0.0, 0.0
	for _, p := range list {
		total += p.weight
	}
	for _, p := range list {
		if sum += p.weight; sum >= total/2 {
			return p.pace
		}
	}
	return list[len(list)-1].pace
}

// settle finds the pace of each run. Epochs of bursts count as usual, and their extra time is added to all runs as far
// as it is expected again.
func (p *pace) settle() {
	for i := range p.measured {
		p.measured[i].typical = median(p.measured[i].paces(1))
	}
	// Factors that convert a run's pace to a scale on which all runs can be compared.
	factors := make([]float64, len(p.measured))
	for i := range p.measured {
		m := &p.measured[i]
		sum, weights := p.near(m.settings, func(m *weighted) float64 { return m.typical })
		factors[i] = p.images / m.images * weights / sum
	}
	var found bursts
	kept, held := 0.0, 0.0
	usual := p.usual(factors)
	for i := range p.measured {
		m := &p.measured[i]
		limit, ok := usual[m.worker]
		if !ok {
			limit = usual[""]
		}
		sum := found.leaveOut(m, limit/factors[i], factors[i])
		m.pace = sum / m.weight
		kept += float64(sum * factors[i])
		if m.worker != "" {
			held++
		}
	}
	if found.excess == 0 {
		return
	}
	// Runs at the same time are slowed by the same burst.
	count := found.excess * found.excess / found.squares / max(1, held)
	again := count * count / (float64(count*count) + manyBursts*manyBursts)
	more := found.excess / kept
	for i := range p.measured {
		p.measured[i].pace *= 1 + float64(again*more)
	}
	off := math.Log1p(more)
	p.doubt = off * off * again * (1 - again)
}

// usual returns the usual time of epochs, by worker if there are several, because one may always be slow. Epochs of an
// unknown worker are compared with "".
func (p *pace) usual(factors []float64) map[string]float64 {
	var all []weighedPace
	byWorker := map[string][]weighedPace{}
	for i := range p.measured {
		m := &p.measured[i]
		paces := m.paces(factors[i])
		all = append(all, paces...)
		if m.worker != "" {
			byWorker[m.worker] = append(byWorker[m.worker], paces...)
		}
	}
	usual := map[string]float64{}
	if len(all) > 0 {
		usual[""] = median(all)
	}
	if len(byWorker) > 1 {
		for worker, paces := range byWorker {
			usual[worker] = max(usual[""], median(paces))
		}
	}
	return usual
}

// bursts sums up the extra time of bursts: of each burst of each run, and its square.
type bursts struct{ excess, squares float64 }

// leaveOut sums up the weighted paces of a run's spells, using the usual time in place of bursts. Bursts are counted on
// the scale on which runs can be compared.
func (b *bursts) leaveOut(m *weighted, usual, factor float64) (sum float64) {
	excess := 0.0
	end := func() {
		b.excess += excess
		b.squares += float64(excess * excess)
		excess = 0
	}
	for i, s := range m.spells {
		pace := s.pace()
		if pace > burst*usual {
			sum += float64(m.weights[i] * usual)
			excess += float64(m.weights[i] * (pace - usual) * factor)
			continue
		}
		sum += float64(m.weights[i] * pace)
		end()
	}
	end()
	return sum
}
