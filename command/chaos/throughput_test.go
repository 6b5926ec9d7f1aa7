package chaos

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

// grid of so many runs of so many epochs each.
func gridOf(runs int, epochs uint32) *trellisv1.Grid {
	rates := make([]float64, 100)
	for i := range rates {
		rates[i] = 1e-4 * float64(i+1)
	}
	decays := make([]float64, max(1, runs/len(rates)))
	for i := range decays {
		decays[i] = 1e-6 * float64(i)
	}
	return &trellisv1.Grid{Axes: map[string]*trellisv1.Axis{
		"latent_dim":    integers(16),
		"learning_rate": values(rates...),
		"weight_decay":  values(decays...),
		"max_epochs":    integers(epochs),
	}}
}

// How quick the bookkeeping is: a durable coordinator and two workers in processes of their own, on runs that take no
// time. It logs and asserts nothing about time. TRELLIS_CHAOS_RUNS and TRELLIS_CHAOS_SLOTS change its size.
func TestThroughput(t *testing.T) {
	runs := count(t, "TRELLIS_CHAOS_RUNS", 500, 2000, 50_000)
	slots := count(t, "TRELLIS_CHAOS_SLOTS", 32, 32, 32)
	for _, test := range []struct {
		name   string
		runs   int
		epochs uint32
	}{
		{"trials of one epoch", runs, 1},
		{"runs of 50 epochs", runs, 50},
	} {
		t.Run(test.name, func(t *testing.T) {
			newFleet(t).throughput(test.runs, test.epochs, slots)
		})
	}
}

// What encryption costs: the same beside each other with and without TLS, in turn. The soak fails if TLS takes more
// than 15% of the throughput.
func TestThroughputOverTLS(t *testing.T) {
	skipRaced(t)
	runs := count(t, "TRELLIS_CHAOS_RUNS", 500, 2000, 20_000)
	slots := count(t, "TRELLIS_CHAOS_SLOTS", 32, 32, 32)
	for _, epochs := range []uint32{1, 50} {
		var ratios []float64
		for round := range count(t, "TRELLIS_CHAOS_ROUNDS", 1, 1, 3) {
			t.Run(fmt.Sprintf("%d epochs, round %d", epochs, round+1), func(t *testing.T) {
				plain, secured := newFleet(t), newFleet(t)
				secured.secure()
				without := plain.throughput(runs, epochs, slots)
				plain.killAll()
				ratios = append(ratios, without.Seconds()/secured.throughput(runs, epochs, slots).Seconds())
			})
		}
		if t.Failed() {
			return
		}
		slices.Sort(ratios)
		t.Logf("%d runs of %d epochs: with TLS, throughput is %.2f of that without (median of %.2f)", runs, epochs,
			ratios[len(ratios)/2], ratios)
		if soak && ratios[len(ratios)/2] < 0.85 {
			t.Error("encryption takes more than 15% of the throughput")
		}
	}
}

// throughput trains runs that take no time with a durable coordinator and two workers, and returns how long it took.
func (f *fleet) throughput(runs int, epochs uint32, slots int) time.Duration {
	f.Helper()
	coordinator := f.newCoordinator("coordinator")
	c := f.newClient(coordinator.address)
	coordinator.startServing(c)
	for n := range 2 {
		f.newWorker(fmt.Sprintf("worker-%d", n+1), coordinator.address, "--slots", strconv.Itoa(slots)).start()
	}
	f.awaitWorkers(c, 2)
	r := newRecord(synthetic("throughput", 0, gridOf(runs, epochs)), true)
	start, before := time.Now(), coordinator.processorTime()
	if acknowledged, err := r.change(f.Context(), c, running); !acknowledged {
		f.Fatal(err)
	}
	for {
		study, err := c.getStudy(f.Context(), "throughput")
		if err != nil {
			f.Fatal(err)
		}
		if study.GetState() == completed {
			break
		}
		if time.Since(start) > 10*patience {
			f.Fatalf("the study has not ended within %v: %v", 10*patience, study.GetProgress())
		}
		pause(f.Context(), 5*time.Millisecond)
	}
	took := time.Since(start)
	if err := r.check(f.Context(), c); err != nil {
		f.Error(err)
	}
	f.Logf("%d runs of %d epochs with 2 workers of %d slots in %v: %.0f trials/s, %.0f epoch reports/s; the "+
		"coordinator "+
		"used %v of processor time", runs, epochs, slots, took.Round(time.Millisecond),
		float64(runs)/took.Seconds(), float64(runs)*float64(epochs)/took.Seconds(),
		(coordinator.processorTime() - before).Round(time.Millisecond))
	return took
}

// How long a slot is free: from the moment at which a worker sends a run's outcome until its next run arrives, both at
// a worker with one slot beside nobody, and beside a worker that keeps the coordinator busy.
func TestTurnaround(t *testing.T) {
	skipRaced(t)
	for _, busy := range []bool{false, true} {
		t.Run(map[bool]string{false: "alone", true: "beside a busy worker"}[busy], func(t *testing.T) {
			f := newFleet(t)
			coordinator := f.newCoordinator("coordinator")
			c := newClient(t, coordinator.address)
			coordinator.startServing(c)
			runs := count(t, "TRELLIS_CHAOS_RUNS", 200, 500, 5000)
			spec := synthetic("turnaround", 0, gridOf(runs, 3))
			if busy {
				spec.Grid[0] = gridOf(10*runs, 3)
				f.newWorker("busy", coordinator.address, "--slots", "32").start()
			}
			var freed time.Time
			var gaps []time.Duration
			s := &simulated{name: "simulated", slots: 1}
			s.assigned = func(*trellisv1.Assignment) {
				if !freed.IsZero() {
					gaps = append(gaps, time.Since(freed))
				}
			}
			s.answer = func(assignment *trellisv1.Assignment) []*trellisv1.SessionRequest {
				requests := answerRun(spec, assignment)
				freed = time.Now()
				return requests
			}
			var serving sync.WaitGroup
			serving.Go(func() { _ = s.run(t.Context(), c.conn) })
			r := newRecord(spec, true)
			if acknowledged, err := r.change(t.Context(), c, running); !acknowledged {
				t.Fatal(err)
			}
			if err := r.follow(t.Context(), c); err != nil {
				t.Error(err)
			}
			c.conn.Close()
			serving.Wait()
			t.Logf("a slot was free for %s", distribution(gaps))
		})
	}
}

// answerRun is what a worker sends that has trained a run.
func answerRun(spec *trellisv1.StudySpec, assignment *trellisv1.Assignment) []*trellisv1.SessionRequest {
	answer, err := answerTo(spec, assignment.GetConfig().GetParameters())
	if err != nil {
		panic(err)
	}
	epochs := uint32(len(answer.train))
	return []*trellisv1.SessionRequest{
		{Message: &trellisv1.SessionRequest_Reports{Reports: &trellisv1.ReportBatch{Reports: []*trellisv1.Reports{{
			Study: assignment.GetStudy(), Run: assignment.GetRun(), Attempt: assignment.GetAttempt(), FirstEpoch: 1,
			TrainLoss: answer.train, ValidationLoss: answer.validation, Seconds: make([]float64, epochs),
			TestLoss: map[uint32]float64{epochs: answer.test},
		}}}}},
		{Message: &trellisv1.SessionRequest_Outcome{Outcome: &trellisv1.Outcome{
			Study: assignment.GetStudy(), Run: assignment.GetRun(), Attempt: assignment.GetAttempt(),
			Result: &trellisv1.Outcome_Success_{Success: &trellisv1.Outcome_Success{
				StopReason: trellisv1.StopReason_STOP_REASON_MAX_EPOCHS, Epochs: epochs,
			}},
		}}},
	}
}

// Many workers hold a run each and send heartbeats, and nothing else happens: none is taken for lost. The soak has
// 10,000 for ten minutes.
func TestManyWorkers(t *testing.T) {
	workers := count(t, "TRELLIS_CHAOS_WORKERS", 200, 500, 10_000)
	seconds, lease := count(t, "TRELLIS_CHAOS_SECONDS", 6, 6, 600), 2*time.Second
	if workers > 1000 {
		lease = 15 * time.Second
	}
	// A machine that stalls for a lease loses workers: a coordinator that is at fault loses them with longer ones too.
	for ; ; lease, seconds = 2*lease, 2*seconds {
		lost := manyWorkers(t, workers, lease, seconds)
		if lost == 0 || t.Failed() {
			return
		}
		t.Logf("with a lease of %v, %d of %d workers were taken for lost", lease, lost, workers)
		if soak || lease > patience/2 {
			t.Fatal("workers are taken for lost")
		}
	}
}

// manyWorkers does it for some seconds, and returns how many workers were taken for lost.
func manyWorkers(t *testing.T, workers int, lease time.Duration, seconds int) (lost int) {
	const each = 2500 // of one process, because of the limit on file descriptors
	f := newFleet(t)
	coordinator := f.newCoordinator("coordinator", "--lease", lease.String())
	c := newClient(t, coordinator.address)
	coordinator.startServing(c)
	r := newRecord(synthetic("many", time.Hour, gridOf(workers, 1)), true)
	if acknowledged, err := r.change(t.Context(), c, running); !acknowledged {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	said, err := os.OpenFile(filepath.Join(f.dir, "generators.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	for first := 0; first < workers; first += each {
		generator := exec.Command(self)
		generator.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %d", loadVariable, coordinator.address, first,
			min(each, workers-first)))
		generator.Stderr = said
		if err := generator.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() {
			generator.Process.Kill()
			generator.Wait()
		}()
	}
	undisturbed := func(condition func() error) {
		t.Helper()
		eventually(t, func() error {
			if lost = strings.Count(coordinator.said(), "worker lost"); lost > 0 {
				return nil
			}
			return condition()
		})
	}
	ready := func() error { return f.ready(c, workers) }
	undisturbed(ready)
	undisturbed(func() error {
		study, err := c.getStudy(t.Context(), "many")
		if study.GetProgress().GetRunsRunning() != uint64(workers) {
			return fmt.Errorf("%d of %d workers have a run: %w", study.GetProgress().GetRunsRunning(), workers, err)
		}
		return nil
	})
	before, start := coordinator.processorTime(), time.Now()
	pause(t.Context(), time.Duration(seconds)*time.Second)
	used, took := coordinator.processorTime()-before, time.Since(start)
	if undisturbed(ready); lost > 0 {
		f.killAll()
		return lost
	}
	text, err := os.ReadFile(said.Name())
	if err != nil || len(text) > 0 {
		t.Errorf("%d sessions have ended:\n%s", bytes.Count(text, []byte("\n")), text[:min(len(text), 2000)])
	}
	t.Logf("%d workers with a lease of %s for %v: the coordinator used %.2f of a core and %d MiB", workers, lease,
		took.Round(time.Second), used.Seconds()/took.Seconds(), coordinator.memory()>>20)
	return 0
}

// awaitWorkers waits until so many workers are ready.
func (f *fleet) awaitWorkers(c *client, want int) {
	f.Helper()
	eventually(f.T, func() error { return f.ready(c, want) })
}

// ready returns an error unless so many workers are ready, and there are no others.
func (f *fleet) ready(c *client, want int) error {
	states := map[trellisv1.WorkerState]int{}
	request := &trellisv1.ListWorkersRequest{PageSize: 1000}
	for {
		response, err := c.ListWorkers(f.Context(), request)
		if err != nil {
			return err
		}
		for _, worker := range response.GetWorkers() {
			states[worker.GetState()]++
		}
		if request.PageToken = response.GetNextPageToken(); request.PageToken == "" {
			break
		}
	}
	if states[trellisv1.WorkerState_WORKER_STATE_READY] != want || len(states) > 1 {
		return fmt.Errorf("workers are %v, want %d ready", states, want)
	}
	return nil
}

// procTicks is the kernel's unit of processor time in /proc.
const procTicks = 10 * time.Millisecond

// processorTime is what the process has used so far; 0 where the system does not tell.
func (p *process) processorTime() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * procTicks
}

// memory is what the process has in memory, in bytes; 0 where the system does not tell.
func (p *process) memory() int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.process.Pid))
	if err != nil {
		return 0
	}
	lines := strings.Split(string(text), "\n")
	at := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, "VmRSS:") })
	if at < 0 {
		return 0
	}
	kilobytes, _ := strconv.ParseInt(strings.Fields(lines[at])[1], 10, 64)
	return kilobytes << 10
}
