package chaos

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
)

// A worker is killed in about epoch 37 of the 50 of a real network. The run goes on from its checkpoint on another
// worker: its losses are those of a run that nothing happened to, and no more is trained twice than lies between two
// checkpoints.
func TestKilledWorker(t *testing.T) {
	parallel(t)
	// A machine that stalls may let the run end before its worker is killed, or hold up a checkpoint. What is wrong
	// with these is so with longer runs too.
	for epochs := uint32(50); ; epochs *= 2 {
		problem := killWorker(t, epochs)
		if problem == nil || t.Failed() {
			return
		}
		if t.Log(problem); epochs >= 400 {
			t.Fatal(problem)
		}
	}
}

// killWorker does it with a run of so many epochs. It returns what may be the machine's fault.
func killWorker(t *testing.T, epochs uint32) error {
	const interval = 200 * time.Millisecond
	spec := &trellisv1.StudySpec{
		Name: "killed", Model: trainer.ConvAutoencoder, Data: "mnist",
		Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
			"latent_dim":    integers(8),
			"learning_rate": values(1e-3),
			"weight_decay":  values(1e-5),
			"max_epochs":    integers(20, epochs),
			"batch_size":    integers(64),
		}}},
		Split: &trellisv1.Split{Train: 1024, Validation: 256},
	}
	f := newFleet(t)
	train := func(name string, disturb func(c *client, coordinator *process)) (*client, *trellisv1.Run) {
		coordinator := f.newCoordinator(name, "--lease", lease().String(), "--checkpoint-interval", interval.String())
		c := newClient(t, coordinator.address)
		coordinator.startServing(c)
		if _, err := c.CreateStudy(t.Context(), &trellisv1.CreateStudyRequest{Spec: spec}); err != nil {
			t.Fatal(err)
		}
		disturb(c, coordinator)
		var run *trellisv1.Run
		if err := c.watch(t.Context(), "killed", 0, func(response *trellisv1.WatchStudyResponse) error {
			for _, run = range response.GetRuns() {
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return c, run
	}

	var reached uint32
	var second *process
	c, run := train("disturbed", func(c *client, coordinator *process) {
		first := f.newWorker("first", coordinator.address, "--slots", "1")
		first.start()
		_ = c.watch(t.Context(), "killed", 0, func(response *trellisv1.WatchStudyResponse) error {
			for _, run := range response.GetRuns() {
				if reached = run.GetEpochs(); reached >= 36 {
					return errLost // enough
				}
			}
			return nil
		})
		first.kill()
		second = f.newWorker("second", coordinator.address, "--slots", "1")
		second.start()
	})
	if len(run.GetFailures()) == 0 {
		f.killAll()
		return fmt.Errorf("the run of %d epochs ended before its worker was killed, after epoch %d was seen",
			epochs, reached)
	}
	undisturbed, _ := train("undisturbed", func(_ *client, coordinator *process) {
		f.newWorker("third", coordinator.address, "--slots", "1").start()
	})
	if run.GetState() != trellisv1.RunState_RUN_STATE_SUCCEEDED || len(run.GetFailures()) != 1 {
		t.Fatalf("the run is %v, want one that has succeeded after it lost one worker", run)
	}
	if trialBytes(f, c, "killed") != trialBytes(f, undisturbed, "killed") {
		t.Error("the losses differ from those of a run that nothing happened to")
	}
	found := regexp.MustCompile(`from_epoch=(\d+)`).FindStringSubmatch(second.said())
	if found == nil {
		t.Fatal("the second worker does not say where it began")
	}
	from, _ := strconv.ParseUint(found[1], 10, 32)
	recorded := run.GetFailures()[0].GetRunEpochs()
	again := max(0, int(recorded)-int(from)+1)
	each := time.Duration(run.GetTrainingSeconds() / float64(run.GetEpochs()) * float64(time.Second))
	t.Logf("killed after epoch %d was recorded; the run went on from epoch %d: %d epochs of %v were trained again",
		recorded, from,
		again, each.Round(time.Millisecond))
	// A checkpoint is taken at the end of an epoch, and takes a moment on its way.
	if from == 1 || time.Duration(again)*each > interval+3*each+lease()/5 {
		f.killAll()
		return fmt.Errorf("%d epochs of %v were trained again, from epoch %d on; want at most %v",
			again, each, from, interval)
	}
	return nil
}
