package lead

import (
	"slices"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/trajectory"
)

// pairing chooses runs for free slots: each run takes the first slot that it may have.
type pairing struct {
	failing *failing
	data    absences
	// ready returns all workers that are READY.
	ready func() []*trellisv1.Worker
	now   time.Time
	// slots are those that are left, as the worker of each, and workers has those that runs have taken, in their order.
	slots   []*trellisv1.Worker
	workers []string
}

// absences says which studies wait for what their runs need.
type absences interface {
	WaitingFor(study string) *trellisv1.WaitingFor
}

var _ results.Choice = (*pairing)(nil)

// Study says whether any of the slots that are left is for a study.
func (p *pairing) Study(study string) bool {
	return p.data.WaitingFor(study) == nil && slices.ContainsFunc(p.slots, func(worker *trellisv1.Worker) bool {
		return !p.failing.avoids(worker.GetName(), study, p.now)
	})
}

// Run gives a run the first slot that it may have, if there is one.
func (p *pairing) Run(run *trellisv1.Run) bool {
	spent := p.spent(run)
	for i, worker := range p.slots {
		if spent(worker) || p.failing.avoids(worker.GetName(), run.GetStudy(), p.now) {
			continue
		}
		p.workers = append(p.workers, worker.GetName())
		if i == 0 {
			p.slots = p.slots[1:]
		} else {
			p.slots = slices.Delete(p.slots, i, i+1)
		}
		return true
	}
	return false
}

// spent says for which workers a run is to wait for another: those on whose machines it has failed, as long as a machine
// is READY that it has not failed on. Where there is none, those on which it has failed itself, as long as another worker
// is READY. Nobody waits for a worker that is avoided: it may be for long. For one that is not connected, no run waits
// longer than its lease. See also trajectory.Rules: when no machine is left, the run has failed for good.
func (p *pairing) spent(run *trellisv1.Run) func(*trellisv1.Worker) bool {
	failures := run.GetFailures()
	if len(failures) == 0 {
		return func(*trellisv1.Worker) bool { return false }
	}
	for _, failed := range []func([]*trellisv1.Failure, *trellisv1.Worker) bool{
		trajectory.FailedOnMachine, trajectory.FailedOnWorker,
	} {
		on := func(worker *trellisv1.Worker) bool { return failed(failures, worker) }
		if slices.ContainsFunc(p.ready(), func(worker *trellisv1.Worker) bool {
			return !on(worker) && !p.failing.avoids(worker.GetName(), run.GetStudy(), p.now)
		}) {
			return on
		}
	}
	return func(*trellisv1.Worker) bool { return false }
}
