package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

// The coordinator is killed at random times while a large study is trained whose runs follow from its spec, also while
// it writes snapshots and while it starts. Whatever was acknowledged is there, and in the end the digest is that of an
// undisturbed study. The soak has a million runs. TRELLIS_CHAOS_RUNS sets how many there are, a multiple of 100.
func TestLargeStudyKills(t *testing.T) {
	parallel(t)
	random := newRandom(t)
	runs := count(t, "TRELLIS_CHAOS_RUNS", 2_000, 20_000, 1_000_000)
	kills := count(t, "TRELLIS_CHAOS_KILLS", 3, 6, 30)
	spec := synthetic("large", 0, gridOf(runs, 10))
	f := newFleet(t)

	coordinator := f.newCoordinator("killed", "--lease", lease().String())
	c := f.newClient(coordinator.address)
	coordinator.startServing(c)
	if _, err := c.CreateStudy(t.Context(), &trellisv1.CreateStudyRequest{Spec: spec}); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	w := newWitness("witness", 512, c)
	stop := w.start(t.Context())
	defer func() { stop() }()
	var restarts []time.Duration
	for done := 0; done < kills && !t.Failed(); done++ {
		// So that the last kill comes when most runs have been trained.
		eventuallyAcked(f, w, runs*(done+1)/(kills+2))
		pause(t.Context(), between(random, 0, 300*time.Millisecond))
		coordinator.kill()
		acknowledged := w.acked()
		if random.IntN(3) == 0 {
			coordinator.start()
			pause(t.Context(), between(random, 0, 500*time.Millisecond))
			coordinator.kill()
		}
		restarts = append(restarts, restart(coordinator, c, runs))
		if err := checkAcknowledged(t.Context(), c, random, acknowledged); err != nil {
			t.Error(err)
		}
	}
	if err := awaitCompleted(t.Context(), c, spec.GetName()); err != nil {
		t.Error(err)
	}
	t.Logf("%d runs in %v, with %d kills; the coordinator served %s after its start", runs,
		time.Since(begin).Round(time.Millisecond), len(restarts), distribution(restarts))
	if err := checkAcknowledged(t.Context(), c, random, w.acked()); err != nil {
		t.Error(err)
	}
	got := digestOf(t, c, spec.GetName())
	stop()
	coordinator.kill()
	if t.Failed() {
		return
	}

	undisturbed := f.newCoordinator("undisturbed")
	c = f.newClient(undisturbed.address)
	undisturbed.startServing(c)
	if _, err := c.CreateStudy(t.Context(), &trellisv1.CreateStudyRequest{Spec: spec}); err != nil {
		t.Fatal(err)
	}
	stop = newWitness("witness", 512, c).start(t.Context())
	if err := awaitCompleted(t.Context(), c, spec.GetName()); err != nil {
		t.Error(err)
	}
	if want := digestOf(t, c, spec.GetName()); got != want {
		t.Errorf("the digest is %s, undisturbed it is %s", got, want)
	}
}

// restart starts a coordinator and returns how long it took to serve. What a large study takes depends on the machine.
func restart(coordinator *process, c *client, runs int) time.Duration {
	coordinator.fleet.Helper()
	if runs <= 20_000 {
		return coordinator.startServing(c)
	}
	coordinator.start()
	c.awaitServing(coordinator.fleet.T)
	return time.Since(coordinator.started)
}

// eventuallyAcked waits until so many outcomes have been acknowledged.
func eventuallyAcked(f *fleet, w *witness, runs int) {
	f.Helper()
	last, since := -1, time.Now()
	for f.Context().Err() == nil {
		now := len(w.acked())
		if now >= runs {
			return
		}
		if now > last {
			last, since = now, time.Now()
		}
		if time.Since(since) > patience {
			f.Fatalf("%d outcomes were acknowledged, and no more within %v", now, patience)
		}
		pause(f.Context(), 20*time.Millisecond)
	}
}

// checkAcknowledged checks that as many runs have succeeded as were acknowledged. It looks at the last of them, which a
// kill is most likely to lose, and at some others.
func checkAcknowledged(ctx context.Context, c *client, random *rand.Rand, runs []string) error {
	study, err := c.getStudy(ctx, "large")
	if err != nil {
		return err
	}
	if n := study.GetProgress().GetRunsSucceeded(); n < uint64(len(runs)) {
		return fmt.Errorf("%w: %d runs have succeeded, but %d were acknowledged", errNotThere, n, len(runs))
	}
	if len(runs) == 0 {
		return nil
	}
	look := append([]string(nil), runs[max(0, len(runs)-200):]...)
	for range 100 {
		look = append(look, runs[random.IntN(len(runs))])
	}
	for _, id := range look {
		response, err := c.GetRun(ctx, &trellisv1.GetRunRequest{Study: "large", Run: id})
		if err != nil {
			return err
		}
		run := response.GetRun()
		if run.GetState() != trellisv1.RunState_RUN_STATE_SUCCEEDED || run.GetEpochs() != 10 ||
			run.GetValidationLoss() != lossOf(id, 10) {
			return fmt.Errorf("%w: run %s is %v", errNotThere, id, run)
		}
	}
	return nil
}

// awaitCompleted waits until a study has completed, as long as it moves.
func awaitCompleted(ctx context.Context, c *client, name string) error {
	last, since := uint64(0), time.Now()
	for {
		study, err := c.getStudy(ctx, name)
		if err != nil {
			return err
		}
		if study.GetState() == completed {
			if p := study.GetProgress(); p.GetTrialsSucceeded() != p.GetTrials() {
				return fmt.Errorf("it has completed with %v", p)
			}
			return nil
		}
		if now := study.GetProgress().GetRunsSucceeded(); now > last {
			last, since = now, time.Now()
		}
		if time.Since(since) > patience {
			return fmt.Errorf("after %d runs nothing has succeeded for %v", last, patience)
		}
		pause(ctx, 50*time.Millisecond)
	}
}

// digestOf is the digest of a study's results.
func digestOf(t *testing.T, c *client, study string) string {
	t.Helper()
	response, err := c.GetReport(t.Context(), &trellisv1.GetReportRequest{Study: study})
	if err != nil {
		t.Fatal(err)
	}
	return response.GetReport().GetDigest()
}
