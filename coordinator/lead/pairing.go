package lead

import (
	"cmp"
	"slices"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/auditing"
	"trellis/results/trajectory"
)

// pairing chooses runs for free slots: each run takes the first slot that it may have.
type pairing struct {
	failing *failing
	data    absences
	// chosen are the runs that others have chosen.
	chosen map[runName]bool
	// ready returns all workers that are READY.
	ready func() []*trellisv1.Worker
	now   time.Time
	// packing knows what workers have left besides slots. Nil: enough.
	packing *packing
	// shelves have the slots that are left, and workers has those that runs have taken, in their order.
	shelves []*shelf
	workers []string
	// serving has the shelves whose workers serve a study, as far as anybody has asked.
	serving map[string][]*shelf
}

// shelf has the free slots of workers of one kind, as the worker of each, in the order in which they are to be filled.
type shelf struct {
	kind  *trellisv1.Worker
	slots []*trellisv1.Worker
}

// servingShelves has the shelves for a study: first of workers that are there for it alone, then of those with the fewest
// labels, which others can do without best.
func (p *pairing) servingShelves(study string) []*shelf {
	serving, known := p.serving[study]
	if known {
		return serving
	}
	for _, shelf := range p.shelves {
		if p.packing == nil || p.packing.need(study).Serves(shelf.kind) {
			serving = append(serving, shelf)
		}
	}
	slices.SortStableFunc(serving, func(a, b *shelf) int {
		return cmp.Or(cmp.Compare(b.kind.GetStudy(), a.kind.GetStudy()),
			cmp.Compare(len(a.kind.GetLabels()), len(b.kind.GetLabels())))
	})
	if p.serving == nil {
		p.serving = map[string][]*shelf{}
	}
	p.serving[study] = serving
	return serving
}

// left counts the slots that are left.
func (p *pairing) left() (slots int) {
	for _, shelf := range p.shelves {
		slots += len(shelf.slots)
	}
	return slots
}

// absences says which studies wait for what their runs need.
type absences interface {
	WaitingFor(study string) *trellisv1.WaitingFor
}

var _ results.Choice = (*pairing)(nil)

// Study says whether any of the slots that are left is for a study.
func (p *pairing) Study(study string) bool {
	if p.data.WaitingFor(study) != nil {
		return false
	}
	allowed := false
	for _, shelf := range p.servingShelves(study) {
		for _, worker := range shelf.slots {
			if p.avoids(worker, study) {
				continue
			}
			if p.packing.fits(worker, study) {
				return true
			}
			allowed = true
		}
	}
	if allowed {
		p.packing.reserve(study, func(worker *trellisv1.Worker) bool { return p.avoids(worker, study) })
	}
	return false
}

// avoids says whether a worker must get no runs of a study for now: runs fail on it, or it has reported wrong losses. The
// latter is better than none: as long as no other worker is READY, it gets runs.
func (p *pairing) avoids(worker *trellisv1.Worker, study string) bool {
	return p.failing.avoids(worker.GetName(), study, p.now) ||
		worker.GetWrong() != nil && slices.ContainsFunc(p.ready(), func(other *trellisv1.Worker) bool {
			return other.GetWrong() == nil && !p.failing.avoids(other.GetName(), study, p.now) && p.serves(other, study)
		})
}

// Run gives a run the first slot that it may have, if there is one.
func (p *pairing) Run(run *trellisv1.Run) bool {
	if p.chosen[nameOf(run)] || p.failing.resting(run.GetStudy(), run.GetId(), p.now) {
		return false
	}
	spent := p.spent(run)
	for _, shelf := range p.servingShelves(run.GetStudy()) {
		for i, worker := range shelf.slots {
			if spent(worker) || p.avoids(worker, run.GetStudy()) || !p.packing.fits(worker, run.GetStudy()) {
				continue
			}
			p.packing.take(worker, run.GetStudy())
			p.workers = append(p.workers, worker.GetName())
			if i == 0 {
				shelf.slots = shelf.slots[1:]
			} else {
				shelf.slots = slices.Delete(shelf.slots, i, i+1)
			}
			return true
		}
	}
	return false
}

// serves says whether a worker may be given runs of a study at all.
func (p *pairing) serves(worker *trellisv1.Worker, study string) bool {
	return p.packing == nil || p.packing.need(study).Serves(worker)
}

// spent says for which workers a run is to wait for another: those on whose machines it has failed, as long as a machine
// is READY that it has not failed on. Where there is none, those on which it has failed itself, as long as another worker
// is READY. Nobody waits for a worker that is avoided: it may be for long. For one that is not connected, no run waits
// longer than its lease. See also trajectory.Rules: when no machine is left, the run has failed for good.
//
// A run that is disputed waits for a machine that can decide, however long that takes.
func (p *pairing) spent(run *trellisv1.Run) func(*trellisv1.Worker) bool {
	if dispute := run.GetDispute(); dispute != nil {
		spec := p.packing.spec(run.GetStudy())
		return func(worker *trellisv1.Worker) bool { return !mayDecide(spec, dispute, worker, p.ready()) }
	}
	if trajectory.AuditDue(run) {
		return p.auditsElsewhere(run)
	}
	failures := run.GetFailures()
	if len(failures) == 0 {
		return func(*trellisv1.Worker) bool { return false }
	}
	return p.firstWithout(run.GetStudy(),
		func(worker *trellisv1.Worker) bool { return trajectory.FailedOnMachine(failures, worker) },
		func(worker *trellisv1.Worker) bool { return trajectory.FailedOnWorker(failures, worker) })
}

// auditsElsewhere says for which workers a run that is to be trained again is to wait for another: those whose machines
// have trained some of its epochs, or on which the audit has failed.
func (p *pairing) auditsElsewhere(run *trellisv1.Run) func(*trellisv1.Worker) bool {
	failures := run.GetAudit().GetFailures()
	onMachine := func(worker *trellisv1.Worker) bool {
		return auditing.TrainedOn(run, worker.GetName(), worker.GetMachine())
	}
	onWorker := func(worker *trellisv1.Worker) bool {
		return auditing.TrainedBy(run, []string{worker.GetName()})
	}
	failed := func(worker *trellisv1.Worker) bool { return trajectory.FailedOnMachine(failures, worker) }
	return p.firstWithout(run.GetStudy(),
		func(worker *trellisv1.Worker) bool { return onMachine(worker) || failed(worker) },
		func(worker *trellisv1.Worker) bool { return onWorker(worker) || failed(worker) },
		failed)
}

// firstWithout returns the first of the conditions that is not true of all workers that are READY and not avoided. If
// there is none, it returns one that is never true.
func (p *pairing) firstWithout(
	study string, conditions ...func(*trellisv1.Worker) bool,
) func(*trellisv1.Worker) bool {
	for _, on := range conditions {
		if slices.ContainsFunc(p.ready(), func(worker *trellisv1.Worker) bool {
			return !on(worker) && !p.avoids(worker, study) && p.serves(worker, study)
		}) {
			return on
		}
	}
	return func(*trellisv1.Worker) bool { return false }
}

// mayDecide says whether a worker may train a disputed run of a study again, given those that are READY.
func mayDecide(
	spec *trellisv1.StudySpec, dispute *trellisv1.Disagreement, worker *trellisv1.Worker, ready []*trellisv1.Worker,
) bool {
	alone := auditing.Alone(dispute, auditing.Able(spec, ready))
	if spec.GetProgram() != nil {
		return auditing.MayRepeat(dispute, worker.GetName(), worker.GetMachine(), alone)
	}
	return auditing.MayDecide(dispute, worker.GetName(), worker.GetMachine(), alone)
}
