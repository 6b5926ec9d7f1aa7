package command

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strings"
	"syscall"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
)

// A coordinator and three workers in processes of their own finish a grid of 24 trials although one of the workers is
// killed in the middle of a run: every trial has exactly one accepted result, and best names the winner.
func TestLostWorker(t *testing.T) {
	_, address := startCoordinator(t, "--lease", "500ms")
	victim := startWorker(t, address, "victim")
	startWorker(t, address, "second")
	startWorker(t, address, "third")
	spec := writeSpec(t, `
name: lost-worker
model: synthetic
grid:
  latent_dim: [4, 8, 16]
  learning_rate: {log10: {from: 1e-4, to: 1e-2, count: 4}}
  max_epochs: [20, 40]
synthetic: {epoch_time: 20ms}
`)
	mustTrellis(t, "submit", "--coordinator", address, spec)
	c := connect(t, address)
	interrupted := false
	watchUntil(t, c, "lost-worker", func(response *trellisv1.WatchStudyResponse) bool {
		for _, run := range response.GetRuns() {
			if strings.HasPrefix(run.GetWorker(), "victim-") && run.GetEpochs() >= 5 && run.GetEpochs() <= 30 &&
				run.GetState() == trellisv1.RunState_RUN_STATE_LEASED {
				interrupted = true
			}
		}
		return interrupted
	})
	victim.signal(t, syscall.SIGKILL)

	runs := make(map[string]*trellisv1.Run)
	var study *trellisv1.Study
	err := c.Watch(t.Context(), &trellisv1.WatchStudyRequest{Study: "lost-worker"},
		func(response *trellisv1.WatchStudyResponse) {
			study = response.GetStudy()
			for _, run := range response.GetRuns() {
				runs[run.GetId()] = run
			}
		})
	if err != nil {
		t.Fatal(err)
	}
	if study.GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED {
		t.Fatalf("study is %v", study.GetState())
	}
	checkInterruptedRun(t, runs)
	trials := readTrials(t, mustTrellis(t, "trials", "--coordinator", address, "lost-worker", "-o", "json"))
	checkResults(t, study, runs, trials)
	checkWinner(t, address, trials)
}

// checkInterruptedRun checks that the run whose worker was killed was finished by another. Which one that was is known
// in the end: what was seen to be under way may have ended before the kill.
func checkInterruptedRun(t *testing.T, runs map[string]*trellisv1.Run) {
	t.Helper()
	interrupted := 0
	for _, run := range runs {
		lost := slices.ContainsFunc(run.GetFailures(), func(failure *trellisv1.Failure) bool {
			return failure.GetClass() == trellisv1.FailureClass_FAILURE_CLASS_WORKER_LOST &&
				strings.HasPrefix(failure.GetWorker(), "victim-")
		})
		if !lost {
			continue
		}
		interrupted++
		if run.GetState() != trellisv1.RunState_RUN_STATE_SUCCEEDED {
			t.Errorf("the interrupted run is %v: %v", run.GetState(), run)
		}
	}
	if interrupted == 0 {
		t.Errorf("no run says that its worker was lost: %v", runs)
	}
}

// checkResults checks that each trial has the losses of the synthetic model, each epoch once.
func checkResults(t *testing.T, study *trellisv1.Study, runs map[string]*trellisv1.Run, trials []*trellisv1.Trial) {
	t.Helper()
	if len(trials) != 24 || len(runs) != 12 || study.GetProgress().GetTrialsSucceeded() != 24 {
		t.Errorf("%d trials, %d runs, %v; want 24, 12, and all succeeded", len(trials), len(runs), study.GetProgress())
	}
	var epochs uint64
	for _, run := range runs {
		epochs += uint64(run.GetEpochs())
	}
	if got := study.GetProgress().GetEpochs(); got != epochs || epochs != 12*40 {
		t.Errorf("the study counts %d epochs, its runs %d, want %d", got, epochs, 12*40)
	}
	for i, trial := range trials {
		p := trial.GetParameters()
		if trial.GetIndex() != uint64(i) || trial.GetState() != trellisv1.TrialState_TRIAL_STATE_SUCCEEDED {
			t.Errorf("trial %d of the list: %v", i, trial)
		}
		var want []float64
		_, err := trainer.Train(context.Background(), trainer.Config{
			Model: trainer.Synthetic, LatentDim: int(p.Numeric("latent_dim")), LearningRate: p.Numeric("learning_rate"),
			WeightDecay: p.Numeric("weight_decay"), MaxEpochs: int(p.GetMaxEpochs()), Seed: p.GetSeed(),
			BatchSize: int(p.Numeric("batch_size")),
		}, func(report trainer.Report) error {
			want = append(want, report.ValidationLoss)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(trial.GetValidationLoss(), want) {
			t.Errorf("trial %d has the losses %v, want %v", i, trial.GetValidationLoss(), want)
		}
		if lowest := slices.Min(want); trial.GetObjective() != lowest {
			t.Errorf("trial %d has the objective %v, want %v", i, trial.GetObjective(), lowest)
		}
	}
}

// checkWinner checks that best names the trial with the lowest loss.
func checkWinner(t *testing.T, address string, trials []*trellisv1.Trial) {
	t.Helper()
	winner := slices.MinFunc(trials, func(a, b *trellisv1.Trial) int {
		return cmp.Or(
			cmp.Compare(a.GetObjective(), b.GetObjective()),
			cmp.Compare(a.GetParameters().Numeric("latent_dim"), b.GetParameters().Numeric("latent_dim")),
			cmp.Compare(a.GetParameters().GetMaxEpochs(), b.GetParameters().GetMaxEpochs()),
			cmp.Compare(a.GetIndex(), b.GetIndex()),
		)
	})
	best := readMessage(t, mustTrellis(t, "best", "--coordinator", address, "lost-worker", "-o", "json"),
		new(trellisv1.GetBestTrialResponse))
	if best.GetTrial().GetIndex() != winner.GetIndex() || math.IsNaN(best.GetTrial().GetObjective()) {
		t.Errorf("best names trial %d (%v), want %d (%v)", best.GetTrial().GetIndex(), best.GetTrial().GetObjective(),
			winner.GetIndex(), winner.GetObjective())
	}
	if best.GetRunnerUp().GetObjective() < best.GetTrial().GetObjective() {
		t.Errorf("the runner-up %v is better than the winner %v", best.GetRunnerUp(), best.GetTrial())
	}
}
