package lead

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"trellis/coordinator/spans"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/resources"
	"trellis/results/trajectory"
)

// dispatchInterval is how often the dispatcher looks without being woken: after the log or the store has refused a
// grant, and until quiet workers are heard again.
const dispatchInterval = time.Second

// dispatcher grants PENDING runs to workers with free slots, the longest runs of the oldest study first: a long run
// that starts last would keep one worker busy while the others have nothing left to do.
type dispatcher struct {
	store    Snapshots
	log      proposer
	sessions connections
	leases   silences
	failing  *failing
	data     absences
	grants   prometheus.Counter
	logger   *slog.Logger
	// woken is rung when there may be runs and free slots.
	woken  bell
	chosen chosen
	spans  *spans.Spans
}

// connections says which workers are connected.
type connections interface {
	connected(worker string) bool
}

// silences says which workers have not been heard from recently.
type silences interface {
	quiet(worker *trellisv1.Worker) bool
	// begin begins the lease of a worker that was granted its first run.
	begin(worker string)
}

var (
	_ connections = (*sessions)(nil)
	_ silences    = (*leases)(nil)
)

func (d *dispatcher) run(ctx context.Context) {
	d.failing.restart()
	ticker := time.NewTicker(dispatchInterval)
	defer ticker.Stop()
	for ctx.Err() == nil {
		if d.fill(ctx) {
			continue
		}
		select {
		case <-ctx.Done():
		case <-d.woken:
		case <-ticker.C:
		}
	}
}

// fill grants runs to free slots, and says whether there may be more of both.
func (d *dispatcher) fill(ctx context.Context) bool {
	choice := d.choose(nil, func(p *pairing) results.Choice { return p })
	if choice == nil {
		return false
	}
	defer choice.done()
	if err := d.grant(ctx, choice); err != nil {
		d.logger.Debug("grants were refused", "grants", len(choice.runs), "error", err)
		return false
	}
	return true
}

// choose pairs the runs that come next with free slots. Besides those that are free, there are so many of each worker that
// become free with what is about to be recorded. It returns nil if there are no runs, or no slots for them.
func (d *dispatcher) choose(ending map[string]uint32, rules func(*pairing) results.Choice) *choice {
	d.chosen.mu.Lock()
	defer d.chosen.mu.Unlock()
	// What was chosen before is in this snapshot, or else it is among the chosen.
	snapshot := d.store.Snapshot()
	runs, workers, err := d.plan(snapshot, ending, rules)
	if err != nil {
		d.logger.Error("could not find runs and free workers", "error", err)
	}
	if len(runs) == 0 {
		return nil
	}
	choice := d.chosen.add(runs, grantsOf(snapshot, runs, workers), ending)
	choice.made = d.spans.Now()
	return choice
}

// plan pairs the runs that come next with the workers of slots. d.chosen.mu must be held.
func (d *dispatcher) plan(
	snapshot *results.Snapshot, ending map[string]uint32, rules func(*pairing) results.Choice,
) (runs []*trellisv1.Run, workers []string, err error) {
	if runs, err = snapshot.NextRuns(nil, 1); err != nil || len(runs) == 0 {
		return nil, nil, err
	}
	free, err := wanted(snapshot)
	if err != nil {
		return nil, nil, err
	}
	for name := range ending {
		worker, err := snapshot.Worker(nil, name)
		if err != nil {
			return nil, nil, err
		}
		if worker.GetState() == trellisv1.WorkerState_WORKER_STATE_READY && worker.GetRuns() >= worker.GetSlots() {
			free = append(free, worker) // It is not free yet.
		}
	}
	offers := d.freeSlots(free, ending)
	if len(offers) == 0 {
		return nil, nil, nil
	}
	return d.pair(snapshot, offers, rules)
}

// wanted returns the workers with free slots that serve a study with runs that wait: any number of others may be idle.
func wanted(snapshot *results.Snapshot) (free []*trellisv1.Worker, err error) {
	owners, err := snapshot.OwnersOfWorkers()
	if err != nil {
		return nil, err
	}
	for _, name := range owners {
		study, err := snapshot.Study(nil, name)
		if errors.Is(err, results.ErrNotFound) || err == nil && !waits(study) {
			continue
		}
		own, unknown := snapshot.FreeWorkersOf(name)
		if err = errors.Join(err, unknown); err != nil {
			return nil, err
		}
		free = append(free, resources.Serving(study, own)...)
	}
	running, err := snapshot.RunningStudies()
	if err != nil {
		return nil, err
	}
	asked, last := map[string]map[string]string{}, map[string]string(nil)
	for study := range running {
		labels := study.GetSpec().GetWorkers()
		if !waits(study) || last != nil && maps.Equal(labels, last) {
			continue
		}
		if len(labels) == 0 { // It is served by all that are there for all.
			shared, err := snapshot.FreeWorkersOf("")
			return append(free, shared...), err
		}
		asked[resources.Of(study).Asks()], last = labels, labels
	}
	with := map[string]bool{}
	for _, asks := range slices.Sorted(maps.Keys(asked)) {
		shared, err := snapshot.FreeWorkersWith(asked[asks])
		if err != nil {
			return nil, err
		}
		for _, worker := range shared {
			if !with[worker.GetName()] {
				free, with[worker.GetName()] = append(free, worker), true
			}
		}
	}
	return free, nil
}

// waits says whether a study has runs that wait for a worker, as far as its progress says.
func waits(study *trellisv1.Study) bool {
	p := study.GetProgress()
	return study.GetState() == trellisv1.StudyState_STUDY_STATE_RUNNING &&
		(trajectory.OpenRuns(p) > p.GetRunsRunning() || p.GetAuditsDue() > 0)
}

// pair chooses runs for slots.
func (d *dispatcher) pair(
	snapshot *results.Snapshot, offers []*offer, choice func(*pairing) results.Choice,
) (runs []*trellisv1.Run, workers []string, err error) {
	var unknown error
	ready := sync.OnceValue(func() (ready []*trellisv1.Worker) {
		ready, unknown = snapshot.ReadyWorkers()
		return ready
	})
	pairs := &pairing{
		failing: d.failing, data: d.data, chosen: d.chosen.runs, now: time.Now(), offers: offers, ready: ready,
		packing: newPacking(snapshot, ready),
	}
	runs, err = snapshot.ChooseRuns(min(pairs.left(), results.MaxGrants), choice(pairs))
	if err = errors.Join(err, unknown, pairs.packing.err); err != nil {
		return nil, nil, err
	}
	return runs, pairs.workers, nil
}

// freeSlots has the free slots that a run may be granted to, as offers of workers.
//
// Workers that are quiet are passed over: their connections may be dead without anybody having noticed, and a run that
// went from one to the next would be taken for what brings them down.
func (d *dispatcher) freeSlots(workers []*trellisv1.Worker, ending map[string]uint32) (offers []*offer) {
	for _, worker := range workers {
		name := worker.GetName()
		taken := worker.GetRuns() - min(worker.GetRuns(), ending[name]) + d.chosen.slots[name]
		if taken >= worker.GetSlots() || !d.sessions.connected(name) || d.leases.quiet(worker) {
			continue
		}
		offers = append(offers, &offer{worker, worker.GetSlots() - taken})
	}
	return offers
}

// grant leases the runs of a choice. The workers' sessions send the assignments when they see the leases in the store. It
// returns an error if a grant was refused.
func (d *dispatcher) grant(ctx context.Context, choice *choice) error {
	answer, err := d.log.ProposePatiently(ctx, &trellisv1.Command{Change: &trellisv1.Command_Grant{
		Grant: &trellisv1.GrantCommand{Grants: choice.grants},
	}})
	if err != nil {
		return err
	}
	refusals, ok := answer.([]error)
	if !ok || len(refusals) != len(choice.grants) {
		panic(fmt.Sprintf("lead: the state machine answered %d grants with %T", len(choice.grants), answer))
	}
	return d.count(choice, refusals)
}

// grantsOf leases each run to the worker at its place.
func grantsOf(snapshot *results.Snapshot, runs []*trellisv1.Run, workers []string) []*trellisv1.Grant {
	grants := make([]*trellisv1.Grant, len(runs))
	for i, run := range runs {
		grants[i] = &trellisv1.Grant{Study: run.GetStudy(), Run: run.GetId(), Worker: workers[i]}
		if place, err := snapshot.Place(run); err == nil {
			grants[i].Place = &place
		}
	}
	return grants
}

// count counts the runs that were granted, and begins the leases of workers that held none. It returns an error if a grant
// was refused.
func (d *dispatcher) count(choice *choice, refusals []error) (err error) {
	granted, its, grants := 0, map[string]uint32{}, choice.grants
	for i, run := range choice.runs {
		if refusals[i] != nil {
			err = refusals[i]
			continue
		}
		granted++
		its[grants[i].GetWorker()]++
		if run.GetEpochs() > 0 {
			d.logger.Info("run goes on", "study", run.GetStudy(), "run", run.GetId(), "worker", grants[i].GetWorker(),
				"after epoch", trajectory.LastCheckpoint(run).GetEpoch(), "recorded", run.GetEpochs())
		}
	}
	d.grants.Add(float64(granted))
	d.spans.Granted(choice.made, choice.runs, grants, refusals)
	snapshot := d.store.Snapshot()
	for name, count := range its {
		if worker, err := snapshot.Worker(nil, name); err == nil && worker.GetRuns() <= count {
			d.leases.begin(name)
		}
	}
	return err
}

// waker can be told that there may be something to do.
type waker interface {
	wake()
}

// bell wakes one loop. It has an element when the loop must look.
type bell chan struct{}

var _ waker = bell(nil)

func newBell() bell { return make(bell, 1) }

// wake makes the loop look. It never waits.
func (b bell) wake() {
	select {
	case b <- struct{}{}:
	default:
	}
}
