package lead

import (
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
)

// refill is runs for the slots that become free with what is about to be recorded. They are leased in the same command:
// a slot then waits for one write to the disk, not for two.
//
// What is recorded may turn out otherwise: an outcome is refused, a run gets the results of its twin. Then Apply
// refuses the grant, and the dispatcher fills the slot as any other.
type refill struct {
	runs   []*trellisv1.Run
	grants []*trellisv1.Grant
	// done ends the dispatcher's waiting for its turn.
	done func()
}

// refill chooses runs for slots that become free: one for each run that a batch says has succeeded. It returns nil if
// there are none, and if the dispatcher is at work or would not fill these slots alone.
func (d *dispatcher) refill(batch []received) *refill {
	ended := map[string]uint32{}
	for _, one := range batch {
		if one.from != nil && one.entry.GetOutcome().GetSuccess() != nil {
			ended[one.from.worker]++
		}
	}
	if len(ended) == 0 {
		return nil
	}
	select {
	case d.granting <- struct{}{}:
	default:
		return nil
	}
	snapshot := d.store.Snapshot()
	runs, workers, err := d.planRefill(snapshot, ended)
	if err != nil {
		d.logger.Error("could not find runs for slots that become free", "error", err)
	}
	if len(runs) == 0 {
		d.granted()
		return nil
	}
	return &refill{runs: runs, grants: grantsOf(snapshot, runs, workers), done: d.granted}
}

// planRefill pairs the runs that come next with so many slots of each worker. While others are free as well, the
// dispatcher spreads runs over all of them.
func (d *dispatcher) planRefill(
	snapshot *results.Snapshot, ended map[string]uint32,
) (runs []*trellisv1.Run, workers []string, err error) {
	free, err := snapshot.FreeWorkers(nil)
	if err != nil || len(d.freeSlots(free)) > 0 {
		return nil, nil, err
	}
	var slots []*trellisv1.Worker
	for name, count := range ended {
		worker, err := snapshot.Worker(nil, name)
		if err != nil {
			return nil, nil, err
		}
		if worker.GetState() != trellisv1.WorkerState_WORKER_STATE_READY || d.leases.quiet(worker) {
			continue
		}
		for range min(count, worker.GetRuns()) {
			slots = append(slots, worker)
		}
	}
	if len(slots) == 0 {
		return nil, nil, nil
	}
	slots = slots[:min(len(slots), results.MaxGrants)]
	return d.pair(snapshot, slots, func(p *pairing) results.Choice { return &plainRuns{pairing: p} })
}

// plainRuns chooses as pairing does, as long as no study is among those that come next whose choice depends on what is
// about to be recorded: one that prunes may hold runs, or let others go on, and programs need what is free besides
// slots.
type plainRuns struct {
	*pairing
	others bool
}

var _ results.Choice = (*plainRuns)(nil)

// Study says whether any more runs of a study may be chosen.
func (p *plainRuns) Study(study string) bool {
	spec := p.packing.spec(study)
	p.others = p.others || spec.GetPruning() != nil || spec.GetProgram() != nil
	return !p.others && p.pairing.Study(study)
}
