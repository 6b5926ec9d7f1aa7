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
	// waiting is how many workers the runs that wait would fill, open whether there are any runs that have not ended.
	waiting float64
	open    bool
	// free is how many workers' worth of slots is free on those of the launch that are connected.
	free float64
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
	wanted := d.connected + int(math.Ceil(max(0, d.waiting-d.free)-1e-9))
	wanted = min(wanted, most)
	have := d.connected + d.starting + len(d.queued)
	if have < wanted {
		return wanted - have, nil
	}
	return 0, d.queued[len(d.queued)-min(len(d.queued), have-wanted):]
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
// count.
func look(
	ctx context.Context, c *client.Client, s scheduler, launch, options string, kind *trellisv1.Worker,
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
			d.free += float64(worker.GetSlots()-worker.GetRuns()) / float64(worker.GetSlots())
		case job.phase == running:
			d.starting++
		}
	}
	err = c.EachStudy(ctx, func(study *trellisv1.Study) error {
		waiting, open := need(kind, study)
		d.waiting += waiting
		d.open = d.open || open
		return nil
	})
	return d, err
}

// need says how many workers the runs of a study that wait would fill, and whether there are any that have not ended. What
// these workers could not train does not count.
func need(kind *trellisv1.Worker, study *trellisv1.Study) (waiting float64, open bool) {
	if study.GetState() != trellisv1.StudyState_STUDY_STATE_RUNNING {
		return 0, false
	}
	switch study.GetWaitingFor().GetReason() {
	case trellisv1.WaitingReason_WAITING_REASON_UNSPECIFIED, trellisv1.WaitingReason_WAITING_REASON_LABELS_MISSING,
		trellisv1.WaitingReason_WAITING_REASON_NO_PROGRAMS, trellisv1.WaitingReason_WAITING_REASON_TOO_LARGE:
	default:
		return 0, false
	}
	fit := resources.Of(study).Slots(kind)
	if fit == 0 {
		return 0, false
	}
	progress := study.GetProgress()
	left := trajectory.OpenRuns(progress) + progress.GetAuditsDue()
	return float64(left-min(left, progress.GetRunsRunning())) / float64(fit), left > 0
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
