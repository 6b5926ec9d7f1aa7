package lead

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/auditing"
	"trellis/results/grid"
	"trellis/results/pruning"
	"trellis/results/resources"
	"trellis/results/trajectory"
)

// send welcomes the worker and then keeps it told: of acknowledgements as they come, of heartbeats that have arrived,
// and of the attempts that it holds: as they are granted, and whenever the store may say otherwise than the worker has
// been told, so that an assignment or a stop order that was lost with an earlier stream is simply sent again.
func (h *host) send(
	ctx context.Context, session *session, hello *trellisv1.Hello, stream trellisv1.WorkerService_SessionServer,
) error {
	welcome := &trellisv1.Welcome{
		HeartbeatMilliseconds: uint32(h.lease.Milliseconds() / heartbeatsPerLease),
		LeaseMilliseconds:     uint32(h.lease.Milliseconds()),

		CheckpointMilliseconds: uint32(h.checkpointInterval.Milliseconds()),
	}
	holding, err := h.attempts(session.worker)
	if err != nil {
		return err
	}
	for _, attempt := range hello.GetAttempts() {
		if holding[attempt] != nil {
			session.tell(attempt)
			welcome.Attempts = append(welcome.Attempts, attempt)
		}
	}
	message := &trellisv1.SessionResponse{Message: &trellisv1.SessionResponse_Welcome{Welcome: welcome}}
	if err := stream.Send(message); err != nil {
		return err
	}
	session.recheck()
	unserved := &unserved{worker: session.worker}
	own := &ownStudy{name: hello.GetStudy()}
	var look <-chan time.Time
	if own.name != "" {
		ticker := time.NewTicker(ownStudyInterval)
		defer ticker.Stop()
		look = ticker.C
		if err := h.tellOwnStudy(own, stream); err != nil {
			return err
		}
	}
	for {
		needs, changed := h.asked.now()
		if len(needs) > 0 || len(unserved.told) > 0 || unserved.memory > 0 {
			if err := h.tellUnserved(unserved, needs, stream); err != nil {
				return err
			}
		}
		select {
		case <-session.notice:
		case <-changed:
			continue
		case <-look:
			if err := h.tellOwnStudy(own, stream); err != nil {
				return err
			}
			continue
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := h.pass(session, session.take(), stream); err != nil {
			return err
		}
	}
}

// ownStudyInterval is how often is looked how the only study stands whose runs a worker takes.
const ownStudyInterval = time.Second

// ownStudy is what a worker was told of that study.
type ownStudy struct {
	name  string
	told  bool
	state trellisv1.StudyState
}

// tellOwnStudy tells the worker how its only study stands, unless it knows.
func (h *host) tellOwnStudy(own *ownStudy, stream trellisv1.WorkerService_SessionServer) error {
	study, err := h.store.Snapshot().Study(nil, own.name)
	if err != nil && !errors.Is(err, results.ErrNotFound) {
		return err
	}
	if own.told && study.GetState() == own.state {
		return nil
	}
	own.told, own.state = true, study.GetState()
	return stream.Send(&trellisv1.SessionResponse{Message: &trellisv1.SessionResponse_OwnStudy{
		OwnStudy: &trellisv1.OwnStudy{State: own.state},
	}})
}

// askedInterval is how often is looked what the studies ask for whose runs wait, and maxUnserved how many different
// labels a worker is told.
const (
	askedInterval = 10 * time.Second
	maxUnserved   = 8
)

// asked has what the studies ask for whose runs wait: the least for each combination of labels. It has nothing if one
// of them asks for nothing. One of the leader's loops looks, and sessions wait for a change: any number of workers may
// be idle.
type asked struct {
	store  Snapshots
	logger *slog.Logger

	mu    sync.Mutex
	needs []resources.Need
	// changed is closed when the needs are replaced.
	changed chan struct{}
}

func newAsked(store Snapshots, logger *slog.Logger) *asked {
	return &asked{store: store, logger: logger, changed: make(chan struct{})}
}

func (a *asked) run(ctx context.Context) {
	ticker := time.NewTicker(askedInterval)
	defer ticker.Stop()
	for {
		if err := a.look(); err != nil {
			a.logger.Warn("could not find what the studies ask for; will retry", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// now returns what the studies ask for, which must not be changed, and a channel that is closed once that is something
// else.
func (a *asked) now() (needs []resources.Need, changed <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.needs, a.changed
}

// look finds what the studies ask for.
func (a *asked) look() error {
	studies, err := a.store.Snapshot().RunningStudies()
	if err != nil {
		return err
	}
	least := map[string]resources.Need{}
	for study := range studies {
		if !waits(study) {
			continue
		}
		need := resources.Of(study)
		asks := need.Asks()
		if asks == "" && bytesOf(need) == 0 {
			least = nil
			break
		}
		if before, seen := least[asks]; !seen || bytesOf(need) < bytesOf(before) {
			least[asks] = need
		}
	}
	var needs []resources.Need
	for _, asks := range slices.Sorted(maps.Keys(least)) {
		needs = append(needs, least[asks])
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !slices.EqualFunc(needs, a.needs, func(x, y resources.Need) bool {
		return x.Asks() == y.Asks() && bytesOf(x) == bytesOf(y) && (x.Study == y.Study || bytesOf(x) == 0)
	}) {
		a.needs = needs
		close(a.changed)
		a.changed = make(chan struct{})
	}
	return nil
}

// bytesOf is how much memory a model's run and its images take, as far as anybody looks. A program is not said to need
// any: what it lacks may be something else.
func bytesOf(need resources.Need) uint64 {
	if need.Program {
		return 0
	}
	return need.Memory + need.Data
}

// unserved is what a worker was told of labels, or memory, that it lacks.
type unserved struct {
	worker string
	told   []*trellisv1.Labels
	memory uint64
	study  string
}

// tellUnserved tells a worker without runs if nothing but labels, or memory, keeps it from runs that wait, unless it
// knows.
func (h *host) tellUnserved(
	unserved *unserved, needs []resources.Need, stream trellisv1.WorkerService_SessionServer,
) error {
	worker, err := h.store.Snapshot().Worker(nil, unserved.worker)
	if err != nil || worker.GetRuns() > 0 || worker.GetStudy() != "" {
		return nil // Of its only study, it is told otherwise.
	}
	var lacks []*trellisv1.Labels
	memory, study, served := uint64(0), "", false
	for _, need := range needs {
		if its := bytesOf(need); need.Serves(worker) {
			served = served || its == 0 || need.Suits(worker)
			if memory == 0 || its < memory {
				memory, study = its, need.Study
			}
		}
	}
	if served {
		memory, study = 0, ""
	} else if memory == 0 {
		for _, need := range needs[:min(len(needs), maxUnserved)] {
			lacks = append(lacks, &trellisv1.Labels{Labels: need.Labels})
		}
	}
	same := func(a, b *trellisv1.Labels) bool { return maps.Equal(a.GetLabels(), b.GetLabels()) }
	if slices.EqualFunc(lacks, unserved.told, same) && memory == unserved.memory && study == unserved.study {
		return nil
	}
	unserved.told, unserved.memory, unserved.study = lacks, memory, study
	return stream.Send(&trellisv1.SessionResponse{Message: &trellisv1.SessionResponse_Unserved{
		Unserved: &trellisv1.Unserved{Asked: lacks, Memory: memory, Study: study},
	}})
}

// pass sends the news, and with them what the worker has not been told of the attempts that it holds: of those that it
// was granted, or of all.
func (h *host) pass(session *session, news news, stream trellisv1.WorkerService_SessionServer) error {
	for _, request := range news.asked {
		message := &trellisv1.SessionResponse{Message: &trellisv1.SessionResponse_Output{Output: request}}
		if err := stream.Send(message); err != nil {
			return err
		}
	}
	out := &outbox{stream: stream}
	if news.renewal != nil {
		// First: a worker that was idle learns with its assignment that its lease is young.
		if err := out.add(&trellisv1.SessionResponse{
			Message: &trellisv1.SessionResponse_Renewal{Renewal: news.renewal},
		}, smallResponse); err != nil {
			return err
		}
	}
	for _, ack := range news.acks {
		if err := out.add(&trellisv1.SessionResponse{
			Message: &trellisv1.SessionResponse_Acknowledgement{Acknowledgement: ack},
		}, smallResponse); err != nil {
			return err
		}
	}
	var err error
	if news.rechecking {
		err = h.tellAll(session, out)
	} else if len(news.granted) > 0 {
		err = h.tellGranted(session, news.granted, out)
	}
	if err != nil {
		return err
	}
	return out.flush()
}

const (
	// outboxBytes is about how many bytes of responses are sent in one message.
	outboxBytes = 128 << 10
	// plainAssignment is about what an assignment takes that has no program and no history, besides its milestones,
	// each of which takes milestoneBytes at most.
	plainAssignment = 512
	milestoneBytes  = 5
	// smallResponse is what an acknowledgement or a stop order takes at most, but for a reason.
	smallResponse = 64
)

// outbox sends responses in batches.
type outbox struct {
	stream  trellisv1.WorkerService_SessionServer
	waiting []*trellisv1.SessionResponse
	bytes   int
}

// add sends a response of so many bytes, at the latest when the outbox is flushed.
func (o *outbox) add(response *trellisv1.SessionResponse, bytes int) error {
	o.waiting = append(o.waiting, response)
	o.bytes += bytes
	if o.bytes < outboxBytes {
		return nil
	}
	return o.flush()
}

// flush sends what waits.
func (o *outbox) flush() error {
	waiting := o.waiting
	o.waiting, o.bytes = nil, 0
	switch len(waiting) {
	case 0:
		return nil
	case 1:
		return o.stream.Send(waiting[0])
	default:
		return o.stream.Send(&trellisv1.SessionResponse{Message: &trellisv1.SessionResponse_Batch{
			Batch: &trellisv1.SessionResponses{Responses: waiting},
		}})
	}
}

// attempts returns the runs that the worker holds, by attempt.
func (h *host) attempts(worker string) (map[uint64]*trellisv1.Run, error) {
	runs, err := h.store.Snapshot().RunsHeldBy(nil, worker)
	if err != nil {
		return nil, err
	}
	holding := make(map[uint64]*trellisv1.Run, len(runs))
	for _, run := range runs {
		holding[run.GetAttempt()] = run
	}
	return holding, nil
}

// tellAll compares the store with what the worker has been told, and sends the difference.
func (h *host) tellAll(session *session, out *outbox) error {
	holding, err := h.attempts(session.worker)
	if err != nil {
		return err
	}
	for _, attempt := range session.gone(holding) {
		stop := &trellisv1.Stop{Attempt: attempt, Reason: "the run is no longer this worker's: its study was paused, " +
			"canceled or deleted, or its lease ran out"}
		message := &trellisv1.SessionResponse{Message: &trellisv1.SessionResponse_Stop{Stop: stop}}
		if err := out.add(message, proto.Size(message)); err != nil {
			return err
		}
	}
	snapshot := h.store.Snapshot()
	for _, run := range holding {
		if err := h.assign(session, snapshot, run, out); err != nil {
			return err
		}
	}
	return nil
}

// tellGranted sends the runs that were just granted to the worker, if it still holds them.
func (h *host) tellGranted(session *session, granted []*trellisv1.Grant, out *outbox) error {
	snapshot := h.store.Snapshot()
	for _, grant := range granted {
		run, err := snapshot.Granted(grant)
		if errors.Is(err, results.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if run.GetWorker() != session.worker {
			continue
		}
		if err := h.assign(session, snapshot, run, out); err != nil {
			return err
		}
	}
	return nil
}

// assign sends a run that the worker holds, unless it has been told of the attempt.
func (h *host) assign(
	session *session, snapshot *results.Snapshot, run *trellisv1.Run, out *outbox,
) error {
	if session.knows(run.GetAttempt()) {
		return nil
	}
	study, err := snapshot.Study(nil, run.GetStudy())
	if errors.Is(err, results.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	until := pruning.Stage(study, run)
	if auditing.BeingAudited(run) {
		until = run.GetParameters().GetMaxEpochs()
	}
	config := grid.RunConfigFor(study, run, h.numerics, until)
	if shorter := auditing.ShorterMaxEpochs(run); shorter > 0 {
		config.Parameters = proto.CloneOf(config.Parameters)
		config.Parameters.MaxEpochs = shorter
	}
	if config.Milestones, err = askedOf(snapshot, run, config); err != nil {
		return err
	}
	assignment := &trellisv1.Assignment{
		Study: run.GetStudy(), Run: run.GetId(), Attempt: run.GetAttempt(), Config: config,
		Checkpoint: trajectory.LastCheckpoint(run), Epochs: run.GetEpochs(),
		Traceparent: h.spans.Traceparent(study, run.GetId()),
	}
	if program := config.GetProgram(); program.GetResumable() && assignment.Checkpoint != nil {
		if assignment.History, err = historyOf(snapshot, run, config, assignment.Checkpoint.GetEpoch()); err != nil {
			return err
		}
	}
	if auditing.FromStart(run) {
		// Whatever is recorded is compared with what the attempt reports, from the first epoch on.
		assignment.Checkpoint, assignment.Epochs, assignment.FromStart = nil, 0, true
	}
	session.tell(run.GetAttempt())
	message := &trellisv1.SessionResponse{Message: &trellisv1.SessionResponse_Assignment{Assignment: assignment}}
	return out.add(message, aboutSize(assignment))
}

// aboutSize returns about how many bytes an assignment takes. To compute its size takes as long as to encode it.
func aboutSize(assignment *trellisv1.Assignment) int {
	if config := assignment.GetConfig(); config.GetProgram() == nil && assignment.GetHistory() == nil {
		return plainAssignment + milestoneBytes*len(config.GetMilestones())
	}
	return proto.Size(assignment)
}

// askedOf returns the epochs at which an attempt must report the test loss: those at which trials of any study end.
func askedOf(snapshot *results.Snapshot, run *trellisv1.Run, config *trellisv1.RunConfig) ([]uint32, error) {
	asked, err := snapshot.AskedEpochs(run)
	if err != nil {
		return nil, err
	}
	reached, _ := slices.BinarySearch(asked, config.GetParameters().GetMaxEpochs()+1)
	return asked[:reached], nil
}
