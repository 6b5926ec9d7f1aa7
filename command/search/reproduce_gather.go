package search

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"trellis/command/client"
	"trellis/command/reproduction"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/results/trajectory"
	"trellis/trainer"
	"trellis/worker"
)

// gather fetches what the analysis needs of a study that has ended: its best trials with their weights.
func gather(ctx context.Context, c *client.Client, m *reproduction.Material, study *trellisv1.Study) error {
	switch study.GetName() {
	case m.Analysis.GetAutoencoder():
		return gatherAutoencoder(ctx, c, m, study)
	case m.Analysis.GetVariational():
		best, err := bestOf(ctx, c, study)
		if err == nil {
			m.Variational = best
		}
		return err
	case m.Analysis.GetDenoising():
		return gatherDenoising(ctx, c, m, study)
	case m.Analysis.GetClassifier():
		return gatherClassifiers(ctx, c, m, study)
	}
	return nil
}

func gatherAutoencoder(ctx context.Context, c *client.Client, m *reproduction.Material, study *trellisv1.Study) error {
	best, err := bestOf(ctx, c, study)
	if err != nil {
		return err
	}
	theirs, err := trialAt(ctx, c, study.GetName(), reproduction.Best)
	if err != nil {
		return err
	}
	m.Autoencoder, m.Theirs = best, theirs
	return nil
}

func gatherDenoising(ctx context.Context, c *client.Client, m *reproduction.Material, study *trellisv1.Study) error {
	denoising, err := bestBy(ctx, c, study, valueOn(trainer.Noise))
	if err != nil {
		return err
	}
	type budget struct {
		noise     float64
		maxEpochs uint32
	}
	budgets, err := bestTrials(ctx, c, study, func(p *trellisv1.Parameters) budget {
		return budget{noise: p.Numeric(trainer.Noise), maxEpochs: p.GetMaxEpochs()}
	})
	if err != nil {
		return err
	}
	m.Denoising = denoising
	m.DenoisingBudgets = slices.SortedFunc(maps.Values(budgets), func(a, b *trellisv1.Trial) int {
		p, q := a.GetParameters(), b.GetParameters()
		return cmp.Or(cmp.Compare(p.Numeric(trainer.Noise), q.Numeric(trainer.Noise)),
			cmp.Compare(p.GetMaxEpochs(), q.GetMaxEpochs()))
	})
	return nil
}

func gatherClassifiers(ctx context.Context, c *client.Client, m *reproduction.Material, study *trellisv1.Study) error {
	classifiers, err := bestBy(ctx, c, study, valueOn(trainer.FineTune))
	if err != nil {
		return err
	}
	for i := range classifiers {
		if valueOn(trainer.FineTune)(classifiers[i].Trial.GetParameters()) == 0 {
			m.Frozen = &classifiers[i]
		} else {
			m.FineTuned = &classifiers[i]
		}
	}
	return nil
}

// bestOf returns the best trial of a study, with its network.
func bestOf(ctx context.Context, c *client.Client, study *trellisv1.Study) (reproduction.Trained, error) {
	trained, err := bestBy(ctx, c, study, func(*trellisv1.Parameters) float64 { return 0 })
	if err != nil {
		return reproduction.Trained{}, err
	}
	return trained[0], nil
}

func valueOn(axis string) func(*trellisv1.Parameters) float64 {
	return func(p *trellisv1.Parameters) float64 { return p.Numeric(axis) }
}

// bestBy returns the best trial of a study for each value of the axis, ascending, with their networks.
func bestBy(
	ctx context.Context, c *client.Client, study *trellisv1.Study, axis func(*trellisv1.Parameters) float64,
) ([]reproduction.Trained, error) {
	best, err := bestTrials(ctx, c, study, axis)
	if err != nil {
		return nil, err
	}
	var all []reproduction.Trained
	for _, value := range slices.Sorted(maps.Keys(best)) {
		trial, err := withLosses(ctx, c, best[value])
		if err != nil {
			return nil, err
		}
		network, err := loadNetwork(ctx, c, trial)
		if err != nil {
			return nil, fmt.Errorf("study %s: %w", study.GetName(), err)
		}
		all = append(all, reproduction.Trained{Study: study, Trial: trial, Network: network})
	}
	return all, nil
}

// trialAt returns the best trial of a study with these values that succeeded, nil if there is none.
func trialAt(ctx context.Context, c *client.Client, study string, p *trellisv1.Parameters) (*trellisv1.Trial, error) {
	response, err := client.Call(ctx, client.CallTimeout, c.ListTrials, &trellisv1.ListTrialsRequest{
		Study: study, OrderBy: "objective", PageSize: 1, Filter: fmt.Sprintf(
			`state == "succeeded" && latent_dim == %v && learning_rate == %v && weight_decay == %v && max_epochs == %d`,
			p.Numeric(grid.LatentDim), p.Numeric(grid.LearningRate), p.Numeric(grid.WeightDecay), p.GetMaxEpochs()),
	})
	if err != nil || len(response.GetTrials()) == 0 {
		return nil, err
	}
	return response.GetTrials()[0], nil
}

// bestTrials are the best ones of a study for each value of key, of those with a finite loss. There is one at least.
func bestTrials[K comparable](
	ctx context.Context, c *client.Client, study *trellisv1.Study, key func(*trellisv1.Parameters) K,
) (map[K]*trellisv1.Trial, error) {
	best := map[K]*trellisv1.Trial{}
	request := &trellisv1.ListTrialsRequest{
		Study: study.GetName(), OrderBy: "objective", Filter: `state == "succeeded"`, PageSize: client.PageSize,
	}
	for {
		response, err := client.Call(ctx, client.CallTimeout, c.ListTrials, request)
		if err != nil {
			return nil, err
		}
		for _, trial := range response.GetTrials() {
			if value := key(trial.GetParameters()); best[value] == nil && trial.GetBestEpoch() > 0 {
				best[value] = trial
			}
		}
		if request.PageToken = response.GetNextPageToken(); request.PageToken == "" {
			break
		}
	}
	if len(best) == 0 {
		return nil, fmt.Errorf("no trial of study %s has a finite loss", study.GetName())
	}
	return best, nil
}

// withLosses returns a trial with its losses.
func withLosses(ctx context.Context, c *client.Client, trial *trellisv1.Trial) (*trellisv1.Trial, error) {
	response, err := client.Call(ctx, client.CallTimeout, c.ListTrials, &trellisv1.ListTrialsRequest{
		Study: trial.GetStudy(), Filter: fmt.Sprintf("index == %d", trial.GetIndex()), PageSize: 1, Losses: true,
	})
	if err != nil {
		return nil, err
	}
	if len(response.GetTrials()) == 0 {
		return nil, fmt.Errorf("trial %d of study %s no longer exists", trial.GetIndex(), trial.GetStudy())
	}
	return response.GetTrials()[0], nil
}

// loadNetwork fetches the best weights of a trial.
func loadNetwork(ctx context.Context, c *client.Client, trial *trellisv1.Trial) (*trainer.Inference, error) {
	response, err := client.Call(ctx, client.CallTimeout, c.GetRun,
		&trellisv1.GetRunRequest{Study: trial.GetStudy(), Run: trial.GetRun()})
	if err != nil {
		return nil, err
	}
	saved, err := trajectory.BestWeights(nil, trial, response.GetRun())
	if err != nil {
		return nil, err
	}
	checkpoint, err := c.LoadCheckpoint(ctx, saved)
	if err != nil {
		return nil, err
	}
	return trainer.NewInference(worker.TrainerConfig(response.GetConfig()), checkpoint)
}

var _ reproduction.Network = (*trainer.Inference)(nil)
