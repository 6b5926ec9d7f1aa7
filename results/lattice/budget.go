package lattice

import trellisv1 "trellis/proto/trellis/v1"

// amount is how much training some runs are.
type amount struct {
	runs, trials, epochs uint64
	// alone are the epochs if every trial were trained separately.
	alone uint64
	// longest is the largest max_epochs.
	longest uint32
}

// amountOf returns what a run with these milestones is.
func amountOf(milestones []uint32) amount {
	a := amount{runs: 1, trials: uint64(len(milestones))}
	for _, epochs := range milestones {
		a.alone += uint64(epochs)
		a.longest = max(a.longest, epochs)
	}
	a.epochs = uint64(a.longest)
	return a
}

// add adds n times an amount.
func (a *amount) add(n uint64, each amount) {
	if n == 0 {
		return
	}
	a.runs += n * each.runs
	a.trials += n * each.trials
	a.epochs += n * each.epochs
	a.alone += n * each.alone
	a.longest = max(a.longest, each.longest)
}

// stretch is a number of equal runs.
type stretch struct {
	n    uint64
	each amount
}

// spend returns the runs that a budget allows: the first ones whose trials and epochs are within it, and always the
// first.
func (l *Lattice) spend(budget *trellisv1.Budget, equal []stretch, all amount) (spent amount) {
	if budget.GetTrials() == 0 && budget.GetEpochs() == 0 {
		return all
	}
	for _, s := range equal {
		n := affordable(budget, spent, s)
		if spent.add(n, s.each); n < s.n {
			return spent
		}
	}
	if equal != nil {
		return spent
	}
	for place := uint64(0); place < all.runs; place++ {
		rank := place
		if l.shuffled != nil {
			rank = l.shuffled.at(place)
		}
		milestones, _ := l.runs.trials(rank)
		s := stretch{1, amountOf(milestones)}
		if affordable(budget, spent, s) == 0 {
			return spent
		}
		spent.add(1, s.each)
	}
	return spent
}

// affordable returns how many runs of a stretch a budget still allows when so much is spent.
func affordable(budget *trellisv1.Budget, spent amount, s stretch) uint64 {
	n := s.n
	if most := budget.GetTrials(); most > 0 {
		n = min(n, (most-min(most, spent.trials))/s.each.trials)
	}
	if most := budget.GetEpochs(); most > 0 {
		n = min(n, (most-min(most, spent.epochs))/s.each.epochs)
	}
	if spent.runs == 0 {
		return max(n, 1)
	}
	return n
}
