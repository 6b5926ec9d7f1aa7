package lead

import (
	"maps"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/resources"
)

// packing knows what the workers of free slots have left besides slots, while runs are chosen for them. A nil packing has
// room for everything.
type packing struct {
	snapshot *results.Snapshot
	// ready returns all workers that are READY.
	ready func() []*trellisv1.Worker
	// rooms and needs are by worker and by study, as far as anybody has asked.
	rooms map[string]*resources.Room
	needs map[string]resources.Need
	// served are the studies that have a run on some worker. When one of them ends, there is room for another.
	served map[string]bool
	// taken are the studies of the runs that a worker gets and whose room nobody has asked for: most searches train models
	// alone.
	taken map[string][]string
	// reserved has the workers that are kept for a study whose runs need more than is free anywhere.
	reserved map[string]string
	// err is the first error of the snapshot.
	err error
}

func newPacking(snapshot *results.Snapshot, ready func() []*trellisv1.Worker) *packing {
	return &packing{
		snapshot: snapshot, ready: ready, rooms: map[string]*resources.Room{}, needs: map[string]resources.Need{},
		served: map[string]bool{}, taken: map[string][]string{}, reserved: map[string]string{},
	}
}

// study returns a study. It is nil if packing is.
func (p *packing) study(name string) *trellisv1.Study {
	if p == nil {
		return nil
	}
	its, err := p.snapshot.Study(nil, name)
	if err != nil {
		p.fail(err)
	}
	return its
}

// need returns what each run of a study needs.
func (p *packing) need(study string) resources.Need {
	need, known := p.needs[study]
	if !known {
		its := p.study(study)
		need = resources.Of(its)
		p.needs[study], p.served[study] = need, p.served[study] || its.GetProgress().GetRunsRunning() > 0
	}
	return need
}

// room returns what a worker has left.
func (p *packing) room(worker *trellisv1.Worker) *resources.Room {
	room := p.rooms[worker.GetName()]
	if room == nil {
		its := resources.RoomOf(worker)
		room = &its
		held, err := p.snapshot.RunsHeldBy(nil, worker.GetName())
		if err != nil {
			p.fail(err)
		}
		for _, run := range held {
			room.Take(p.need(run.GetStudy()))
		}
		for _, study := range p.taken[worker.GetName()] {
			room.Take(p.need(study))
		}
		p.rooms[worker.GetName()] = room
	}
	return room
}

func (p *packing) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

// fits says whether a worker has what a run of a study needs. Most models need nothing but their slots.
func (p *packing) fits(worker *trellisv1.Worker, study string) bool {
	if p == nil {
		return true
	}
	if owner, kept := p.reserved[worker.GetName()]; kept && owner != study {
		return false
	}
	need := p.need(study)
	if !need.NeedsRoom() {
		return need.Serves(worker)
	}
	return p.room(worker).Fits(need)
}

// take notes that a worker gets a run of a study.
func (p *packing) take(worker *trellisv1.Worker, study string) {
	if p == nil {
		return
	}
	name := worker.GetName()
	p.served[study] = true
	if room := p.rooms[name]; room != nil {
		room.Take(p.need(study))
	} else {
		p.taken[name] = append(p.taken[name], study)
	}
}

// reserve keeps a worker for a study that has no run anywhere, since its runs need more than is free, but no more than that
// worker has. Without that, the small runs of younger studies could take what becomes free forever. It is always the same worker, the first by
// name, so that it becomes idle.
func (p *packing) reserve(study string, avoids func(*trellisv1.Worker) bool) {
	if p == nil {
		return
	}
	need := p.need(study)
	if !need.NeedsRoom() || p.served[study] || slices.Contains(slices.Collect(maps.Values(p.reserved)), study) {
		return
	}
	var first *trellisv1.Worker
	for _, worker := range p.ready() {
		if _, kept := p.reserved[worker.GetName()]; kept || avoids(worker) {
			continue
		}
		if need.Suits(worker) && (first == nil || worker.GetName() < first.GetName()) {
			first = worker
		}
	}
	if first != nil {
		p.reserved[first.GetName()] = study
	}
}

// awaitsWorker says what a study's runs that wait for a worker wait for if no worker that is READY could take them, even if it were
// idle.
func awaitsWorker(snapshot *results.Snapshot, name string) *trellisv1.WaitingFor {
	study, err := snapshot.Study(nil, name)
	if err != nil || !waits(study) {
		return nil
	}
	why, err := snapshot.AwaitedWorker(study)
	if err != nil || why == nil {
		return nil
	}
	runs, err := snapshot.WaitingRuns(name)
	if err != nil {
		return nil
	}
	for range runs {
		return why
	}
	return nil // All that is left is being trained: the worker may be DRAINING.
}
