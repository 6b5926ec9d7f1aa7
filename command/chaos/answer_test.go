package chaos

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
)

// answer is what a trial gives by itself, trained here without network, disk or faults.
type answer struct {
	train, validation []float64
	test, objective   float64
	bestEpoch         uint32
}

// answers keeps them: trials occur in many studies.
var answers sync.Map

// question is what an answer depends on.
type question struct {
	latentDim, maxEpochs, batchSize uint32
	learningRate, weightDecay       float64
	seed, patience                  uint32
	minDelta                        float64
}

// answerTo trains a trial of the synthetic model.
func answerTo(spec *trellisv1.StudySpec, p *trellisv1.Parameters) (*answer, error) {
	q := question{
		latentDim: uint32(p.Numeric("latent_dim")), maxEpochs: p.GetMaxEpochs(), batchSize: uint32(p.Numeric("batch_size")),
		learningRate: p.Numeric("learning_rate"), weightDecay: p.Numeric("weight_decay"), seed: p.GetSeed(),
		patience: spec.GetEarlyStopping().GetPatience(), minDelta: spec.GetEarlyStopping().GetMinDelta(),
	}
	if known, ok := answers.Load(q); ok {
		return known.(*answer), nil
	}
	a := &answer{objective: math.NaN()}
	result, err := trainer.Train(context.Background(), trainer.Config{
		Model: trainer.Synthetic, LatentDim: int(q.latentDim), LearningRate: q.learningRate, WeightDecay: q.weightDecay,
		MaxEpochs: int(q.maxEpochs), Seed: q.seed, BatchSize: int(q.batchSize),
		EarlyStopping: trainer.EarlyStopping{Patience: int(q.patience), MinDelta: q.minDelta},
	}, func(report trainer.Report) error {
		a.train = append(a.train, report.TrainLoss)
		a.validation = append(a.validation, report.ValidationLoss)
		if report.TestLoss != nil {
			a.test = *report.TestLoss
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("train %v: %w", p, err)
	}
	a.bestEpoch = uint32(result.BestEpoch)
	if result.BestEpoch > 0 {
		a.objective = result.BestValue
	}
	answers.Store(q, a)
	return a, nil
}

// sameBits compares numbers as they are stored: NaN is NaN.
func sameBits(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) }

// isPrefix says whether losses are the first of all, bit for bit.
func isPrefix(losses, all []float64) bool {
	if len(losses) > len(all) {
		return false
	}
	for i, loss := range losses {
		if !sameBits(loss, all[i]) {
			return false
		}
	}
	return true
}

// checkTrial compares what a coordinator says of a trial with its answer. It says nothing of how far the trial has
// come.
func checkTrial(spec *trellisv1.StudySpec, trial *trellisv1.Trial) error {
	want, err := answerTo(spec, trial.GetParameters())
	if err != nil {
		return err
	}
	if !isPrefix(trial.GetTrainLoss(), want.train) || !isPrefix(trial.GetValidationLoss(), want.validation) {
		return fmt.Errorf("trial %d has losses %v and %v, want the first of %v and %v", trial.GetIndex(),
			trial.GetTrainLoss(), trial.GetValidationLoss(), want.train, want.validation)
	}
	epochs := int(trial.GetEpochs())
	if len(trial.GetTrainLoss()) != epochs || len(trial.GetValidationLoss()) != epochs {
		return fmt.Errorf("trial %d counts %d epochs and has %d and %d losses", trial.GetIndex(), epochs,
			len(trial.GetTrainLoss()), len(trial.GetValidationLoss()))
	}
	if trial.GetState() != trellisv1.TrialState_TRIAL_STATE_SUCCEEDED {
		return nil
	}
	switch {
	case epochs != len(want.validation):
		return fmt.Errorf("trial %d has succeeded after %d epochs, want %d", trial.GetIndex(), epochs,
			len(want.validation))
	case !sameBits(trial.GetObjective(), want.objective) || trial.GetBestEpoch() != want.bestEpoch:
		return fmt.Errorf("trial %d has the objective %v of epoch %d, want %v of epoch %d", trial.GetIndex(),
			trial.GetObjective(), trial.GetBestEpoch(), want.objective, want.bestEpoch)
	case trial.TestLoss == nil || !sameBits(trial.GetTestLoss(), want.test):
		return fmt.Errorf("trial %d has the test loss %v, want %v", trial.GetIndex(), trial.GetTestLoss(), want.test)
	}
	return nil
}

// checkRun compares what a watch says of a run with its answer.
func checkRun(spec *trellisv1.StudySpec, run *trellisv1.Run) error {
	want, err := answerTo(spec, run.GetParameters())
	if err != nil {
		return err
	}
	epochs := int(run.GetEpochs())
	if epochs > len(want.validation) {
		return fmt.Errorf("run %s has %d epochs, want at most %d", run.GetId(), epochs, len(want.validation))
	}
	if epochs > 0 && (!sameBits(run.GetTrainLoss(), want.train[epochs-1]) ||
		!sameBits(run.GetValidationLoss(), want.validation[epochs-1])) {
		return fmt.Errorf("run %s has losses %v and %v in epoch %d, want %v and %v", run.GetId(), run.GetTrainLoss(),
			run.GetValidationLoss(), epochs, want.train[epochs-1], want.validation[epochs-1])
	}
	return nil
}

// values is an axis with these values.
func values(all ...float64) *trellisv1.Axis { return trellisv1.AxisOf[float64](all...) }

// integers is an axis with these values.
func integers(all ...uint32) *trellisv1.Axis { return trellisv1.AxisOf[uint32](all...) }

// synthetic is a study of the synthetic model over one grid.
func synthetic(name string, epochTime time.Duration, grid *trellisv1.Grid) *trellisv1.StudySpec {
	return &trellisv1.StudySpec{
		Name: name, Model: trainer.Synthetic, Grid: []*trellisv1.Grid{grid},
		Synthetic: &trellisv1.Synthetic{EpochTime: durationpb.New(epochTime)},
	}
}
