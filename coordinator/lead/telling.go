package lead

import (
	"context"
	"errors"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/auditing"
	"trellis/results/grid"
	"trellis/results/pruning"
	"trellis/results/trajectory"
)

// send welcomes the worker and then keeps it told: of acknowledgements as they come, of heartbeats that have arrived,
// and of the attempts that the store says it holds. It compares these with what the worker has been told, so that an assignment or a stop order that was
// lost with an earlier stream is simply sent again.
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
	ticker := time.NewTicker(h.lease / heartbeatsPerLease)
	defer ticker.Stop()
	renewed := uint64(0)
	for {
		select {
		case <-ticker.C:
			renewal := &trellisv1.LeaseRenewal{Heartbeat: session.heartbeat.Load(), HeldUp: session.heldUp.Load()}
			if renewal.Heartbeat == renewed && !renewal.HeldUp {
				continue
			}
			renewed = renewal.Heartbeat
			message := &trellisv1.SessionResponse{Message: &trellisv1.SessionResponse_Renewal{Renewal: renewal}}
			if err := stream.Send(message); err != nil {
				return err
			}
			continue
		case <-session.notice:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		acks, asked, rechecking := session.take()
		for _, request := range asked {
			message := &trellisv1.SessionResponse{Message: &trellisv1.SessionResponse_Output{Output: request}}
			if err := stream.Send(message); err != nil {
				return err
			}
		}
		for _, ack := range acks {
			message := &trellisv1.SessionResponse{
				Message: &trellisv1.SessionResponse_Acknowledgement{Acknowledgement: ack},
			}
			if err := stream.Send(message); err != nil {
				return err
			}
		}
		if !rechecking {
			continue
		}
		holding, err := h.attempts(session.worker)
		if err != nil {
			return err
		}
		if err := h.tell(session, holding, stream); err != nil {
			return err
		}
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

// tell sends what the worker has not been told of the attempts that it holds.
func (h *host) tell(
	session *session, holding map[uint64]*trellisv1.Run, stream trellisv1.WorkerService_SessionServer,
) error {
	for _, attempt := range session.gone(holding) {
		stop := &trellisv1.Stop{Attempt: attempt, Reason: "the run is no longer this worker's: its study was paused, " +
			"canceled or deleted, or its lease ran out"}
		message := &trellisv1.SessionResponse{Message: &trellisv1.SessionResponse_Stop{Stop: stop}}
		if err := stream.Send(message); err != nil {
			return err
		}
	}
	for attempt, run := range holding {
		if session.knows(attempt) {
			continue
		}
		snapshot := h.store.Snapshot()
		study, err := snapshot.Study(nil, run.GetStudy())
		if errors.Is(err, results.ErrNotFound) {
			continue
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
			Study: run.GetStudy(), Run: run.GetId(), Attempt: attempt, Config: config,
			Checkpoint: trajectory.LastCheckpoint(run), Epochs: run.GetEpochs(),
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
		session.tell(attempt)
		message := &trellisv1.SessionResponse{Message: &trellisv1.SessionResponse_Assignment{Assignment: assignment}}
		if err := stream.Send(message); err != nil {
			return err
		}
	}
	return nil
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
