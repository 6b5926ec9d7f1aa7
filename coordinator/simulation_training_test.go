package coordinator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

// hangs is how long an attempt stands still that hangs: longer than the coordinator waits.
const hangs = 10 * time.Minute

// next is what is to be sent next, nil for nothing.
func (w *simulatedWorker) next() *trellisv1.SessionRequest {
	switch {
	case w.drainDue:
		return &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Drain{Drain: &trellisv1.Drain{}}}
	case w.due:
		heartbeat := &trellisv1.Heartbeat{}
		for _, a := range w.attempts {
			heartbeat.Attempts = append(heartbeat.Attempts,
				&trellisv1.AttemptProgress{Attempt: a.GetAttempt(), Steps: a.steps})
		}
		return &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Heartbeat{Heartbeat: heartbeat}}
	case len(w.stale) > 0:
		return w.stale[0]
	}
	for _, a := range w.attempts {
		if !a.ready {
			continue
		}
		switch {
		case a.saved < len(a.checkpoints) && a.checkpoints[a.saved].GetEpoch() <= a.sent:
			return &trellisv1.SessionRequest{
				Message: &trellisv1.SessionRequest_Checkpoint{Checkpoint: &trellisv1.CheckpointReport{
					Study: a.GetStudy(), Run: a.GetRun(), Attempt: a.GetAttempt(), Checkpoint: a.checkpoints[a.saved],
				}},
			}
		case a.sent < a.trained:
			return a.report(a.sent+1, a.trained)
		case a.outcome != nil && !a.outcomeSent && !a.uploading:
			return &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Outcome{Outcome: a.outcome}}
		}
	}
	if w.draining && len(w.attempts) == 0 {
		return &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Goodbye{Goodbye: &trellisv1.Goodbye{}}}
	}
	return nil
}

// sent notes what has been sent.
func (w *simulatedWorker) sent(request *trellisv1.SessionRequest) {
	if len(w.stale) > 0 && w.stale[0] == request {
		w.stale = w.stale[1:]
		return
	}
	switch message := request.GetMessage().(type) {
	case *trellisv1.SessionRequest_Drain:
		w.drainDue = false
	case *trellisv1.SessionRequest_Heartbeat:
		w.due = false
	case *trellisv1.SessionRequest_Reports:
		reports := message.Reports.GetReports()[0]
		w.find(reports.GetAttempt()).sent = reports.GetFirstEpoch() + uint32(len(reports.GetTrainLoss())) - 1
	case *trellisv1.SessionRequest_Checkpoint:
		w.find(message.Checkpoint.GetAttempt()).saved++
	case *trellisv1.SessionRequest_Outcome:
		w.find(message.Outcome.GetAttempt()).outcomeSent = true
	case *trellisv1.SessionRequest_Goodbye:
		w.left = true
	}
}

// report has the reports of consecutive epochs.
func (a *simulatedAttempt) report(first, last uint32) *trellisv1.SessionRequest {
	reports := &trellisv1.Reports{
		Study: a.GetStudy(), Run: a.GetRun(), Attempt: a.GetAttempt(), FirstEpoch: first,
		TestLoss: map[uint32]float64{},
	}
	parameters := a.GetConfig().GetParameters()
	end := lastEpoch(parameters)
	best := 0.0
	for epoch := uint32(1); epoch <= last; epoch++ {
		train, validation := simulatedLosses(parameters, epoch)
		if epoch == 1 || validation < best {
			best = validation
		}
		if epoch < first {
			continue
		}
		reports.TrainLoss, reports.ValidationLoss = append(reports.TrainLoss, train),
			append(reports.ValidationLoss, validation)
		reports.Seconds = append(reports.Seconds, 1)
		if epoch == end || slices.Contains(a.GetConfig().GetMilestones(), epoch) {
			reports.TestLoss[epoch] = testLossOf(best)
		}
	}
	return &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Reports{
		Reports: &trellisv1.ReportBatch{Reports: []*trellisv1.Reports{reports}},
	}}
}

// start begins to train where the attempt's checkpoint ends.
func (w *simulatedWorker) start(at restoredCheckpoint) {
	a := w.find(at.attempt)
	if a == nil {
		return
	}
	a.ready = true
	a.trained, a.sent, a.acknowledged = at.epoch, at.epoch, at.epoch
	if a.outcome == nil {
		a.next = time.Now().Add(w.speed)
		w.train()
	}
}

// untilTrained is how long it takes until the next epoch of any attempt is trained.
func (w *simulatedWorker) untilTrained() time.Duration {
	soonest := time.Hour
	for _, a := range w.attempts {
		if !a.next.IsZero() {
			soonest = min(soonest, max(time.Until(a.next), 0))
		}
	}
	return soonest
}

// train trains what is due. At most as many attempts as there are slots get on.
func (w *simulatedWorker) train() {
	busy := 0
	for _, a := range w.attempts {
		if a.next.IsZero() {
			continue
		}
		if busy++; busy > w.slots {
			a.next = time.Now().Add(w.speed)
		}
		if time.Now().Before(a.next) {
			continue
		}
		w.trainEpoch(a)
	}
}

func (w *simulatedWorker) trainEpoch(a *simulatedAttempt) {
	end := lastEpoch(a.GetConfig().GetParameters())
	if a.trained < end {
		if draw := w.random.IntN(2000); draw < 4 && w.s.mayFail(a.GetStudy()+"/"+a.GetRun()) {
			if draw < 2 {
				w.s.event("trainer failed", "%s at epoch %d of run %s", w.name, a.trained+1, a.GetRun())
				w.end(a, &trellisv1.Outcome{Result: &trellisv1.Outcome_Failure{Failure: &trellisv1.Failure{
					Class: trellisv1.FailureClass_FAILURE_CLASS_TRAINER, Message: "simulated",
				}}})
				return
			}
			w.s.event("hung", "%s at epoch %d of run %s", w.name, a.trained+1, a.GetRun())
			a.next = time.Now().Add(hangs)
			return
		}
		a.trained++
		a.steps++
		a.next = time.Now().Add(w.speed)
	}
	if a.trained < end {
		if w.every > 0 && time.Since(a.lastUpload) >= w.every && !a.uploading {
			w.upload(a)
		}
		return
	}
	reason := trellisv1.StopReason_STOP_REASON_MAX_EPOCHS
	if end < a.GetConfig().GetParameters().GetMaxEpochs() {
		reason = trellisv1.StopReason_STOP_REASON_DIVERGED
	}
	w.end(a, &trellisv1.Outcome{Result: &trellisv1.Outcome_Success_{
		Success: &trellisv1.Outcome_Success{StopReason: reason, Epochs: end},
	}})
}

// mayFail says, once for each run, that one of its attempts may fail.
func (s *simulation) mayFail(run string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	failed := s.failed[run]
	s.failed[run] = true
	return !failed
}

// checkpointOf is the content of a checkpoint.
func checkpointOf(run string, epoch uint32) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "run %s after epoch %d\n", run, epoch), 20)
}

// upload saves where the attempt is now.
func (w *simulatedWorker) upload(a *simulatedAttempt) {
	a.uploading, a.lastUpload = true, time.Now()
	attempt, epoch, content := a.GetAttempt(), a.trained, checkpointOf(a.GetRun(), a.trained)
	w.helpers.Go(func() {
		up := uploadedCheckpoint{attempt: attempt}
		ctx, cancel := context.WithTimeout(w.ctx, 10*time.Second)
		defer cancel()
		if stream, err := trellisv1.NewArtifactServiceClient(w.conn).UploadArtifact(ctx); err == nil {
			_ = stream.Send(&trellisv1.UploadArtifactRequest{Data: content})
			if answer, err := stream.CloseAndRecv(); err == nil {
				up.checkpoint = &trellisv1.Checkpoint{Epoch: epoch, Sha256: answer.GetSha256(), Size: answer.GetSize()}
			}
		}
		select {
		case w.uploaded <- up:
		case <-w.ctx.Done():
		}
	})
}

// keep reports a checkpoint that has been uploaded.
func (w *simulatedWorker) keep(up uploadedCheckpoint) {
	if a := w.find(up.attempt); a != nil {
		a.uploading = false
		if up.checkpoint != nil {
			a.checkpoints = append(a.checkpoints, up.checkpoint)
		}
	}
}

// fetch gets the checkpoint of an assignment, and says whether it has it. A checkpoint is lost with the disk of the
// only node that has it; one that is another's would be a defect.
func (w *simulatedWorker) fetch(assignment *trellisv1.Assignment) bool {
	checkpoint := assignment.GetCheckpoint()
	if checkpoint == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(w.ctx, 10*time.Second)
	defer cancel()
	stream, err := trellisv1.NewArtifactServiceClient(w.conn).DownloadArtifact(ctx,
		&trellisv1.DownloadArtifactRequest{Sha256: checkpoint.GetSha256()})
	if err != nil {
		return false
	}
	var content []byte
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return false
		}
		content = append(content, response.GetData()...)
	}
	if !bytes.Equal(content, checkpointOf(assignment.GetRun(), checkpoint.GetEpoch())) {
		w.s.wrong("the checkpoint of epoch %d of run %s is %q", checkpoint.GetEpoch(), assignment.GetRun(), content)
		return false
	}
	w.s.checkpoints.Add(1)
	return true
}
