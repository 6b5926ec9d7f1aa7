package lead

import (
	"sync"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/resources"
)

// choice is runs that have been chosen for slots, until the log has answered whether they are granted.
type choice struct {
	runs   []*trellisv1.Run
	grants []*trellisv1.Grant
	// made is when it was, if runs are traced.
	made time.Time
	// done says that the log has answered.
	done func()
}

// chosen has what is in choices: the dispatcher makes one, the recorder another, and the store has neither yet. Without it,
// both would choose the same runs for the same slots, and all that one of them has chosen would be refused.
type chosen struct {
	mu sync.Mutex
	// runs are those that are chosen, and slots counts the free ones that they take, by worker.
	runs  map[runName]bool
	slots map[string]uint32
}

// runName names a run.
type runName struct{ study, run string }

func nameOf(run *trellisv1.Run) runName { return runName{run.GetStudy(), run.GetId()} }

func newChosen() chosen { return chosen{runs: map[runName]bool{}, slots: map[string]uint32{}} }

// add makes a choice. Of each worker, so many slots become free with it, and are not free for others before. c.mu must be
// held.
func (c *chosen) add(runs []*trellisv1.Run, grants []*trellisv1.Grant, ending map[string]uint32) *choice {
	taken := map[string]uint32{}
	for i, run := range runs {
		c.runs[nameOf(run)] = true
		taken[grants[i].GetWorker()]++
	}
	for worker, slots := range taken {
		taken[worker] = slots - min(slots, ending[worker])
		c.slots[worker] += taken[worker]
	}
	return &choice{runs: runs, grants: grants, done: func() { c.remove(runs, taken) }}
}

// remove forgets a choice.
func (c *chosen) remove(runs []*trellisv1.Run, taken map[string]uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, run := range runs {
		delete(c.runs, nameOf(run))
	}
	for worker, slots := range taken {
		if c.slots[worker] -= slots; c.slots[worker] == 0 {
			delete(c.slots, worker)
		}
	}
}

// refill chooses runs for slots that become free with what is about to be recorded: one for each run that a batch says has
// succeeded. They are leased in the same command: a slot then waits for one write to the disk, not for two. It returns nil
// if there are none.
//
// What is recorded may turn out otherwise: an outcome is refused, a run gets the results of its twin. Then Apply refuses
// the grant, and the dispatcher fills the slot as any other.
func (d *dispatcher) refill(batch []received) *choice {
	ending := map[string]uint32{}
	for _, one := range batch {
		if one.from != nil && one.entry.GetOutcome().GetSuccess() != nil {
			ending[one.from.worker]++
		}
	}
	if len(ending) == 0 {
		return nil
	}
	return d.choose(ending, func(p *pairing) results.Choice { return &plainRuns{pairing: p} })
}

// plainRuns chooses as pairing does, as long as no study is among those that come next whose choice depends on what is
// about to be recorded: one that prunes may hold runs, or let others go on, and programs and large networks need what is
// free besides slots.
type plainRuns struct {
	*pairing
	others bool
}

var _ results.Choice = (*plainRuns)(nil)

// Study says whether any more runs of a study may be chosen. One that none of the workers suits has no say.
func (p *plainRuns) Study(study string) bool {
	if len(p.linesFor(study)) == 0 {
		return false
	}
	its := p.packing.study(study)
	p.others = p.others || its.GetSpec().GetPruning() != nil || resources.Of(its).NeedsRoom()
	return !p.others && p.pairing.Study(study)
}
