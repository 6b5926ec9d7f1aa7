package coordinator

import (
	"context"
	"time"

	"github.com/hashicorp/go-memdb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
)

// dispatchRetry is how long the dispatcher waits after the log or the store has refused a grant, and for workers that are
// quiet to be heard again.
const dispatchRetry = time.Second

// dispatch grants PENDING runs to workers with free slots, the longest runs of the oldest study first: a long run that
// starts last would keep one worker busy while the others have nothing left to do.
func (c *Coordinator) dispatch(ctx context.Context) {
	for ctx.Err() == nil {
		wait, done := ctx, func() {}
		connections := c.sessions.watch()
		watch := memdb.NewWatchSet()
		snapshot := c.store.Snapshot()
		run, err := snapshot.NextRun(watch)
		if err != nil {
			c.logger.Error("find the next run", "error", err)
			return
		}
		worker, quiet, err := c.freeWorker(watch, snapshot)
		if err != nil {
			c.logger.Error("find a free worker", "error", err)
			return
		}
		switch {
		case run == nil:
		case worker != "":
			err := c.grant(ctx, run, worker)
			if err == nil {
				continue
			}
			c.logger.Debug("a grant was refused", "study", run.GetStudy(), "run", run.GetId(), "worker", worker, "error", err)
			wait, done = context.WithTimeout(ctx, dispatchRetry)
		case quiet:
			wait, done = context.WithTimeout(ctx, dispatchRetry)
		}
		watch.Add(connections)
		_ = watch.WatchCtx(wait)
		done()
	}
}

// grant leases the run to the worker. The worker's session sends the assignment when it sees the lease in the store.
func (c *Coordinator) grant(ctx context.Context, run *trellisv1.Run, worker string) error {
	attempt, _, err := c.propose(ctx, &trellisv1.Command{Change: &trellisv1.Command_Grant{
		Grant: &trellisv1.GrantCommand{Study: run.GetStudy(), Run: run.GetId(), Worker: worker},
	}})
	if err != nil {
		return err
	}
	c.metrics.granted.Inc()
	c.logger.Debug("granted", "study", run.GetStudy(), "run", run.GetId(), "worker", worker, "attempt", attempt)
	return nil
}

// freeWorker returns the connected worker with the most free slots, the first by name among equals, or none. Workers that
// are quiet are passed over, and whether there are any is said: their connections may be dead without anybody having
// noticed, and a run that went from one to the next would be taken for what brings them down.
func (c *Coordinator) freeWorker(watch memdb.WatchSet, snapshot *results.Snapshot) (name string, quiet bool, err error) {
	workers, err := snapshot.Workers(watch)
	if err != nil {
		return "", false, err
	}
	most := uint32(0)
	for _, worker := range workers {
		if worker.GetState() != trellisv1.WorkerState_WORKER_STATE_READY || worker.GetRuns() >= worker.GetSlots() {
			continue
		}
		free := worker.GetSlots() - worker.GetRuns()
		if free <= most || !c.sessions.connected(worker.GetName()) {
			continue
		}
		if c.leases.quiet(worker.GetName()) {
			quiet = true
			continue
		}
		name, most = worker.GetName(), free
	}
	return name, quiet, nil
}
