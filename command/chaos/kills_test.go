package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// lease is how long workers may be silent in these tests: as short as it can be where two cores are busy.
func lease() time.Duration {
	if raced {
		return 5 * time.Second
	}
	return 1500 * time.Millisecond
}

// Coordinator and workers are killed at random times, the coordinator while it starts too. Nothing that was
// acknowledged is lost, nothing is counted twice, and the results are those of an undisturbed study, bit for bit. All
// connections are encrypted. The
// soak's kills all happen to one coordinator, the others to two of them beside one another, since much of the time is
// spent waiting.
func TestKills(t *testing.T) {
	parallel(t)
	kills := count(t, "TRELLIS_CHAOS_KILLS", 6, 50, 1000)
	if soak {
		killAtRandom(t, kills)
		return
	}
	for _, share := range []int{kills / 2, kills - kills/2} {
		t.Run(fmt.Sprintf("%d kills", share), func(t *testing.T) {
			parallel(t)
			killAtRandom(t, share)
		})
	}
}

// killAtRandom kills processes of one fleet so many times.
func killAtRandom(t *testing.T, kills int) {
	random := newRandom(t)
	f := newFleet(t)
	f.secure()
	coordinator := f.newCoordinator("coordinator", "--lease", lease().String(), "--checkpoint-interval", "50ms")
	c := f.newClient(coordinator.address)
	coordinator.startServing(c)
	workers := make([]*process, 3)
	for i := range workers {
		workers[i] = f.newWorker(fmt.Sprintf("worker-%d", i+1), coordinator.address, "--slots", "2")
		workers[i].start()
	}
	u := newUsers(f, c)
	u.meddle = true
	u.start(random, 3)

	start := time.Now()
	var restarts []time.Duration
	done := 0
	for ; done < kills && !t.Failed(); done++ {
		pause(t.Context(), between(random, 0, 400*time.Millisecond))
		if random.IntN(2) == 0 {
			victim := workers[random.IntN(len(workers))]
			victim.kill()
			victim.start()
			continue
		}
		coordinator.kill()
		for done < kills && random.IntN(3) == 0 {
			done++
			coordinator.start()
			pause(t.Context(), between(random, 0, 200*time.Millisecond))
			coordinator.kill()
		}
		pause(t.Context(), between(random, 0, 200*time.Millisecond))
		restarts = append(restarts, coordinator.startServing(c))
		u.checkAll(c)
	}
	t.Logf("%d kills in %v; the coordinator served %s after its start", done, time.Since(start).Round(time.Millisecond),
		distribution(restarts))
	u.finish()
	specs := u.checkEnd(c)
	if !t.Failed() {
		checkUndisturbed(f, c, random, specs)
	}
}

// checkUndisturbed trains some of the studies on a coordinator that nothing happens to: its trials are the same bytes.
func checkUndisturbed(f *fleet, disturbed *client, random *rand.Rand, specs []*trellisv1.StudySpec) {
	f.Helper()
	coordinator := f.newCoordinator("undisturbed")
	c := f.newClient(coordinator.address)
	coordinator.startServing(c)
	f.newWorker("undisturbed-worker", coordinator.address, "--slots", "4").start()
	random.Shuffle(len(specs), func(i, j int) { specs[i], specs[j] = specs[j], specs[i] })
	specs = specs[:min(len(specs), 5)]
	for _, spec := range specs {
		r := newRecord(spec, true)
		if _, err := r.change(f.Context(), c, running); err != nil {
			f.Error(err)
		}
		if err := r.follow(f.Context(), c); err != nil {
			f.Error(err)
		}
		if want, got := trialBytes(f, c, spec.GetName()), trialBytes(f, disturbed, spec.GetName()); want != got {
			f.Errorf("study %s differs from the undisturbed one", spec.GetName())
		}
	}
	f.Logf("%d studies are the same bytes as on an undisturbed coordinator", len(specs))
}

// trialBytes is all that there is to know about a study's trials.
func trialBytes(f *fleet, c *client, study string) string {
	f.Helper()
	trials, err := c.listTrials(f.Context(), study)
	if err != nil {
		f.Fatal(err)
	}
	var text strings.Builder
	for _, trial := range trials {
		data, err := proto.MarshalOptions{Deterministic: true}.Marshal(trial)
		if err != nil {
			f.Fatal(err)
		}
		text.Write(data)
	}
	return text.String()
}

// distribution is the least, the median, the 99th percentile and the largest of some durations, as people read them.
func distribution(durations []time.Duration) string {
	if len(durations) == 0 {
		return "(never)"
	}
	slices.Sort(durations)
	at := func(part float64) time.Duration {
		return durations[int(part*float64(len(durations)-1)+0.5)].Round(time.Microsecond * 10)
	}
	return fmt.Sprintf("%v to %v (median %v, 99%% %v, n = %d)", at(0), at(1), at(0.5), at(0.99), len(durations))
}
