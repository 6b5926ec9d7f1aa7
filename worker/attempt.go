package worker

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
	"trellis/worker/program"
	"trellis/worker/spans"
)

// maxMessage is how many bytes of an error's text are sent to the coordinator, which keeps the text forever.
const maxMessage = 2048

// attempt is a run that the coordinator has leased to this worker, with the messages that the worker still has to
// deliver for it. It ends when its outcome is acknowledged, or when the coordinator stops it.
type attempt struct {
	// assignment is never changed.
	assignment *trellisv1.Assignment
	// steps is incremented by the trainer and by everything else that the attempt waits for, and read by Run.
	steps atomic.Uint64
	// uploads is owned by the goroutine that trains.
	uploads uploads
	// output is what the attempt's program writes. It is nil before the program is started.
	output atomic.Pointer[program.Output]

	// span is the attempt's, nil if nothing is traced.
	span *spans.Attempt

	// Run owns the fields below.

	// ctx ends with the attempt, by end.
	ctx context.Context
	end context.CancelFunc
	// interrupt stops the training. The cause says why.
	interrupt context.CancelCauseFunc
	// working says that a goroutine trains, or waits for a slot. Otherwise the attempt has an outcome or is suspended.
	working bool
	// suspended says that training must not continue before the coordinator has said that the attempt is still valid.
	// It then continues from position, which is set once the goroutine has ended.
	suspended bool
	position  position

	// reports are the reports that have not been acknowledged, in the order of their epochs. The current session has
	// got the first sent of them.
	reports []trainer.Report
	sent    int
	// underWay are the parts in which these were sent, and bytesUnderWay is the sum of their sizes.
	underWay      []part
	bytesUnderWay int
	// epoch is the epoch of the last report, acknowledged or not.
	epoch int
	// checkpoints are reports of checkpoints that were uploaded, or could not be, and are not acknowledged.
	checkpoints     []*trellisv1.CheckpointReport
	checkpointsSent int
	// outcome is nil until the training has ended. outcomeSent says that the current session has it.
	outcome     *trellisv1.Outcome
	outcomeSent bool
}

// part is some reports that were sent in one message.
type part struct {
	// last is the epoch of the last of them.
	last, bytes int
}

// newAttempt returns an attempt that lives no longer than ctx, and continues from a position.
func newAttempt(ctx context.Context, assignment *trellisv1.Assignment, from position) *attempt {
	a := &attempt{
		assignment: assignment,
		interrupt:  func(error) {},
		position:   from,
		reports:    slices.Clone(from.reports),
		epoch:      from.epoch(),
	}
	a.ctx, a.end = context.WithCancel(ctx)
	return a
}

// number returns the attempt's fencing token.
func (a *attempt) number() uint64 { return a.assignment.GetAttempt() }

// resend marks everything that is not acknowledged to be sent again, in a new session.
func (a *attempt) resend() {
	a.resendReports()
	a.checkpointsSent, a.outcomeSent = 0, false
}

// resendReports marks the reports that are not acknowledged to be sent again.
func (a *attempt) resendReports() {
	a.sent, a.underWay, a.bytesUnderWay = 0, nil, 0
}

// send marks the next reports as sent in a message of so many bytes.
func (a *attempt) send(reports, bytes int) {
	a.sent += reports
	a.underWay = append(a.underWay, part{last: a.reports[a.sent-1].Epoch, bytes: bytes})
	a.bytesUnderWay += bytes
}

// reported adds an epoch's report. If training continued from before an epoch that has been reported, that epoch comes
// again, with the same losses.
func (a *attempt) reported(report trainer.Report) {
	if report.Epoch > a.epoch {
		if cap(a.reports) == 0 {
			left := int(a.assignment.GetConfig().GetParameters().GetMaxEpochs()) - a.epoch
			a.reports = make([]trainer.Report, 0, max(1, min(left, fewReports)))
		}
		a.reports = append(a.reports, report)
		a.epoch = report.Epoch
	}
}

// acknowledge drops the reports and the checkpoints up to an epoch each.
func (a *attempt) acknowledge(epoch, checkpoint uint32) {
	covered := 0
	for covered < len(a.reports) && a.reports[covered].Epoch <= int(epoch) {
		covered++
	}
	a.reports = a.reports[covered:]
	a.sent = max(a.sent-covered, 0)
	for len(a.underWay) > 0 && a.underWay[0].last <= int(epoch) {
		a.bytesUnderWay -= a.underWay[0].bytes
		a.underWay = a.underWay[1:]
	}
	covered = 0
	for covered < a.checkpointsSent && epochOf(a.checkpoints[covered]) <= checkpoint {
		covered++
	}
	a.checkpoints = a.checkpoints[covered:]
	a.checkpointsSent -= covered
}

func epochOf(report *trellisv1.CheckpointReport) uint32 { return report.GetCheckpoint().GetEpoch() }

// nextCheckpoint returns the attempt's next report of a checkpoint, or nil if there is none. It marks it as sent. It
// follows the reports of its epochs.
func (a *attempt) nextCheckpoint() *trellisv1.SessionRequest {
	if a.checkpointsSent == len(a.checkpoints) {
		return nil
	}
	checkpoint := a.checkpoints[a.checkpointsSent]
	if a.sent < len(a.reports) && a.reports[a.sent].Epoch <= int(epochOf(checkpoint)) {
		return nil
	}
	// An acknowledgement names the epoch: of two checkpoints of one epoch, it must be clear which one is meant.
	if a.checkpointsSent > 0 && epochOf(a.checkpoints[a.checkpointsSent-1]) == epochOf(checkpoint) {
		return nil
	}
	a.checkpointsSent++
	return &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Checkpoint{Checkpoint: checkpoint}}
}

// nextOutcome returns the attempt's outcome once it has one and everything else is sent. It marks it as sent.
func (a *attempt) nextOutcome() *trellisv1.SessionRequest {
	if a.outcome == nil || a.outcomeSent || a.sent < len(a.reports) || a.checkpointsSent < len(a.checkpoints) {
		return nil
	}
	a.outcomeSent = true
	a.span.Sent(a.outcome)
	return &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Outcome{Outcome: a.outcome}}
}

// pack converts reports of consecutive epochs into the message that is sent.
func (a *attempt) pack(reports []trainer.Report) *trellisv1.Reports {
	if a.assignment.GetConfig().GetProgram() != nil {
		return a.packProgram(reports)
	}
	columns := make([]float64, 3*len(reports))
	packed := &trellisv1.Reports{
		Study:          a.assignment.GetStudy(),
		Run:            a.assignment.GetRun(),
		Attempt:        a.number(),
		FirstEpoch:     uint32(reports[0].Epoch),
		TrainLoss:      columns[:len(reports)],
		ValidationLoss: columns[len(reports) : 2*len(reports)],
		Seconds:        columns[2*len(reports):],
	}
	for i, report := range reports {
		packed.TrainLoss[i], packed.ValidationLoss[i] = report.TrainLoss, report.ValidationLoss
		packed.Seconds[i] = report.Elapsed.Seconds()
		if report.TestLoss != nil {
			if packed.TestLoss == nil {
				packed.TestLoss = make(map[uint32]float64)
			}
			packed.TestLoss[uint32(report.Epoch)] = *report.TestLoss
			packTestMetrics(packed, report)
		}
		for name, value := range report.Metrics {
			packMetric(packed, name, i, value)
		}
	}
	return packed
}

// packMetric sets the value of a metric in the i-th of the packed epochs.
func packMetric(packed *trellisv1.Reports, name string, i int, value float64) {
	if packed.Metrics == nil {
		packed.Metrics = make(map[string]*trellisv1.Series)
	}
	series := packed.Metrics[name]
	if series == nil {
		series = &trellisv1.Series{Values: make([]float64, len(packed.TrainLoss))}
		packed.Metrics[name] = series
	}
	series.Values[i] = value
}

func packTestMetrics(packed *trellisv1.Reports, report trainer.Report) {
	if len(report.TestMetrics) == 0 {
		return
	}
	if packed.TestMetrics == nil {
		packed.TestMetrics = make(map[uint32]*trellisv1.Metrics)
	}
	packed.TestMetrics[uint32(report.Epoch)] = &trellisv1.Metrics{Values: report.TestMetrics}
}

// newOutcome returns an outcome of the attempt without a result.
func (a *attempt) newOutcome() *trellisv1.Outcome {
	return &trellisv1.Outcome{Study: a.assignment.GetStudy(), Run: a.assignment.GetRun(), Attempt: a.number()}
}

// returned returns the outcome that returns the run.
func (a *attempt) returned() *trellisv1.Outcome {
	outcome := a.newOutcome()
	outcome.Result = &trellisv1.Outcome_Return_{Return: &trellisv1.Outcome_Return{}}
	return outcome
}

func (a *attempt) succeeded(result trainer.Result) *trellisv1.Outcome {
	return a.finished(stopReasons[result.StopReason], result.Epochs)
}

// finished returns the outcome of a run that has ended by itself.
func (a *attempt) finished(reason trellisv1.StopReason, epochs int) *trellisv1.Outcome {
	outcome := a.newOutcome()
	outcome.Result = &trellisv1.Outcome_Success_{Success: &trellisv1.Outcome_Success{
		StopReason: reason, Epochs: uint32(epochs),
	}}
	return outcome
}

// failed returns the outcome of an attempt that the worker could not train.
func (a *attempt) failed(worker string, err error) *trellisv1.Outcome {
	return a.failedAs(worker, classOf(err), err)
}

// failedAs is failed with a class.
func (a *attempt) failedAs(worker string, class trellisv1.FailureClass, err error) *trellisv1.Outcome {
	outcome := a.newOutcome()
	outcome.Result = &trellisv1.Outcome_Failure{Failure: &trellisv1.Failure{
		Attempt: a.number(),
		Worker:  worker,
		Class:   class,
		Message: sendable(reason(err)),
	}}
	return outcome
}

// sendable makes a text short enough and valid UTF-8. Otherwise the session would end each time the text is sent.
func sendable(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + "..."
	}
	return text
}

var stopReasons = map[trainer.StopReason]trellisv1.StopReason{
	trainer.MaxEpochs:    trellisv1.StopReason_STOP_REASON_MAX_EPOCHS,
	trainer.EarlyStopped: trellisv1.StopReason_STOP_REASON_EARLY_STOPPING,
	trainer.Diverged:     trellisv1.StopReason_STOP_REASON_DIVERGED,
}
