package command

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"trellis/command/exit"
	"trellis/command/fake"
	trellisv1 "trellis/proto/trellis/v1"
)

// endlessStudy takes longer than any test.
const endlessStudy = `
name: endless
model: synthetic
grid: {latent_dim: [4, 8], learning_rate: 1e-3, max_epochs: [2, 10000]}
synthetic: {epoch_time: 20ms}
`

// A command that finds no coordinator says so at once, and goes on when it comes.
func TestCoordinatorThatComesLater(t *testing.T) {
	address := fake.FreeAddress(t)
	client, _ := start(t, `^trellis: no coordinator at \S+ \(connection refused\); retrying`,
		"studies", "--coordinator", address)
	start(t, "listens on", "coordinator", "--listen", address)
	if code := client.wait(t); code != exit.OK {
		t.Errorf("exit code %d: %s", code, client.said())
	}
}

// A watch waits for a coordinator that has gone, and ends when one comes back that does not know the study.
func TestWatchOutlivesTheCoordinator(t *testing.T) {
	coordinator, address := startCoordinator(t)
	mustTrellis(t, "submit", "--coordinator", address, writeSpec(t, endlessStudy))
	watch, _ := start(t, `study endless is running`, "watch", "--coordinator", address, "endless")
	coordinator.signal(t, syscall.SIGKILL)
	watch.await(t, `no coordinator at`)
	start(t, "listens on", "coordinator", "--listen", address)
	if code := watch.wait(t); code != exit.NotFound {
		t.Errorf("exit code %d, want %d: %s", code, exit.NotFound, watch.said())
	}
}

// --metrics serves what the coordinator and the worker count.
func TestMetrics(t *testing.T) {
	_, address := startCoordinator(t)
	for _, command := range []string{"coordinator --listen 127.0.0.1:0", "worker --coordinator " + address} {
		_, url := start(t, `^Metrics are at (\S+),`, append(strings.Fields(command), "--metrics", "127.0.0.1:0")...)
		response, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if name := "\ntrellis_"; err != nil || !strings.Contains(string(body), name) {
			t.Errorf("%s: %v, without a metric %s in\n%s", command, err, name, body)
		}
		for path, want := range map[string]int{"/healthz": http.StatusOK, "/readyz": http.StatusOK} {
			awaitStatus(t, strings.TrimSuffix(url, "/metrics")+path, want)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// awaitStatus asks until the answer has a status.
func awaitStatus(t *testing.T, url string, want int) {
	t.Helper()
	late := time.After(time.Minute)
	for {
		response, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode == want {
			return
		}
		select {
		case <-late:
			t.Fatalf("%s answers %s, want %d", url, response.Status, want)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Without a coordinator a worker is alive, but not ready.
func TestWorkerIsNotReady(t *testing.T) {
	_, url := start(t, `^Metrics are at (\S+)/metrics,`, "worker", "--coordinator", fake.FreeAddress(t), "--metrics", "127.0.0.1:0")
	awaitStatus(t, url+"/healthz", http.StatusOK)
	awaitStatus(t, url+"/readyz", http.StatusServiceUnavailable)
	http.DefaultClient.CloseIdleConnections()
}

// Ctrl-C ends a watch and leaves the study alone.
func TestInterruptedWatch(t *testing.T) {
	_, address := startCoordinator(t)
	startWorker(t, address, "worker")
	spec := writeSpec(t, endlessStudy)
	watch, _ := start(t, `epoch \d+/10000`, "submit", "--watch", "--coordinator", address, spec)
	if code := watch.signal(t, os.Interrupt); code != exit.Interrupted {
		t.Errorf("exit code %d: %s", code, watch.said())
	}
	const goesOn = "Study endless keeps running. To follow it again: trellis watch endless --coordinator "
	if !strings.Contains(watch.said(), goesOn+address) {
		t.Errorf("it says %s", watch.said())
	}
	states := mustTrellis(t, "studies", "--coordinator", address, "-o", "csv")
	if !strings.Contains(states, "endless,running,") {
		t.Errorf("studies are\n%s", states)
	}
}

// Events are followed from the last ones on, until Ctrl-C.
func TestFollowedEvents(t *testing.T) {
	_, address := startCoordinator(t)
	submit := func(name string) {
		mustTrellis(t, "submit", "--coordinator", address, "--name", name, writeSpec(t, endlessStudy))
	}
	for i := range 3 {
		submit(fmt.Sprint("before-", i))
	}
	for _, test := range []struct {
		args  []string
		first string
	}{
		{[]string{"-o", "json"}, `^\{.*"before-0".*\}\n\{.*"before-1".*\}\n\{.*"before-2".*\}\n$`},
		{[]string{"--limit", "2"}, `^TIME +PRINCIPAL +ADDRESS +METHOD +SUBJECT\n\S+ \S+ +- .* CreateStudy +before-2\n.* after-o\n$`},
	} {
		command := exec.Command("trellis", append([]string{"events", "--follow", "--coordinator", address}, test.args...)...)
		pipe, err := command.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { command.Process.Kill() })
		lines := bufio.NewReader(pipe)
		read := func() string {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			return line
		}
		if first := read() + read() + read(); !regexp.MustCompile(test.first).MatchString(first) {
			t.Errorf("%v: it begins with\n%s", test.args, first)
		}
		name := "after-" + strings.TrimLeft(test.args[0], "-")
		submit(name)
		if line := read(); !strings.Contains(line, "CreateStudy") || !strings.Contains(line, name) {
			t.Errorf("%v: after another event it says %s", test.args, line)
		}
		command.Process.Signal(os.Interrupt)
		if err := command.Wait(); command.ProcessState.ExitCode() != exit.Interrupted {
			t.Errorf("%v: it ends with %v", test.args, err)
		}
	}
}

// Ctrl-C ends a run with what has been found.
func TestInterruptedRun(t *testing.T) {
	running, _ := start(t, `^trial succeeded`, "run", writeSpec(t, endlessStudy))
	if code := running.signal(t, os.Interrupt); code != exit.Interrupted {
		t.Errorf("exit code %d", code)
	}
	if !strings.Contains(running.said(), "\nInterrupted. Only the following results are left") {
		t.Errorf("it says %s", running.said())
	}
}

// SIGTERM drains a worker: its runs are handed back at no expense, and another trains them.
func TestDrainedWorker(t *testing.T) {
	_, address := startCoordinator(t)
	first := startWorker(t, address, "first", "--slots", "2")
	mustTrellis(t, "submit", "--coordinator", address, writeSpec(t, endlessStudy))
	c := connect(t, address)
	holds := func(worker string) func(*trellisv1.WatchStudyResponse) bool {
		return func(response *trellisv1.WatchStudyResponse) bool {
			for _, run := range response.GetRuns() {
				if len(run.GetFailures()) > 0 {
					t.Errorf("a handed back run has failures: %v", run)
				}
				if strings.HasPrefix(run.GetWorker(), worker) && run.GetState() == trellisv1.RunState_RUN_STATE_LEASED {
					return true
				}
			}
			return false
		}
	}
	watchUntil(t, c, "endless", holds("first-"))
	if code := first.signal(t, syscall.SIGTERM); code != exit.Again {
		t.Errorf("exit code %d: %s", code, first.said())
	}
	workers := mustTrellis(t, "workers", "--coordinator", address, "-o", "csv")
	if !strings.Contains(workers, ",gone,2,0,") {
		t.Errorf("workers are\n%s", workers)
	}
	startWorker(t, address, "second")
	watchUntil(t, c, "endless", holds("second-"))
}

// A worker leaves when there is nothing more to do, and says by its exit code whether it knows that.
func TestExitWhenIdle(t *testing.T) {
	coordinator, address := startCoordinator(t)
	mustTrellis(t, "submit", "--coordinator", address, writeSpec(t, `
name: short
model: synthetic
grid: {latent_dim: [4, 8], learning_rate: 1e-3, max_epochs: 2}
`))
	worker := startWorker(t, address, "worker", "--exit-when-idle", "1s")
	if code := worker.wait(t); code != exit.OK {
		t.Errorf("exit code %d: %s", code, worker.said())
	}
	if got := mustTrellis(t, "studies", "--coordinator", address, "-o", "csv"); !strings.Contains(got, "short,completed,") {
		t.Errorf("it left before the end:\n%s", got)
	}
	// A worker for a study that has ended has nothing to do either, and one for a study that never was is probably mistyped.
	if _, said, code := trellis(t, "worker", "--coordinator", address, "--study", "short"); code != exit.OK {
		t.Errorf("for a study that has ended: exit code %d: %s", code, said)
	}
	_, said, code := trellis(t, "worker", "--coordinator", address, "--study", "shrot", "--exit-when-idle", "1s")
	if code != exit.NotFound || !strings.Contains(said, "there is no study named shrot at "+address) {
		t.Errorf("for a study that is unknown: exit code %d: %s", code, said)
	}
	coordinator.signal(t, syscall.SIGKILL)
	_, said, code = trellis(t, "worker", "--coordinator", address, "--exit-when-idle", "1s")
	if want := "trellis: the worker has had no run for 1s and leaves: no coordinator at " + address + "\n"; code != exit.Unavailable ||
		!strings.HasSuffix(said, want) {
		t.Errorf("exit code %d: %s", code, said)
	}
}

// In a job of Slurm a worker takes what the job has been given, and its name says which job that is.
func TestWorkerInASlurmJob(t *testing.T) {
	_, address := startCoordinator(t)
	for name, value := range map[string]string{
		"SLURM_JOB_ID": "77", "SLURM_CPUS_ON_NODE": "1", "SLURM_MEM_PER_NODE": "100", "CUDA_VISIBLE_DEVICES": "3",
	} {
		t.Setenv(name, value)
	}
	start(t, `msg=connected worker=\S+-77-\w+ `, "worker", "--coordinator", address)
	start(t, `msg=connected worker=own-\w+ `, "worker", "--coordinator", address, "--name", "own", "--memory", "1GiB",
		"--gpus", "0")
	got := mustTrellis(t, "workers", "--coordinator", address, "-o", "csv")
	for _, want := range []string{`-77-\w+,ready,1,.*,1,104857600,.*3`, `own-\w+,ready,1,.*,1,1073741824,`} {
		if !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("workers are\n%s\nwithout %s", got, want)
		}
	}
}

// A second signal ends a worker that cannot hand its runs back.
func TestSecondSignalEndsAWorker(t *testing.T) {
	coordinator, address := startCoordinator(t)
	worker := startWorker(t, address, "worker")
	mustTrellis(t, "submit", "--coordinator", address, writeSpec(t, endlessStudy))
	watchUntil(t, connect(t, address), "endless", func(response *trellisv1.WatchStudyResponse) bool {
		return response.GetStudy().GetProgress().GetEpochs() > 2
	})
	coordinator.signal(t, syscall.SIGKILL)
	if err := worker.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	worker.await(t, "^Draining")
	// Slurm's may come twice, and is one.
	if err := worker.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-worker.exited:
		t.Fatalf("it has ended: %s", worker.said())
	case <-time.After(500 * time.Millisecond):
	}
	if code := worker.signal(t, os.Interrupt); code != exit.Interrupted {
		t.Errorf("exit code %d: %s", code, worker.said())
	}
}

// A coordinator ends cleanly although workers and watches are connected.
func TestStoppedCoordinator(t *testing.T) {
	coordinator, address := startCoordinator(t)
	startWorker(t, address, "worker")
	mustTrellis(t, "submit", "--coordinator", address, writeSpec(t, endlessStudy))
	start(t, `epoch \d+/10000`, "watch", "--coordinator", address, "endless")
	if code := coordinator.signal(t, syscall.SIGTERM); code != exit.OK {
		t.Errorf("exit code %d: %s", code, coordinator.said())
	}
	coordinator.await(t, `the coordinator has stopped`)
}
