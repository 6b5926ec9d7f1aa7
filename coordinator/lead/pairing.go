package lead

import (
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
	// offers have the slots that are left, and workers has those that runs have taken, in their order.
	offers  []*offer
	workers []string
	// lines has the slots for each study, as far as anybody has asked.
	lines lines
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
	for _, line := range p.linesFor(study) {
		allowed = allowed || line.tight
		for _, slot := range line.slots {
			if slot.taken() || p.avoids(slot.worker, study) {
				continue
			}
			if p.packing.fits(slot.worker, study) {
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
	for _, line := range p.linesFor(run.GetStudy()) {
		line.trim()
		for i, slot := range line.slots {
			worker := slot.worker
			if slot.taken() || spent(worker) || p.avoids(worker, run.GetStudy()) || !p.packing.fits(worker, run.GetStudy()) {
				continue
			}
			p.packing.take(worker, run.GetStudy())
			p.workers = append(p.workers, worker.GetName())
			slot.left--
			if i > 0 {
				line.slots = slices.Delete(line.slots, i, i+1)
			}
			return true
		}
	}
	return false
}

// serves says whether a worker may be given runs of a study at all. One that is too small, even when it is idle, may not.
func (p *pairing) serves(worker *trellisv1.Worker, study string) bool {
	return p.packing == nil || p.packing.need(study).Suits(worker)
}

// spent says for which workers a run is to wait for another: those on whose machines it has failed, as long as a machine
// is READY that it has not failed on. Where there is none, those on which it has failed itself, as long as another worker
// is READY. Nobody waits for a worker that is avoided: it may be for long. For one that is not connected, no run waits
// longer than its lease. See also trajectory.Rules: when no machine is left, the run has failed for good.
//
// A run that is disputed waits for a machine that can decide, however long that takes.
func (p *pairing) spent(run *trellisv1.Run) func(*trellisv1.Worker) bool {
	if dispute := run.GetDispute(); dispute != nil {
		study := p.packing.study(run.GetStudy())
		return func(worker *trellisv1.Worker) bool { return !mayDecide(study, dispute, worker, p.ready()) }
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
	study *trellisv1.Study, dispute *trellisv1.Disagreement, worker *trellisv1.Worker, ready []*trellisv1.Worker,
) bool {
	alone := auditing.Alone(dispute, auditing.Able(study, ready))
	if study.GetSpec().GetProgram() != nil {
		return auditing.MayRepeat(dispute, worker.GetName(), worker.GetMachine(), alone)
	}
	return auditing.MayDecide(dispute, worker.GetName(), worker.GetMachine(), alone)
}
