package launch

import (
	"context"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"trellis/command/client"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/resources"
	"trellis/results/trajectory"
)

// fleet is workers of one launch, whose number follows the runs that wait. It keeps nothing that lasts: whoever starts it again
// goes on where it was.
type fleet struct {
	jobs  scheduler
	batch batch
	// name is that of the launch, folder where its jobs' output is.
	name, folder string
	// max is the maximum number of workers.
	max int
	// every is the time between two looks, idle how long there is nothing to do before it ends. 0: it goes on.
	every, idle time.Duration
	look        func(context.Context) (demand, error)
	// renew makes sure of the workers' token, once a day. nil: they need none.
	renew func(context.Context) error

	// arrays are those that were submitted, as long as Slurm shows them.
	arrays []*arrayJob
	// failures counts how often jobs have failed, until some time has passed without. While it is not 0, one job at a time is
	// submitted, and none before retry. counted are the jobs that have failed.
	failures int
	counted  map[string]bool
	retry    time.Time
}

const (
	// maxFailures is how often jobs may fail in a row while no worker is connected.
	maxFailures = 5
	// calm is how long no job may fail until several are submitted at a time again.
	calm = 5 * time.Minute
)

// demand is what a look at coordinator and scheduler finds.
type demand struct {
	// waiting is how many workers the runs would fill that wait and for which there is no room on those of the launch
	// that are connected, and unsure how many those would that may be too large for them: for all of these, one job is
	// submitted at a time until a worker has said what it has. open says whether there are any runs that have not
	// ended.
	waiting, unsure float64
	open            bool
	// connected and starting count jobs that run, with and without a connected worker; queued are the others.
	connected, starting int
	queued              []string
	// all counts jobs that have not ended.
	all int
	// jobs are all of them, and those that have just ended.
	jobs []job
}

// change says how many jobs to submit, and which to cancel. Workers that are not needed leave by themselves: none that runs is
// canceled.
func (d demand) change(most int) (submit int, cancel []string) {
	wanted := func(waiting float64) int { return min(d.connected+int(math.Ceil(waiting-1e-9)), most) }
	have := d.connected + d.starting + len(d.queued)
	if least := wanted(d.waiting + min(1, d.unsure)); have < least {
		return least - have, nil
	}
	spare := max(0, have-wanted(d.waiting+d.unsure))
	return 0, d.queued[len(d.queued)-min(len(d.queued), spare):]
}

// keep keeps as many workers as there is work for, until there has been none for long, jobs only fail, or ctx is done.
func (f *fleet) keep(ctx context.Context, log io.Writer) error {
	ticker := time.NewTicker(f.every)
	defer ticker.Stop()
	worked, renewed := time.Now(), time.Now()
	for said := ""; ; {
		d, err := f.look(ctx)
		if err == nil {
			if d.open || d.all > 0 {
				worked = time.Now()
			} else if f.idle > 0 && time.Since(worked) >= f.idle {
				fmt.Fprintf(log, "There has been nothing to do for %s.\n", f.idle)
				return nil
			}
			if err := f.judge(log, d); err != nil {
				return err
			}
			err = f.adjust(ctx, log, d)
		}
		if f.renew != nil && err == nil && time.Since(renewed) >= 24*time.Hour {
			if err = f.renew(ctx); err == nil {
				renewed = time.Now()
			}
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil:
			said = ""
		case err.Error() != said: // Once.
			said = err.Error()
			fmt.Fprintf(log, "%v; trying again\n", err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// judge looks at what has become of the jobs that were submitted. It returns an error if there is no use in submitting others.
func (f *fleet) judge(log io.Writer, d demand) error {
	shown, bad := map[string]bool{}, ""
	for _, job := range d.jobs {
		shown[job.array()] = true
	}
	for _, its := range f.arrays {
		if !shown[its.id] && !its.seen {
			return fmt.Errorf("job %s was submitted, but squeue does not show it: submitting no others, which could become "+
				"too many; see scontrol show job %s, and %s", its.id, its.id, f.output(its.id+"_1"))
		}
		its.seen = true
	}
	f.arrays = slices.DeleteFunc(f.arrays, func(its *arrayJob) bool { return !shown[its.id] })

	counted := map[string]bool{}
	for _, job := range d.jobs {
		if job.phase != failed {
			continue
		}
		counted[job.id] = true
		mine := slices.ContainsFunc(f.arrays, func(its *arrayJob) bool { return its.id == job.array() })
		if mine && !f.counted[job.id] {
			bad = job.id
		}
	}
	f.counted = counted
	switch wait := f.every << f.failures; {
	case bad == "" && d.connected > 0 && time.Since(f.retry) > max(wait, calm):
		f.failures = 0
	case bad == "", f.failures > 0 && time.Now().Before(f.retry): // Nothing new, or more of the same.
	case f.failures+1 >= maxFailures && d.connected == 0:
		return fmt.Errorf("launch %s ends: its jobs fail one after the other, and no worker is connected; the last one was "+
			"job %s, see %s", f.name, bad, f.output(bad))
	default:
		f.failures = min(f.failures+1, maxFailures)
		wait = f.every << f.failures
		f.retry = time.Now().Add(wait)
		fmt.Fprintf(log, "Job %s has failed: see %s. Submitting one at a time, the next in %s.\n", bad, f.output(bad),
			wait)
	}
	return nil
}

// output is the file with the output of a job.
func (f *fleet) output(id string) string { return filepath.Join(f.folder, f.name+"-"+id+".log") }

// adjust submits or cancels jobs.
func (f *fleet) adjust(ctx context.Context, log io.Writer, d demand) error {
	submit, cancel := d.change(f.max)
	if f.failures > 0 {
		submit = min(submit, 1)
		if d.starting > 0 || len(d.queued) > 0 {
			submit = 0
		}
	}
	if submit > 0 && !time.Now().Before(f.retry) {
		arrays, err := submitAll(ctx, f.jobs, submit, f.batch.script)
		f.arrays = append(f.arrays, arrays...)
		if len(arrays) > 0 {
			fmt.Fprintf(log, "Submitted %s as %s: runs wait.\n", output.Count(uint64(jobsOf(arrays)), "worker"),
				numbers(arrays))
		}
		if err != nil {
			f.retry = time.Now().Add(4 * f.every)
			return err
		}
	}
	if len(cancel) > 0 {
		if err := f.jobs.cancel(ctx, cancel); err != nil {
			return err
		}
		fmt.Fprintf(log, "Canceled %s that had not started: no run waits for them.\n",
			output.Count(uint64(len(cancel)), "worker"))
	}
	return nil
}

// look finds out what there is to do for workers of a kind, and who does it. Jobs of that name with other options don't
// count. It notes how much memory the workers say that they have, if nobody has said how much the kind has.
func look(
	ctx context.Context, c *client.Client, s scheduler, launch, options string, kind *kind,
) (demand, error) {
	var d demand
	jobs, err := s.jobs(ctx, launch)
	if err != nil {
		return d, err
	}
	connected, err := workersByJob(ctx, c)
	if err != nil {
		return d, err
	}
	var ours []*trellisv1.Worker
	d.jobs = slices.DeleteFunc(jobs, func(j job) bool { return j.options != options })
	for _, job := range d.jobs {
		if job.phase.live() {
			d.all++
		}
		switch worker := connected[job.id]; {
		case job.phase == queued:
			d.queued = append(d.queued, job.id)
		case job.phase == running && worker != nil:
			d.connected++
			ours = append(ours, worker)
		case job.phase == running:
			d.starting++
		}
	}
	var studies []*trellisv1.Study
	if err := c.EachStudy(ctx, func(study *trellisv1.Study) error {
		studies = append(studies, study)
		return nil
	}); err != nil {
		return d, err
	}
	kind.learn(ours)
	d.waiting, d.unsure, d.open = kind.lacking(studies, ours)
	return d, nil
}

// kind is one of a launch's workers, as a study sees it. Its memory is unknown until one of them is connected, if
// nobody has said how much it is.
type kind struct {
	*trellisv1.Worker
	// said is set if it has been said.
	said bool
}

// learn notes what memory workers of the kind have: the most, if they differ.
func (k *kind) learn(workers []*trellisv1.Worker) {
	for _, worker := range workers {
		if !k.said {
			k.Capacity.Memory = max(k.Capacity.Memory, worker.GetCapacity().GetMemory())
		}
	}
}

// lacking says how many workers of the kind the runs of studies would fill that wait and for which the connected
// workers have no room: waiting, and apart from them those that may be too large. open says whether there are any that
// have not ended. Runs that these workers could not train don't count.
func (k *kind) lacking(studies []*trellisv1.Study, connected []*trellisv1.Worker) (waiting, unsure float64, open bool) {
	var held []resources.Need
	for _, study := range studies {
		if study.GetProgress().GetRunsRunning() > 0 {
			held = append(held, resources.Of(study))
		}
	}
	// used is how much of each worker has been given to studies before.
	used := make([]float64, len(connected))
	for _, study := range studies {
		need := resources.Of(study)
		runs, left := waitingRuns(study)
		fit := need.Slots(k.Worker)
		if fit == 0 || left == 0 {
			continue
		}
		open = true
		lacks := float64(runs) / float64(fit)
		for i, worker := range connected {
			if lacks <= 0 {
				break
			}
			free := min(max(0, freeFor(need, worker, held)-used[i]), lacks)
			used[i] += free
			lacks -= free
		}
		// What others have is too little: these may have no more, as long as nobody knows.
		if study.GetWaitingFor().GetReason() == trellisv1.WaitingReason_WAITING_REASON_TOO_LARGE &&
			need.Memory+need.Data > 0 && k.Capacity.GetMemory() == 0 {
			unsure += lacks
		} else {
			waiting += lacks
		}
	}
	return waiting, unsure, open
}

// freeFor is how much of a worker is free for runs that need so much. The coordinator says how many runs a worker has,
// but not which: they are taken for those of the study, of those that have some, which leave the least room. With more
// room than that it would have been given some of the runs that wait.
func freeFor(need resources.Need, worker *trellisv1.Worker, held []resources.Need) float64 {
	all, runs := need.Slots(worker), worker.GetRuns()
	if all == 0 {
		return 0
	}
	free := min(all, worker.GetSlots()-min(runs, worker.GetSlots()))
	if runs == 0 || !need.NeedsRoom() {
		return float64(free) / float64(all)
	}
	for _, other := range held {
		room := resources.RoomOf(worker)
		for taken := uint32(0); taken < runs && room.Fits(other); taken++ {
			room.Take(other)
		}
		beside := uint32(0)
		for ; beside < free && room.Fits(need); beside++ {
			room.Take(need)
		}
		free = beside
	}
	return float64(free) / float64(all)
}

// waitingRuns is how many of a study's runs wait, of those left that have not ended. What waits for something else than
// a worker does not count.
func waitingRuns(study *trellisv1.Study) (waiting, left uint64) {
	if study.GetState() != trellisv1.StudyState_STUDY_STATE_RUNNING {
		return 0, 0
	}
	switch study.GetWaitingFor().GetReason() {
	case trellisv1.WaitingReason_WAITING_REASON_UNSPECIFIED, trellisv1.WaitingReason_WAITING_REASON_LABELS_MISSING,
		trellisv1.WaitingReason_WAITING_REASON_NO_PROGRAMS, trellisv1.WaitingReason_WAITING_REASON_TOO_LARGE:
	default:
		return 0, 0
	}
	progress := study.GetProgress()
	left = trajectory.OpenRuns(progress) + progress.GetAuditsDue()
	return left - min(left, progress.GetRunsRunning()), left
}

// workersByJob has the workers that are READY by their job of Slurm, which their names have before the random suffix.
func workersByJob(ctx context.Context, c *client.Client) (map[string]*trellisv1.Worker, error) {
	workers := map[string]*trellisv1.Worker{}
	err := c.EachWorker(ctx, func(worker *trellisv1.Worker) error {
		if parts := strings.Split(worker.GetName(), "-"); len(parts) > 2 && worker.GetSlots() > 0 &&
			worker.GetState() == trellisv1.WorkerState_WORKER_STATE_READY {
			workers[parts[len(parts)-2]] = worker
		}
		return nil
	})
	return workers, err
}
