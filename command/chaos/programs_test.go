package chaos

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/trajectory"
)

// searched is a study of a shell script, which writes a line into its journal for each epoch that it trains.
type searched struct {
	*fleet
	journal string
	spec    string
}

// newSearched writes the files of a program and its study's spec, which takes more lines. The script has functions to
// read what it is asked for and to report.
func newSearched(f *fleet, script, more string) *searched {
	f.Helper()
	s := &searched{
		fleet: f, journal: filepath.Join(f.dir, "journal"), spec: filepath.Join(f.dir, "program", "spec.yaml"),
	}
	script = `#!/bin/sh
set -eu
asked() { sed -n "s/.*\"$1\": *\"\{0,1\}\([^\",}]*\).*/\1/p" "$TRELLIS_RUN"; }
first=$(asked first_epoch) last=$(asked last_epoch) resume=$(asked resume)
` + script
	spec := fmt.Sprintf(`name: program
program:
  command: [./train.sh]
  files: .
  environment: {JOURNAL: %q}
  resumable: true
  prefix: true
objective: {metric: acc, direction: maximize}
%s`, s.journal, more)
	if err := os.MkdirAll(filepath.Dir(s.spec), 0o755); err != nil {
		f.Fatal(err)
	}
	for path, content := range map[string]string{
		s.spec: spec, filepath.Join(filepath.Dir(s.spec), "train.sh"): script, s.journal: "",
	} {
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			f.Fatal(err)
		}
	}
	return s
}

// submit submits the study.
func (s *searched) submit(coordinator *process) {
	s.Helper()
	submit := exec.Command(binary, "submit", "--coordinator", coordinator.address, s.spec)
	if output, err := submit.CombinedOutput(); err != nil {
		s.Fatalf("submit: %v\n%s", err, output)
	}
}

// lines are those of the journal.
func (s *searched) lines() []string {
	s.Helper()
	content, err := os.ReadFile(s.journal)
	if err != nil {
		s.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(content)), "\n")
}

// await waits until the study has ended, and returns its trials.
func (s *searched) await(c *client) []*trellisv1.Trial {
	s.Helper()
	eventually(s.T, func() error {
		study, err := c.getStudy(s.Context(), "program")
		if err != nil {
			return err
		}
		if study.GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED {
			return fmt.Errorf("%v", study.GetProgress())
		}
		return nil
	})
	trials, err := c.listTrials(s.Context(), "program")
	if err != nil {
		s.Fatal(err)
	}
	return trials
}

// outliving are the command lines of processes that name a folder.
func outliving(t *testing.T, folder string) (lines []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(line), folder) {
			lines = append(lines, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return lines
}

// One of two workers is killed while both run programs. Every point is trained, those of the killed worker go on from
// their checkpoints, and nothing of its programs goes on unseen.
func TestProgramsGoOnElsewhere(t *testing.T) {
	parallel(t)
	// On a machine that stalls, runs may end before their worker is killed: those of longer epochs don't.
	epochs := []time.Duration{100 * time.Millisecond, 300 * time.Millisecond, 500 * time.Millisecond}
	for _, epoch := range epochs {
		if goOnElsewhere(t, epoch) || t.Failed() {
			return
		}
	}
	t.Errorf("runs with epochs of %v have ended before their worker was killed", epochs)
}

// goOnElsewhere does it with epochs that take so long. It returns false if no run was lost with its worker.
func goOnElsewhere(t *testing.T, epoch time.Duration) bool {
	t.Helper()
	f := newFleet(t)
	s := newSearched(f, fmt.Sprintf("epoch=%g", epoch.Seconds())+`
e=$first
test "$resume" = null || test "$(cat "$resume/epoch")" -eq $((first - 1))
while [ $e -le $last ]; do
	sleep $epoch
	mkdir "saved$e"; echo $e > "saved$e/epoch"
	echo "$(asked run) $e" >> "$JOURNAL"
	echo "trained epoch $e"
	echo "{\"epoch\": $e, \"acc\": 0.$((e * 7 % 10)), \"checkpoint\": \"saved$e\"}" >> "$TRELLIS_REPORTS"
	e=$((e + 1))
done
`, "grid: {latent_dim: [1, 2], learning_rate: [0.1, 0.2, 0.3], max_epochs: [10, 20]}\n")
	coordinator := f.newCoordinator("coordinator", "--lease", lease().String(), "--checkpoint-interval", "100ms")
	c := newClient(t, coordinator.address)
	coordinator.startServing(c)
	workers := make([]*process, 2)
	for i := range workers {
		name := fmt.Sprint("worker-", i)
		workers[i] = f.newWorker(name, coordinator.address, "--slots", "2", "--programs", "--cpus", "2", "--cache-dir",
			filepath.Join(f.dir, name+"-cache"))
		workers[i].start()
	}
	s.submit(coordinator)
	eventually(t, func() error {
		study, err := c.getStudy(t.Context(), "program")
		if err == nil && study.GetState() == trellisv1.StudyState_STUDY_STATE_COMPLETED {
			return nil // It was missed, as lost says.
		}
		return s.savedSoon(c, "worker-0-")
	})
	workers[0].kill()
	eventually(t, func() error {
		if left := outliving(t, filepath.Join(f.dir, "worker-0-cache")); len(left) > 0 {
			return fmt.Errorf("these outlive their worker: %q", left)
		}
		return nil
	})
	trials := s.await(c)
	if !s.lost(c, "worker-0-") {
		f.killAll()
		return false
	}
	if len(trials) != 12 {
		t.Errorf("there are %d trials", len(trials))
	}
	for _, trial := range trials {
		// 7 * 7 % 10 is the highest: in epoch 7, and 17.
		if trial.GetState() != trellisv1.TrialState_TRIAL_STATE_SUCCEEDED || trial.GetObjective() != 0.9 ||
			trial.GetBestEpoch() != 7 || trial.GetEpochs() != trial.GetParameters().GetMaxEpochs() {
			t.Errorf("got %v", trial)
		}
	}
	resumed := regexp.MustCompile(`from_epoch=(\d+)`).FindAllStringSubmatch(workers[1].said(), -1)
	if !slices.ContainsFunc(resumed, func(found []string) bool { return found[1] != "1" }) {
		t.Errorf("the other worker begins at the epochs %v", resumed)
	}
	if epochs := len(s.lines()); epochs < 120 || epochs > 150 {
		t.Errorf("%d epochs were trained, want 120 and few again", epochs)
	}
	s.checkArtifacts(c, trials)
	return true
}

// lost says whether a run of five epochs or more was lost with a worker.
func (s *searched) lost(c *client, worker string) (lost bool) {
	s.Helper()
	err := c.watch(s.Context(), "program", 0, func(response *trellisv1.WatchStudyResponse) error {
		for _, run := range response.GetRuns() {
			lost = lost || slices.ContainsFunc(run.GetFailures(), func(failure *trellisv1.Failure) bool {
				return strings.HasPrefix(failure.GetWorker(), worker) && failure.GetRunEpochs() >= 5
			})
		}
		return nil
	})
	if err != nil {
		s.Fatal(err)
	}
	return lost
}

// savedSoon returns an error unless a worker holds two runs, which have checkpoints of most that is in the journal.
func (s *searched) savedSoon(c *client, worker string) error {
	trained := map[string]int{}
	for _, line := range s.lines() {
		run, _, _ := strings.Cut(line, " ")
		trained[run]++
	}
	saved := 0
	err := c.watch(s.Context(), "program", 0, func(response *trellisv1.WatchStudyResponse) error {
		for _, run := range response.GetRuns() {
			if all := run.GetCheckpoints(); strings.HasPrefix(run.GetWorker(), worker) && len(all) > 0 {
				if last := int(all[len(all)-1].GetEpoch()); last >= 5 && trained[run.GetId()]-last <= 5 {
					saved++
				}
			}
		}
		return errLost // enough
	})
	if saved != 2 {
		return fmt.Errorf("%d runs of %s are saved soon: %w", saved, worker, err)
	}
	return nil
}

// checkArtifacts looks at what the runs of the trials have left: the checkpoint of the best epoch, and the output.
func (s *searched) checkArtifacts(c *client, trials []*trellisv1.Trial) {
	s.Helper()
	for _, trial := range trials {
		response, err := c.GetRun(s.Context(), &trellisv1.GetRunRequest{Study: "program", Run: trial.GetRun()})
		if err != nil {
			s.Fatal(err)
		}
		if len(response.GetRun().GetOutputs()) == 0 {
			s.Errorf("the run of trial %d has no output", trial.GetIndex())
		}
		if _, err := trajectory.BestWeights(response.GetConfig().GetProgram(), trial, response.GetRun()); err != nil {
			s.Error(err)
		}
	}
	best := trials[0]
	folder := filepath.Join(s.dir, "best")
	s.command("checkpoint", "get", "program", strconv.FormatUint(best.GetIndex(), 10), "--folder", folder,
		"--coordinator", c.address)
	if epoch, err := os.ReadFile(filepath.Join(folder, "epoch")); err != nil || string(epoch) != "7\n" {
		s.Errorf("the best checkpoint is of epoch %q, %v", epoch, err)
	}
	// MLflow is given the same.
	exported := filepath.Join(s.dir, "mlflow")
	s.command("export", "program", "--format", "mlflow", "--folder", exported, "--coordinator", c.address)
	found, err := filepath.Glob(filepath.Join(exported, "*", "*", "artifacts", "checkpoint", "epoch"))
	if err != nil || len(found) != 1 {
		s.Fatalf("the export has the checkpoints %q, want one: %v", found, err)
	}
	if epoch, err := os.ReadFile(found[0]); err != nil || string(epoch) != "7\n" {
		s.Errorf("the exported checkpoint is of epoch %q, %v", epoch, err)
	}
	said := s.command("logs", "program", strconv.FormatUint(best.GetIndex(), 10), "--coordinator", c.address)
	if !strings.HasSuffix(said, "trained epoch 19\ntrained epoch 20\n") {
		s.Errorf("the output is %q", said)
	}
}

// command returns what a command writes to standard output.
func (s *searched) command(args ...string) string {
	s.Helper()
	command := exec.Command(binary, args...)
	output, err := command.Output()
	if err != nil {
		s.Fatalf("%s: %v\n%s", args, err, output)
	}
	return string(output)
}

// A worker with two GPUs, which its machine's files say, runs four runs of one GPU each two at a time, each with a GPU
// of its own.
func TestRunsHaveGPUsOfTheirOwn(t *testing.T) {
	parallel(t)
	f := newFleet(t)
	root := filepath.Join(f.dir, "machine")
	for i := range 2 {
		folder := filepath.Join(root, fmt.Sprintf("proc/driver/nvidia/gpus/0000:0%d:00.0", i+1))
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		information := fmt.Sprintf("Model: \t\t Test\nGPU UUID: \t GPU-0000000%d\nDevice Minor: \t %d\n", i, i)
		if err := os.WriteFile(filepath.Join(folder, "information"), []byte(information), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := newSearched(f, `
echo "begin $CUDA_VISIBLE_DEVICES" >> "$JOURNAL"
sleep 0.5
echo '{"epoch": 1, "acc": 1}' >> "$TRELLIS_REPORTS"
echo "end $CUDA_VISIBLE_DEVICES" >> "$JOURNAL"
`, "resources: {gpus: 1, cpus: 0.5}\ngrid: {latent_dim: [1, 2], learning_rate: [0.1, 0.2], max_epochs: 1}\n")
	coordinator := f.newCoordinator("coordinator")
	c := newClient(t, coordinator.address)
	coordinator.startServing(c)
	f.newWorker("worker", coordinator.address, "--slots", "8", "--programs", "--machine-root", root).start()
	s.submit(coordinator)
	if trials := s.await(c); len(trials) != 4 {
		t.Errorf("there are %d trials", len(trials))
	}
	busy, most, used := map[string]bool{}, 0, map[string]bool{}
	for _, line := range s.lines() {
		what, gpu, _ := strings.Cut(line, " ")
		if begins := what == "begin"; begins == busy[gpu] {
			t.Errorf("%q, and GPU %s is busy: %t", line, gpu, busy[gpu])
		} else if begins {
			busy[gpu], used[gpu] = true, true
		} else {
			delete(busy, gpu)
		}
		most = max(most, len(busy))
	}
	if most != 2 || !used["GPU-00000000"] || !used["GPU-00000001"] {
		t.Errorf("%d runs at once on the GPUs %v", most, used)
	}
}

// Runs of programs wait for a worker that runs programs and has what they need, and it is said what they wait for.
func TestProgramsWaitForWorkers(t *testing.T) {
	parallel(t)
	f := newFleet(t)
	s := newSearched(f, `echo '{"epoch": 1, "acc": 1}' >> "$TRELLIS_REPORTS"`+"\n",
		"resources: {cpus: 3, memory: 2GiB}\ngrid: {latent_dim: 1, learning_rate: 0.1, max_epochs: 1}\n")
	coordinator := f.newCoordinator("coordinator")
	c := newClient(t, coordinator.address)
	coordinator.startServing(c)
	waits := func(reason trellisv1.WaitingReason) {
		t.Helper()
		eventually(t, func() error {
			study, err := c.getStudy(t.Context(), "program")
			if err != nil {
				return err
			}
			if got := study.GetWaitingFor().GetReason(); got != reason {
				return fmt.Errorf("it waits for %v, want %v", got, reason)
			}
			return nil
		})
	}
	f.newWorker("models", coordinator.address, "--cpus", "8", "--memory", "8GiB").start()
	s.submit(coordinator)
	waits(trellisv1.WaitingReason_WAITING_REASON_NO_PROGRAMS)
	f.newWorker("small", coordinator.address, "--programs", "--cpus", "2", "--memory", "8GiB").start()
	waits(trellisv1.WaitingReason_WAITING_REASON_TOO_LARGE)
	f.newWorker("large", coordinator.address, "--programs", "--cpus", "3", "--memory", "2GiB").start()
	began := time.Now()
	if trials := s.await(c); len(trials) != 1 {
		t.Errorf("there are %d trials", len(trials))
	}
	t.Logf("it was trained %v after there was a worker", time.Since(began).Round(time.Millisecond))
}
