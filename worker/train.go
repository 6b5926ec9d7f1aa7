package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
	"trellis/trainer/dataset"
)

// Reasons why training is interrupted, besides the end of the attempt.
var (
	errDraining  = errors.New("the worker is draining")
	errSuspended = errors.New("the coordinator can't be reached")
)

// training is what a goroutine is to train next.
type training struct {
	ctx       context.Context
	interrupt context.CancelCauseFunc
	attempt   *attempt
	from      position
}

// keepTraining trains, and then whatever comes next: the stack of a new goroutine has to grow, which takes longer than
// a short run. So there are as many of them as there were attempts at the same time.
func (w *Worker) keepTraining(next training) {
	for more := true; more; next, more = <-w.trainings {
		w.work(next.ctx, next.attempt, next.from)
		next.interrupt(nil)
		next = training{} // It would be kept while there is nothing to do.
	}
}

// work trains an attempt. It waits for a slot, trains, and passes reports and the outcome to Run. It starts from a
// position, or where the assignment says. When it has ended, the uploads of its checkpoints have ended too, unless
// training is only suspended.
func (w *Worker) work(ctx context.Context, a *attempt, from position) {
	last := event{attempt: a, position: from}
	// A stopped attempt may keep its slot for another step while the next attempt is already here, or the slot's core is
	// lent. So wait for a slot.
	w.waiting.Add(1)
	select {
	case w.slots <- struct{}{}:
		w.waiting.Add(-1)
		w.metrics.busy.Inc()
		log := slog.New(attemptHandler{a.span.Logger(w.log).Handler(), a})
		if a.assignment.GetConfig().GetProgram() != nil {
			w.programsRunning.Add(1)
			w.workProgram(ctx, a, log, func() {
				w.programsRunning.Add(-1)
				<-w.slots
				w.metrics.busy.Dec()
			})
			return
		}
		result, err := w.train(ctx, a, &last.position, log)
		<-w.slots
		w.metrics.busy.Dec()
		switch {
		case err == nil:
			log.Log(ctx, logLevel(a.assignment), "trained", "epochs", result.Epochs,
				cmp.Or(a.assignment.GetConfig().GetObjective().GetMetric(), "validation_loss"), result.BestValue)
			last.outcome = a.succeeded(result)
		case ctx.Err() != nil:
			log.Debug("stopped", "epochs", last.position.epoch(), "reason", context.Cause(ctx))
			last.outcome = a.returned()
		case errors.Is(err, errNotServed):
			log.Warn("returned a run: the coordinator does not have what it needs", "error", reason(err))
			last.outcome, last.handedBack = a.returned(), true
		default:
			log.Error("training failed", "error", reason(err))
			last.outcome = a.failed(w.name, err)
			if last.outcome.GetFailure().GetClass() == trellisv1.FailureClass_FAILURE_CLASS_WORKER {
				last.unfit = w.check()
			}
		}
	case <-ctx.Done():
		w.waiting.Add(-1)
		last.outcome = a.returned()
	}
	switch {
	case last.outcome.GetReturn() == nil:
		a.uploads.finish()
	case context.Cause(ctx) == errDraining:
		// The next worker that gets the run should train nothing twice.
		a.uploads.offerLast(last.position.checkpoint)
		a.uploads.finish()
	}
	w.events.put(last)
}

// idleSlots lends a run of a model the cores of slots that have no run. A run that comes meanwhile waits until a core's
// part of a batch or of a pass over images is done.
type idleSlots struct {
	slots chan struct{}
	// waiting is how many runs wait for a slot.
	waiting *atomic.Int32
	// programs is how many programs run. They may use more cores than their slots', so that none is idle for certain.
	programs *atomic.Int32
	// borrowed counts the cores that all runs are lent.
	borrowed prometheus.Gauge
	// most is how many the run may have, and lent how many it has.
	most int32
	lent atomic.Int32
}

// TryTake takes a slot.
func (s *idleSlots) TryTake() bool {
	if s.lent.Load() >= s.most || s.programs.Load() > 0 {
		return false
	}
	select {
	case s.slots <- struct{}{}:
		s.lent.Add(1)
		s.borrowed.Inc()
		return true
	default:
		return false
	}
}

// Return gives a slot back.
func (s *idleSlots) Return() {
	s.lent.Add(-1)
	s.borrowed.Dec()
	<-s.slots
}

// Wanted says that a run waits for a slot, or that a program may use more than its own.
func (s *idleSlots) Wanted() bool { return s.waiting.Load() > 0 || s.programs.Load() > 0 }

// train trains the run and updates position. It turns a panic into an error.
func (w *Worker) train(ctx context.Context, a *attempt, position *position, log *slog.Logger) (
	result trainer.Result, err error,
) {
	defer func() {
		if cause := recover(); cause != nil {
			log.Error("trainer panicked", "panic", cause, "stack", string(debug.Stack()))
			err = fmt.Errorf("trainer panicked: %v", cause)
		}
	}()
	if ctx.Err() != nil {
		// The slot became free at the very moment at which this attempt was interrupted.
		return result, context.Cause(ctx)
	}
	run := a.assignment.GetConfig()
	if run.GetNumerics() != trainer.NumericsVersion {
		return result, fmt.Errorf("run needs version %q of the arithmetic, but this worker has %q", run.GetNumerics(),
			trainer.NumericsVersion)
	}
	if !trainer.Knows(run.GetModel()) { // Other versions may have other models.
		return result, fmt.Errorf("%w: it does not know the model %q", ErrUnfit, run.GetModel())
	}
	config, images := TrainerConfig(run), 0
	if run.GetDataSet() != "" {
		data, err := w.data.get(ctx, run.GetDataSet(), &a.steps)
		if err != nil {
			return result, fmt.Errorf("get data set %s: %w", run.GetDataSet(), err)
		}
		images = data.Size()
		split := run.GetSplit()
		if config.Data, err = data.Split(int(split.GetTrain()), int(split.GetValidation())); err != nil {
			return result, err
		}
	}
	if config.Pretrained, err = w.getPretrained(ctx, run, &a.steps); err != nil {
		return result, err
	}
	config.Steps = &a.steps
	if size, err := config.Size(); err == nil && max(size.Memory, images) >= largeRun {
		defer w.largeEnded.Store(true)
	}
	if threads := w.coresFor(&config, images); threads > 1 {
		config.Cores = &idleSlots{
			slots: w.slots, waiting: &w.waiting, programs: &w.programsRunning, borrowed: w.metrics.borrowed,
			most: int32(threads - 1),
		}
	}
	fetched := false
	if position.checkpoint == nil && a.assignment.GetCheckpoint() != nil {
		if position.checkpoint, err = w.fetchCheckpoint(ctx, a, log); err != nil {
			return result, err
		}
		fetched = position.checkpoint != nil
	}
	result, err = w.trainFrom(ctx, a, &config, position, log)
	if fetched && errors.Is(err, trainer.ErrCheckpointMismatch) {
		w.logUnusable(log, a, err)
		position.checkpoint = nil
		result, err = w.trainFrom(ctx, a, &config, position, log)
	}
	return result, err
}

// threads is how many cores a run of a model uses at most: those of slots.
func (c Config) threads(slots int) int {
	return min(cmp.Or(c.Threads, slots), slots, trainer.MaxCores, runtime.GOMAXPROCS(0))
}

// coresFor is how many cores the run may use, whose images have so many bytes. If the network is large, its memory allows no more than leave room for as many
// such runs side by side as there is if each has one core. The coordinator counts on that: see resources.Room.
func (w *Worker) coresFor(config *trainer.Config, images int) int {
	threads, memory := w.config.threads(cap(w.slots)), int(w.capacity.GetMemory())
	if threads == 1 || memory == 0 {
		return threads
	}
	size, err := config.Size()
	if err != nil || size.Memory < largeRun {
		return threads // What is wrong, training says.
	}
	memory -= min(memory, images)
	runs := max(1, min(memory/size.Memory, cap(w.slots)))
	return min(threads, 1+max(0, memory/runs-size.Memory)/size.CoreMemory)
}

// largeRun is how many bytes a run takes whose memory is looked at, as in resources.Of.
const largeRun = 128 << 20

// releaseDelay is how long after a run that takes much memory the worker gives back what nothing uses any more: the
// next run of the study may begin at once, and use it.
const releaseDelay = 5 * time.Second

// release forgets large data sets of which no attempt trains a run, and gives memory back to the system. Go would keep
// it for minutes, and in an idle process longer, while the coordinator counts on what an idle worker has.
func (w *Worker) release() {
	// What was handled is kept until there is more.
	for _, e := range w.events.take() {
		w.handleEvent(e)
	}
	used := map[string]bool{}
	for _, a := range w.attempts {
		used[a.assignment.GetConfig().GetDataSet()] = true
	}
	w.data.trim(func(digest string, data *dataset.Data) bool { return used[digest] || data.Size() < largeRun })
	w.goroutines.Go(w.config.release)
}

// fewReports is for how many reports there is room from the beginning.
const fewReports = 16

// trainFrom trains the run from a position.
func (w *Worker) trainFrom(
	ctx context.Context, a *attempt, config *trainer.Config, position *position, log *slog.Logger,
) (trainer.Result, error) {
	log.Log(ctx, logLevel(a.assignment), "training", "from_epoch", position.epoch()+1)
	a.uploads.begin(config, time.Now())
	config.Resume = position.checkpoint
	reports := slices.Grow(slices.Clip(position.reports), max(0, min(config.MaxEpochs-position.epoch(), fewReports)))
	config.Checkpoint = func(checkpoint *trainer.Checkpoint) error {
		if err := a.uploads.offer(ctx, checkpoint); err != nil {
			return err
		}
		if position.checkpoint == nil {
			position.checkpoint = new(trainer.Checkpoint)
		}
		checkpoint.CopyTo(position.checkpoint)
		position.reports = reports
		return nil
	}
	images := float64(config.Data.Train.Len())
	ctx, training := a.span.Train(ctx, position.epoch())
	result, err := w.config.train(ctx, *config, func(report trainer.Report) error {
		training.Epoch(report.Epoch, report.ValidationLoss)
		reports = append(reports, report)
		w.metrics.epochs.Inc()
		if images > 0 {
			w.metrics.images.Add(images)
		}
		w.events.put(event{attempt: a, report: report})
		return nil
	})
	training.End(ctx, err)
	return result, err
}

// attemptHandler adds to what is logged which attempt it is about. A Logger's With would format it for every run, and
// most runs log nothing.
type attemptHandler struct {
	slog.Handler
	attempt *attempt
}

func (h attemptHandler) with() slog.Handler {
	its := h.attempt.assignment
	return h.Handler.WithAttrs([]slog.Attr{
		slog.String("study", its.GetStudy()), slog.String("run", its.GetRun()),
		slog.Uint64("attempt", its.GetAttempt()),
	})
}

// Handle implements slog.Handler.
func (h attemptHandler) Handle(ctx context.Context, line slog.Record) error {
	return h.with().Handle(ctx, line)
}

// WithAttrs implements slog.Handler.
func (h attemptHandler) WithAttrs(attributes []slog.Attr) slog.Handler {
	return h.with().WithAttrs(attributes)
}

// WithGroup implements slog.Handler.
func (h attemptHandler) WithGroup(name string) slog.Handler { return h.with().WithGroup(name) }

// logLevel returns the level at which ordinary runs are logged. There may be thousands of synthetic runs a second.
func logLevel(assignment *trellisv1.Assignment) slog.Level {
	if assignment.GetConfig().GetModel() == trainer.Synthetic {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// fetchCheckpoint gets the checkpoint that the assignment names. It returns nil if there is no usable checkpoint: the
// run then starts from the beginning. The error is that of ctx.
func (w *Worker) fetchCheckpoint(ctx context.Context, a *attempt, log *slog.Logger) (*trainer.Checkpoint, error) {
	named := a.assignment.GetCheckpoint()
	var content []byte
	err := retry(ctx, func() (err error) {
		a.steps.Add(1)
		content, err = w.artifacts.download(ctx, named.GetSha256(), named.GetSize(), func() { a.steps.Add(1) })
		return err
	}, func(err error) {
		log.Warn("could not get the checkpoint to resume from; will retry", "epoch", named.GetEpoch(),
			"sha256", named.GetSha256(), "error", reason(err))
	})
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	checkpoint := new(trainer.Checkpoint)
	if err == nil {
		err = checkpoint.UnmarshalBinary(content)
	}
	// A checkpoint of a later epoch than those recorded would leave a gap that could never be filled.
	limit := int(min(a.assignment.GetEpochs(), a.assignment.GetConfig().GetParameters().GetMaxEpochs()))
	if err == nil && checkpoint.Epoch() > limit {
		err = fmt.Errorf("it is of epoch %d, want at most %d", checkpoint.Epoch(), limit)
	}
	if err != nil {
		w.logUnusable(log, a, err)
		return nil, nil
	}
	return checkpoint, nil
}

func (w *Worker) logUnusable(log *slog.Logger, a *attempt, err error) {
	named := a.assignment.GetCheckpoint()
	log.Warn("can't resume from the checkpoint; starting at epoch 1", "epoch", named.GetEpoch(),
		"sha256", named.GetSha256(), "error", reason(err))
}

func maximizes(of interface{ GetDirection() trellisv1.Direction }) bool {
	return of.GetDirection() == trellisv1.Direction_DIRECTION_MAXIMIZE
}

// TrainerConfig returns the trainer's configuration for the run, without its data and pretrained weights.
func TrainerConfig(run *trellisv1.RunConfig) trainer.Config {
	parameters := run.GetParameters()
	config := trainer.Config{
		Model:     run.GetModel(),
		Seed:      parameters.GetSeed(),
		MaxEpochs: int(parameters.GetMaxEpochs()),
		EarlyStopping: trainer.EarlyStopping{
			Patience: int(run.GetEarlyStopping().GetPatience()),
			MinDelta: run.GetEarlyStopping().GetMinDelta(),
			Metric:   run.GetEarlyStopping().GetMetric(),
			Maximize: maximizes(run.GetEarlyStopping()),
		},
		EpochTime: run.GetSynthetic().GetEpochTime().AsDuration(),
	}
	if o := run.GetObjective(); o != nil {
		config.Objective = trainer.Objective{
			Metric: o.GetMetric(), Maximize: maximizes(o),
			Latest: o.GetOf() != trellisv1.Objective_SUMMARY_UNSPECIFIED && o.GetOf() != trellisv1.Objective_SUMMARY_BEST,
		}
	}
	if input := run.GetInput(); input != nil {
		config.Input = trainer.Input{
			Image: trainer.Image{
				Channels: int(input.GetChannels()), Height: int(input.GetHeight()), Width: int(input.GetWidth()),
			},
			Classes: int(input.GetClasses()),
		}
	}
	for name, value := range parameters.GetValues() {
		if text, is := value.GetKind().(*trellisv1.Value_Text); is {
			config.SetText(name, text.Text)
		} else {
			config.Set(name, parameters.Numeric(name))
		}
	}
	for _, epoch := range run.GetMilestones() {
		config.Milestones = append(config.Milestones, int(epoch))
	}
	return config
}
