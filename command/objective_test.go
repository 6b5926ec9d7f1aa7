package command

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

// A classifier is ranked by its accuracy if its spec says so: so are the weights that are kept and tested. Nothing else
// differs from the study that is ranked by the validation loss, bit for bit.
func TestClassifierRankedByAccuracy(t *testing.T) {
	skipRaced(t)
	t.Parallel()
	_, address := startCoordinator(t, "--data", t.TempDir())
	startWorker(t, address, "worker", "--slots", "2")
	common := "data: mnist\nsplit: {train: 256, validation: 100}\nbatch_size: 32\n"
	mustTrellis(t, "submit", "--watch", "--coordinator", address, writeSpec(t, "name: paper\nmodel: conv-autoencoder\n"+
		"grid: {latent_dim: 4, learning_rate: 3e-3, max_epochs: 8}\n"+common))
	const classifier = "model: classifier\npretrained: {study: paper}\n" +
		"grid: {learning_rate: [1e-3, 3e-3, 1e-2], fine_tune: true, max_epochs: [8, 16]}\n"
	trials := map[string][]*trellisv1.Trial{}
	for name, ranked := range map[string]string{
		"by-loss": "", "by-accuracy": "objective: {metric: validation_accuracy}\n",
		"by-last": "objective: {metric: validation_accuracy, of: last}\n",
		"by-mean": "objective: {metric: validation_accuracy, of: {mean: 3}}\n",
	} {
		mustTrellis(t, "submit", "--watch", "--coordinator", address,
			writeSpec(t, "name: "+name+"\n"+classifier+common+ranked))
		trials[name] = readTrials(t, mustTrellis(t, "trials", "--coordinator", address, name, "-o", "json", "--losses"))
		if len(trials[name]) != 6 {
			t.Fatalf("%s has %d trials", name, len(trials[name]))
		}
	}
	differ := 0
	for i, trial := range trials["by-accuracy"] {
		other := trials["by-loss"][i]
		accuracy := trial.GetEpochMetrics()["validation_accuracy"].GetValues()
		if !slices.Equal(trial.GetValidationLoss(), other.GetValidationLoss()) ||
			!slices.Equal(accuracy, other.GetEpochMetrics()["validation_accuracy"].GetValues()) {
			t.Errorf("trial %d was trained otherwise:\n%v\n%v", i, trial, other)
		}
		highest := slices.Max(accuracy)
		if trial.GetObjective() != highest || int(trial.GetBestEpoch()) != 1+slices.Index(accuracy, highest) {
			t.Errorf("trial %d of accuracies %v has the objective %v at epoch %d", i, accuracy, trial.GetObjective(),
				trial.GetBestEpoch())
		}
		if lowest := slices.Min(other.GetValidationLoss()); other.GetObjective() != lowest {
			t.Errorf("trial %d, ranked by its loss, has the objective %v, want %v", i, other.GetObjective(), lowest)
		}
		if trial.GetBestEpoch() != other.GetBestEpoch() {
			differ++
		}
		if got := trials["by-last"][i]; got.GetObjective() != accuracy[len(accuracy)-1] ||
			int(got.GetBestEpoch()) != len(accuracy) {
			t.Errorf("trial %d: the last of %v is %v at epoch %d", i, accuracy, got.GetObjective(), got.GetBestEpoch())
		}
		n := len(accuracy)
		if got := trials["by-mean"][i]; got.GetObjective() != (accuracy[n-1]+accuracy[n-2]+accuracy[n-3])/3 {
			t.Errorf("trial %d: the mean of the last 3 of %v is %v", i, accuracy, got.GetObjective())
		}
	}
	if differ == 0 {
		t.Error("the epoch of the highest accuracy is that of the lowest loss in all trials: nothing was tested")
	}
	best := readMessage(t, mustTrellis(t, "best", "--coordinator", address, "by-accuracy", "-o", "json"),
		new(trellisv1.GetBestTrialResponse)).GetTrial()
	for _, trial := range trials["by-accuracy"] {
		if trial.GetObjective() > best.GetObjective() {
			t.Errorf("the best has %v, but trial %d has %v", best.GetObjective(), trial.GetIndex(), trial.GetObjective())
		}
	}
	if text := mustTrellis(t, "best", "--coordinator", address, "by-accuracy"); !strings.Contains(text, "(maximize), at epoch") ||
		strings.Contains(text, "higher by") {
		t.Errorf("the best is\n%s", text)
	}
	if text := mustTrellis(t, "importance", "--coordinator", address, "by-accuracy"); !strings.Contains(text, "HIGHEST") ||
		strings.Contains(text, "logarithm") {
		t.Errorf("importance is\n%s", text)
	}
	file := filepath.Join(t.TempDir(), "model")
	mustTrellis(t, "model", "get", "--coordinator", address, "by-accuracy", "--file", file)
	if metadata := readSafetensors(t, file); metadata["validation_accuracy"] != fmt.Sprint(best.GetObjective()) ||
		metadata["epoch"] != fmt.Sprint(best.GetBestEpoch()) {
		t.Errorf("the weights of %v say %v", best, metadata)
	}
}
