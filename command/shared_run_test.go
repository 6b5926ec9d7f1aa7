package command

import (
	"strings"
	"testing"
)

// A trial that ends in the middle of a run that longer trials share equals, bit for bit, the same trial submitted
// alone.
func TestTrialOfASharedRunEqualsTheSameTrialAlone(t *testing.T) {
	skipRaced(t)
	t.Parallel()
	for _, test := range []struct{ name, spec string }{
		{"synthetic", `
name: shared
model: synthetic
grid: {latent_dim: 16, learning_rate: 1e-3, max_epochs: EPOCHS}
synthetic: {epoch_time: 1ms}
`},
		{"synthetic that stops early", `
name: shared
model: synthetic
grid: {latent_dim: 16, learning_rate: 1e-2, max_epochs: EPOCHS}
early_stopping: {patience: 4, min_delta: 1e-3}
`},
		{"mnist", `
name: shared
data: mnist
model: conv-autoencoder
grid: {latent_dim: 16, learning_rate: 1e-3, weight_decay: 1e-5, max_epochs: EPOCHS}
batch_size: 32
split: {train: 100, validation: 50}
`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			of := func(epochs string) string {
				spec := writeSpec(t, strings.Replace(test.spec, "EPOCHS", epochs, 1))
				return train(t, spec, 1, "-o", "json", "--filter", "max_epochs == 50")
			}
			// Trials have the same index in both, since 50 comes first.
			shared, alone := of("[50, 60]"), of("50")
			if shared != alone {
				t.Errorf("out of a shared run:\n%s\nalone:\n%s", shared, alone)
			}
			if trials := readTrials(t, alone); len(trials) != 1 || len(trials[0].GetValidationLoss()) == 0 {
				t.Errorf("got %v", trials)
			}
		})
	}
}
