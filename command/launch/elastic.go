package launch

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/resources"
	"trellis/results/trajectory"
)

// fleet is workers of one launch, whose number follows the runs that wait. It keeps nothing: whoever starts it again goes on
// where it was.
type fleet struct {
	launch string
	jobs   scheduler
	batch  batch
	// kind is a worker of the launch, as a study sees it.
	kind *trellisv1.Worker
	// max is the maximum number of workers.
	max int
	// every is the time between two looks, idle how long there is nothing to do before it ends. 0: it goes on.
	every, idle time.Duration
}

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

// keep keeps as many workers as there is work for, until there has been none for long or ctx is done.
func (f *fleet) keep(ctx context.Context, env *cli.Environment, c *client.Client) error {
	ticker := time.NewTicker(f.every)
	defer ticker.Stop()
	worked := time.Now()
	for failed := ""; ; {
		d, err := f.look(ctx, c)
		if err == nil {
			if d.open || d.all > 0 {
				worked = time.Now()
			} else if f.idle > 0 && time.Since(worked) >= f.idle {
				fmt.Fprintf(env.Err, "There has been nothing to do for %s.\n", f.idle)
				return nil
			}
			err = f.adjust(ctx, env, d)
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err == nil:
			failed = ""
		case err.Error() != failed: // Once.
			failed = err.Error()
			fmt.Fprintf(env.Err, "%v; trying again\n", err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// adjust submits or cancels jobs.
func (f *fleet) adjust(ctx context.Context, env *cli.Environment, d demand) error {
	submit, cancel := d.change(f.max)
	if submit > 0 {
		id, err := f.jobs.submit(ctx, f.batch.script(submit))
		if err != nil {
			return err
		}
		fmt.Fprintf(env.Err, "Submitted %s as job %s: runs wait.\n", output.Count(uint64(submit), "worker"), id)
	}
	if len(cancel) > 0 {
		if err := f.jobs.cancel(ctx, cancel); err != nil {
			return err
		}
		fmt.Fprintf(env.Err, "Canceled %s that had not started: no run waits for them.\n",
			output.Count(uint64(len(cancel)), "worker"))
	}
	return nil
}

// look finds out what there is to do, and who does it.
func (f *fleet) look(ctx context.Context, c *client.Client) (demand, error) {
	var d demand
	jobs, err := f.jobs.jobs(ctx, f.launch)
	if err != nil {
		return d, err
	}
	connected, err := workersByJob(ctx, c)
	if err != nil {
		return d, err
	}
	d.all = len(jobs)
	for _, job := range jobs {
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
		waiting, open := f.need(study)
		d.waiting += waiting
		d.open = d.open || open
		return nil
	})
	return d, err
}

// need says how many workers the runs of a study that wait would fill, and whether there are any that have not ended. What
// these workers could not train does not count.
func (f *fleet) need(study *trellisv1.Study) (waiting float64, open bool) {
	if study.GetState() != trellisv1.StudyState_STUDY_STATE_RUNNING {
		return 0, false
	}
	switch study.GetWaitingFor().GetReason() {
	case trellisv1.WaitingReason_WAITING_REASON_UNSPECIFIED, trellisv1.WaitingReason_WAITING_REASON_LABELS_MISSING,
		trellisv1.WaitingReason_WAITING_REASON_NO_PROGRAMS, trellisv1.WaitingReason_WAITING_REASON_TOO_LARGE:
	default:
		return 0, false
	}
	room, its := resources.RoomOf(f.kind), resources.Of(study.GetSpec())
	fit := uint32(0)
	for fit < f.kind.GetSlots() && room.Fits(its) {
		room.Take(its)
		fit++
	}
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
