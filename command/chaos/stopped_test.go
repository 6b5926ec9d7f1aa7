package chaos

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
)

// A worker is stopped for longer than its lease while it trains, its runs go to others, and then it goes on. Nothing
// that it says about its old attempts counts, and the results are those of an undisturbed study.
func TestStoppedWorker(t *testing.T) {
	parallel(t)
	// On a machine that stalls, runs may end before their worker is stopped, or before they are seen on the other:
	// longer ones don't.
	for epochs := uint32(200); !stopWorker(t, epochs) && !t.Failed(); epochs *= 2 {
		if epochs > 2000 {
			t.Fatalf("runs of %d epochs have ended before they were seen on the other worker", epochs)
		}
	}
}

// stopWorker does it with runs of so many epochs. It returns false if they have ended too early.
func stopWorker(t *testing.T, epochs uint32) bool {
	f := newFleet(t)
	coordinator := f.newCoordinator("coordinator", "--lease", lease().String(), "--checkpoint-interval", "200ms")
	c := newClient(t, coordinator.address)
	coordinator.startServing(c)
	stopped := f.newWorker("stopped", coordinator.address, "--slots", "2")
	stopped.start()
	eventually(t, func() error {
		workers, err := c.ListWorkers(t.Context(), &trellisv1.ListWorkersRequest{})
		if len(workers.GetWorkers()) == 0 {
			return fmt.Errorf("the worker is not there: %w", err)
		}
		return nil
	})
	r := newRecord(synthetic("stopped", 20*time.Millisecond, &trellisv1.Grid{Axes: map[string]*trellisv1.Axis{
		"latent_dim":    integers(8, 16),
		"learning_rate": values(1e-3),
		"max_epochs":    integers(epochs/2, epochs),
	}}), true)
	if acknowledged, err := r.change(t.Context(), c, running); !acknowledged {
		t.Fatal(err)
	}
	// Both runs are its own and under way.
	held := f.awaitRuns(c, "stopped", func(run *trellisv1.Run) bool {
		return strings.HasPrefix(run.GetWorker(), "stopped-") && run.GetEpochs() >= 10 || hasEnded(run)
	})
	stopped.signal(syscall.SIGSTOP)
	for _, run := range f.awaitRuns(c, "stopped", func(run *trellisv1.Run) bool {
		return run.GetState() == trellisv1.RunState_RUN_STATE_PENDING || hasEnded(run)
	}) {
		if hasEnded(run) {
			f.killAll()
			return false
		}
	}
	lost := checkRefused(f, c, held)
	others := f.newWorker("others", coordinator.address, "--slots", "2")
	others.start()
	taken := f.awaitRuns(c, "stopped", func(run *trellisv1.Run) bool {
		old := held[run.GetId()]
		return run.GetAttempt() > lost[run.GetId()] && strings.HasPrefix(run.GetWorker(), "others-") &&
			run.GetEpochs() > old.GetEpochs() || hasEnded(run)
	})
	for _, run := range taken {
		if hasEnded(run) {
			f.killAll()
			return false
		}
	}
	stopped.signal(syscall.SIGCONT)
	if err := r.follow(t.Context(), c); err != nil {
		t.Error(err)
	}
	if err := r.checkCompleted(t.Context(), c); err != nil {
		t.Error(err)
	}
	for id, run := range f.awaitRuns(c, "stopped", func(*trellisv1.Run) bool { return true }) {
		var failed []uint64
		for _, failure := range run.GetFailures() {
			failed = append(failed, failure.GetAttempt())
			if failure.GetClass() != trellisv1.FailureClass_FAILURE_CLASS_WORKER_LOST {
				t.Errorf("run %s: %v, want nothing but lost workers", id, failure)
			}
		}
		if want := []uint64{held[id].GetAttempt(), lost[id]}; !slices.Equal(failed, want) {
			t.Errorf("run %s: attempts %v have lost their worker, want %v", id, failed, want)
		}
		if run.GetAttempt() != 0 && run.GetAttempt() != taken[id].GetAttempt() {
			t.Errorf("run %s was ended by attempt %d, want %d", id, run.GetAttempt(), taken[id].GetAttempt())
		}
	}
	return true
}

func hasEnded(run *trellisv1.Run) bool {
	return run.GetState() == trellisv1.RunState_RUN_STATE_SUCCEEDED
}

// awaitRuns waits until each of a study's two runs has been as they are to be, and returns them.
func (f *fleet) awaitRuns(c *client, study string, satisfied func(*trellisv1.Run) bool) map[string]*trellisv1.Run {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), patience)
	defer cancel()
	found := map[string]*trellisv1.Run{}
	err := c.watch(ctx, study, 0, func(response *trellisv1.WatchStudyResponse) error {
		for _, run := range response.GetRuns() {
			if satisfied(run) {
				found[run.GetId()] = run
			} else {
				delete(found, run.GetId())
			}
		}
		if len(found) == 2 {
			cancel()
		}
		return nil
	})
	if len(found) != 2 {
		f.Fatalf("of the two runs, %v are as they are to be: %v", found, err)
	}
	return found
}

// checkRefused greets in the name of the stopped worker, which is refused, and then in another. With that it says
// what would do harm if it counted: that the old attempts are still held, other losses, a checkpoint, an outcome. By
// then it holds the runs itself, under new attempts, which are returned: only their numbers tell the old ones from
// them.
func checkRefused(f *fleet, c *client, held map[string]*trellisv1.Run) (taken map[string]uint64) {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), patience)
	defer cancel()
	open := func() trellisv1.WorkerService_SessionClient {
		session, err := c.Session(ctx)
		if err != nil {
			f.Fatal(err)
		}
		return session
	}
	session := open()
	send := func(request *trellisv1.SessionRequest) {
		if err := session.Send(request); err != nil {
			f.Fatal(err)
		}
	}
	var parts []*trellisv1.SessionResponse
	receive := func() *trellisv1.SessionResponse {
		if len(parts) == 0 {
			response, err := session.Recv()
			if err != nil {
				f.Fatal(err)
			}
			parts = response.Parts()
		}
		first := parts[0]
		parts = parts[1:]
		return first
	}
	ids := slices.Sorted(maps.Keys(held))
	hello := &trellisv1.Hello{
		Protocol: trellisv1.SessionProtocol, Numerics: trainer.NumericsVersion, Slots: 2,
		Worker: held[ids[0]].GetWorker(), Key: make([]byte, 32),
	}
	for _, id := range ids {
		hello.Attempts = append(hello.Attempts, held[id].GetAttempt())
	}
	greeting := &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Hello{Hello: hello}}
	send(greeting)
	if _, err := session.Recv(); status.Code(err) != codes.PermissionDenied {
		f.Errorf("who greets in the name of another is told %v, want PermissionDenied", err)
	}
	hello.Worker, session = "another", open()
	send(greeting)
	if response := receive(); response.GetWelcome() == nil || len(response.GetWelcome().GetAttempts()) > 0 {
		f.Errorf("who claims old attempts is answered %v, want a welcome without attempts", response)
	}
	taken = map[string]uint64{}
	for len(taken) < len(held) {
		if assignment := receive().GetAssignment(); assignment != nil {
			taken[assignment.GetRun()] = assignment.GetAttempt()
		}
	}
	waiting := map[uint64]bool{}
	for _, id := range ids {
		attempt := held[id].GetAttempt()
		waiting[attempt] = true
		// Of an epoch that is not recorded, and of one that is.
		for _, epoch := range []uint32{held[id].GetEpochs() + 1, 1} {
			send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Reports{Reports: &trellisv1.ReportBatch{
				Reports: []*trellisv1.Reports{{
					Study: "stopped", Run: id, Attempt: attempt, FirstEpoch: epoch,
					TrainLoss: []float64{1}, ValidationLoss: []float64{1}, Seconds: []float64{1},
				}},
			}}})
		}
		saved := &trellisv1.CheckpointReport{
			Study: "stopped", Run: id, Attempt: attempt,
			Checkpoint: &trellisv1.Checkpoint{Epoch: 1, Sha256: strings.Repeat("0", 64), Size: 1},
		}
		send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Checkpoint{Checkpoint: saved}})
		send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Outcome{Outcome: &trellisv1.Outcome{
			Study: "stopped", Run: id, Attempt: attempt,
			Result: &trellisv1.Outcome_Success_{Success: &trellisv1.Outcome_Success{
				StopReason: trellisv1.StopReason_STOP_REASON_DIVERGED, Epochs: held[id].GetEpochs(),
			}},
		}}})
	}
	// It is told to forget them.
	for len(waiting) > 0 {
		if ack := receive().GetAcknowledgement(); ack.GetOutcome() {
			delete(waiting, ack.GetAttempt())
		}
	}
	return taken
}
