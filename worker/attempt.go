package worker

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync/atomic"

	"google.golang.org/protobuf/types/known/durationpb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
)

// maxMessage is how many bytes of an error's text are sent to the coordinator, which keeps it for good.
const maxMessage = 2048

// attempt is a run that the coordinator has leased to this worker, and what the worker owes it for that. It ends when
// its outcome is acknowledged or when the coordinator takes it away.
type attempt struct {
	// assignment is never changed.
	assignment *trellisv1.Assignment
	// steps is counted by the trainer, and by downloads before it begins, and read by Run.
	steps atomic.Uint64
	// cancel stops the training.
	cancel context.CancelFunc

	// The rest is Run's.

	// reports are those that have not been acknowledged, in the order of their epochs. The first sent of them have been
	// given to the current session.
	reports []*trellisv1.Report
	sent    int
	// outcome is nil until the training has ended. outcomeSent says that the current session has it.
	outcome     *trellisv1.Outcome
	outcomeSent bool
}

func newAttempt(assignment *trellisv1.Assignment) *attempt {
	return &attempt{assignment: assignment, cancel: func() {}}
}

// number is the attempt's fencing token.
func (a *attempt) number() uint64 { return a.assignment.GetAttempt() }

// resend forgets what has been given to a session that is gone.
func (a *attempt) resend() {
	a.sent, a.outcomeSent = 0, false
}

// acknowledge forgets the reports up to an epoch.
func (a *attempt) acknowledge(epoch uint32) {
	covered := 0
	for covered < len(a.reports) && a.reports[covered].GetEpoch() <= epoch {
		covered++
	}
	clear(a.reports[:covered])
	a.reports = a.reports[covered:]
	a.sent = max(a.sent-covered, 0)
}

// newOutcome is an outcome of the attempt without a result.
func (a *attempt) newOutcome() *trellisv1.Outcome {
	return &trellisv1.Outcome{Study: a.assignment.GetStudy(), Run: a.assignment.GetRun(), Attempt: a.number()}
}

// returned hands the run back.
func (a *attempt) returned() *trellisv1.Outcome {
	outcome := a.newOutcome()
	outcome.Result = &trellisv1.Outcome_Return_{Return: &trellisv1.Outcome_Return{}}
	return outcome
}

func (a *attempt) succeeded(result trainer.Result) *trellisv1.Outcome {
	outcome := a.newOutcome()
	outcome.Result = &trellisv1.Outcome_Success_{Success: &trellisv1.Outcome_Success{
		StopReason: stopReasons[result.StopReason],
		Epochs:     uint32(result.Epochs),
	}}
	return outcome
}

// failed says that the worker, whose name is given, could not train the run.
func (a *attempt) failed(worker string, err error) *trellisv1.Outcome {
	// Text that is not UTF-8 can't be sent: the session would end over it, again and again.
	message := strings.ToValidUTF8(err.Error(), "\uFFFD")
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "") + "..."
	}
	outcome := a.newOutcome()
	outcome.Result = &trellisv1.Outcome_Failure{Failure: &trellisv1.Failure{
		Attempt: a.number(),
		Worker:  worker,
		Class:   trellisv1.FailureClass_FAILURE_CLASS_TRAINER,
		Message: message,
	}}
	return outcome
}

var stopReasons = map[trainer.StopReason]trellisv1.StopReason{
	trainer.MaxEpochs:    trellisv1.StopReason_STOP_REASON_MAX_EPOCHS,
	trainer.EarlyStopped: trellisv1.StopReason_STOP_REASON_EARLY_STOPPING,
	trainer.Diverged:     trellisv1.StopReason_STOP_REASON_DIVERGED,
}

// event is what an attempt's goroutine tells Run: an epoch's report, or at last, once, the outcome.
type event struct {
	attempt *attempt
	report  *trellisv1.Report
	outcome *trellisv1.Outcome
	// position comes with the outcome: how far the training came.
	position position
}

// work is an attempt's goroutine: it waits for a slot, trains, and passes reports and the outcome to Run. It starts
// where an earlier attempt at the run was interrupted, if there is such a position.
func (w *Worker) work(ctx context.Context, a *attempt, from position) {
	log := w.log.With("study", a.assignment.GetStudy(), "run", a.assignment.GetRun(), "attempt", a.number())
	last := event{attempt: a, position: from}
	// A stopped attempt may keep its slot for another step while the next one is here already. Who has no slot waits.
	select {
	case w.slots <- struct{}{}:
		w.metrics.busy.Inc()
		log.Info("training", "from_epoch", from.epoch()+1)
		result, err := w.train(ctx, a, &last.position, log)
		<-w.slots
		w.metrics.busy.Dec()
		switch {
		case err == nil:
			log.Info("trained", "epochs", result.Epochs, "validation_loss", result.BestValidationLoss)
			last.outcome = a.succeeded(result)
		case ctx.Err() != nil:
			log.Debug("stopped", "epochs", last.position.epoch())
			last.outcome = a.returned()
		default:
			log.Error("training failed", "error", err)
			last.outcome = a.failed(w.name, err)
		}
	case <-ctx.Done():
		last.outcome = a.returned()
	}
	// Run takes events until every attempt has ended.
	w.events <- last
}

// train trains the run and keeps position up to date. A panic is an error like any other.
func (w *Worker) train(ctx context.Context, a *attempt, position *position, log *slog.Logger) (
	result trainer.Result, err error,
) {
	defer func() {
		if cause := recover(); cause != nil {
			log.Error("trainer panicked", "panic", cause, "stack", string(debug.Stack()))
			err = fmt.Errorf("trainer panicked: %v", cause)
		}
	}()
	run := a.assignment.GetConfig()
	if run.GetNumerics() != trainer.NumericsVersion {
		return result, fmt.Errorf("run needs version %q of the arithmetic, this worker has %q", run.GetNumerics(),
			trainer.NumericsVersion)
	}
	config := trainerConfig(run)
	if run.GetDataSet() != "" {
		data, err := w.data.get(ctx, run.GetDataSet(), &a.steps)
		if err != nil {
			return result, fmt.Errorf("get data set %s: %w", run.GetDataSet(), err)
		}
		split := run.GetSplit()
		if config.Data, err = data.Split(int(split.GetTrain()), int(split.GetValidation())); err != nil {
			return result, err
		}
	}
	config.Steps = &a.steps
	config.Resume = position.checkpoint
	reports := position.reports
	config.Checkpoint = func(checkpoint *trainer.Checkpoint) error {
		if position.checkpoint == nil {
			position.checkpoint = new(trainer.Checkpoint)
		}
		checkpoint.CopyTo(position.checkpoint)
		position.reports = reports
		return nil
	}
	return w.config.train(ctx, config, func(r trainer.Report) error {
		report := a.report(r)
		reports = append(reports, report)
		w.metrics.epochs.Inc()
		w.metrics.images.Add(float64(config.Data.Train.Len()))
		select {
		case w.events <- event{attempt: a, report: report}:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

func (a *attempt) report(r trainer.Report) *trellisv1.Report {
	return &trellisv1.Report{
		Study:          a.assignment.GetStudy(),
		Run:            a.assignment.GetRun(),
		Attempt:        a.number(),
		Epoch:          uint32(r.Epoch),
		TrainLoss:      r.TrainLoss,
		ValidationLoss: r.ValidationLoss,
		TestLoss:       r.TestLoss,
		Elapsed:        durationpb.New(r.Elapsed),
	}
}

// trainerConfig is the run in the trainer's terms, without its data.
func trainerConfig(run *trellisv1.RunConfig) trainer.Config {
	parameters := run.GetParameters()
	config := trainer.Config{
		Model:        run.GetModel(),
		LatentDim:    int(parameters.GetLatentDim()),
		LearningRate: parameters.GetLearningRate(),
		WeightDecay:  parameters.GetWeightDecay(),
		BatchSize:    int(parameters.GetBatchSize()),
		Seed:         parameters.GetSeed(),
		MaxEpochs:    int(parameters.GetMaxEpochs()),
		EarlyStopping: trainer.EarlyStopping{
			Patience: int(run.GetEarlyStopping().GetPatience()),
			MinDelta: run.GetEarlyStopping().GetMinDelta(),
		},
		EpochTime: run.GetSynthetic().GetEpochTime().AsDuration(),
	}
	for _, epoch := range run.GetMilestones() {
		config.Milestones = append(config.Milestones, int(epoch))
	}
	return config
}
