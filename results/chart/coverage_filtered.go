package chart

import (
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/listing"
)

// filtered makes the map that has been prepared one of the trials that meet the filter. It returns how to fill it.
func (m *coverage) filtered() []func() error {
	m.allocate(m.columns, m.rows)
	of := m.cell
	m.cell = func(index uint64) (int, bool, error) {
		cell, ok, err := of(index)
		if !ok || err != nil {
			return cell, ok, err
		}
		met, err := m.filter.has(index)
		return cell, met, err
	}
	if m.filter.ofPoint {
		return []func() error{m.addAll, m.addRanked, m.addOpen, m.addShared}
	}
	m.cell = of
	return []func() error{m.addRead}
}

// indexes calls take for the trials of the study, or of an even sample of its runs if it has more than most, and with how
// many each of them stands for.
func (m *coverage) indexes(most int, take func(index uint64, weight float64) error) error {
	runs := int(m.catalog.Runs())
	places := even(0, runs, min(runs, most))
	weight := m.weight(len(places), runs)
	base := int(m.catalog.BaseRuns())
	first, _ := m.catalog.ListedPlaces()
	for i, place := range places {
		if i%interruptEvery == 0 && m.snapshot.Err() != nil {
			return m.snapshot.Err()
		}
		if place >= base { // Those that are listed have places of their own.
			place += int(first) - base
		}
		for _, index := range m.catalog.IndexesAt(uint32(place)) {
			if err := take(index, weight); err != nil {
				return err
			}
		}
	}
	return nil
}

// addAll counts all trials, in whatever state.
func (m *coverage) addAll() error {
	most := int(m.catalog.Runs())
	if m.axes.products == nil || m.filter.remembered == nil {
		most = maxLooked
	}
	return m.indexes(most, func(index uint64, weight float64) error {
		cell, ok, err := m.cell(index)
		if ok {
			m.counts[0][cell] += weight
		}
		return err
	})
}

// addRead reads a sample of the trials, because the filter depends on what has become of them.
func (m *coverage) addRead() error {
	return m.indexes(maxFiltered, func(index uint64, weight float64) error {
		trial, err := m.snapshot.Trial(m.study.GetName(), index)
		if err != nil {
			return err
		}
		met, err := m.filter.meets(trial)
		if err != nil || !met {
			return err
		}
		cell, ok, err := m.cell(index)
		if err != nil || !ok {
			return err
		}
		state, known := openStates[trial.State]
		if !known {
			if state, err = m.stateOf(trial); err != nil {
				return err
			}
		}
		m.counts[0][cell] += weight
		m.counts[state][cell] += weight
		return nil
	})
}

// stateOf returns that of a trial with a result.
func (m *coverage) stateOf(trial *trellisv1.Trial) (trellisv1.PointState, error) {
	if !listing.Finite(trial.Objective) {
		return trellisv1.PointState_POINT_STATE_DIVERGED, nil
	}
	run, err := m.snapshot.Run(nil, m.study.GetName(), trial.Run)
	if err == nil && run.GetSharedEpochs() > 0 && trial.Epochs <= run.GetSharedEpochs() {
		return trellisv1.PointState_POINT_STATE_SHARED, nil
	}
	return trellisv1.PointState_POINT_STATE_TRAINED, err
}
