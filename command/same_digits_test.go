package command

import "testing"

// syntheticStudy and mnistStudy are small studies whose trials share runs.
const (
	syntheticStudy = `
name: same
model: synthetic
grid:
  latent_dim: [4, 16]
  learning_rate: {log10: {from: 1e-4, to: 1e-2, count: 3}}
  weight_decay: [0, 1e-5]
  max_epochs: [5, 30]
seeds: [1, 2]
early_stopping: {patience: 3, min_delta: 1e-4}
synthetic: {epoch_time: 1ms}
`
	mnistStudy = `
name: same
data: mnist
model: conv-autoencoder
grid:
  latent_dim: [4, 16]
  learning_rate: [1e-3, 3e-3]
  max_epochs: [2, 3]
batch_size: 48
split: {train: 512, validation: 128}
`
)

// The same spec gives the same bytes, however many workers train it.
func TestSameDigitsOnOneWorkerAndOnThree(t *testing.T) {
	skipRaced(t)
	t.Parallel()
	for _, test := range []struct{ name, spec string }{{"synthetic", syntheticStudy}, {"mnist", mnistStudy}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			spec := writeSpec(t, test.spec)
			one := train(t, spec, 1, "-o", "json")
			three := train(t, spec, 3, "-o", "json")
			if one != three {
				t.Errorf("one worker gives\n%s\nthree give\n%s", one, three)
			}
			for _, trial := range readTrials(t, one) {
				if len(trial.GetValidationLoss()) == 0 || trial.Objective == nil || trial.TestLoss == nil {
					t.Errorf("trial has no losses: %v", trial)
				}
			}
		})
	}
}
