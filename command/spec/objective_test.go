package spec

import (
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/objective"
)

// Every way to write what trials are ranked by, and what it means with its defaults: a model's metrics have a direction.
func TestObjectiveForms(t *testing.T) {
	const (
		minimize = trellisv1.Direction_DIRECTION_MINIMIZE
		maximize = trellisv1.Direction_DIRECTION_MAXIMIZE

		best = trellisv1.Objective_SUMMARY_BEST
		last = trellisv1.Objective_SUMMARY_LAST
		mean = trellisv1.Objective_SUMMARY_MEAN
	)
	of := func(metric string, direction trellisv1.Direction, of trellisv1.Objective_Summary, epochs uint32) *trellisv1.Objective {
		return &trellisv1.Objective{Metric: metric, Direction: direction, Of: of, Epochs: epochs}
	}
	for text, want := range map[string]*trellisv1.Objective{
		"{}":                                      nil,
		"{metric: validation_loss}":               nil,
		"{direction: minimize, of: best}":         nil,
		"{of: last}":                              of("validation_loss", minimize, last, 0),
		"{of: mean}":                              of("validation_loss", minimize, mean, 5),
		"{of: {mean: 3}}":                         of("validation_loss", minimize, mean, 3),
		"{of: SUMMARY_MEAN, epochs: 7}":           of("validation_loss", minimize, mean, 7),
		"{metric: train_loss}":                    of("train_loss", minimize, best, 0),
		"{metric: validation_accuracy}":           of("validation_accuracy", maximize, best, 0),
		"{metric: train_accuracy, of: {mean: 2}}": of("train_accuracy", maximize, mean, 2),
		"{metric: validation_accuracy, direction: minimize}":           of("validation_accuracy", minimize, best, 0),
		"{metric: validation_accuracy, direction: DIRECTION_MINIMIZE}": of("validation_accuracy", minimize, best, 0),
	} {
		t.Run(text, func(t *testing.T) {
			spec, err := Parse("spec.yaml", []byte("name: good\nmodel: classifier\ndata: mnist\npretrained: {study: paper}\n"+
				"grid: {latent_dim: 4, learning_rate: 1e-3, max_epochs: 40}\nobjective: "+text+"\n"))
			if err != nil {
				t.Fatal(err)
			}
			complete := Models().WithDefaults(spec)
			if got := objective.Of(complete); !proto.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			if again := Models().WithDefaults(complete); !proto.Equal(again, complete) {
				t.Errorf("defaults twice: %v, once %v", again.Objective, complete.Objective)
			}
		})
	}
}

// Early stopping follows the objective, unless it has a metric of its own.
func TestEarlyStoppingForms(t *testing.T) {
	const accuracy = "objective: {metric: validation_accuracy}\n"
	for text, want := range map[string]*trellisv1.EarlyStopping{
		"early_stopping: {patience: 3}": {Patience: 3},
		accuracy + "early_stopping: {patience: 3}": {
			Patience: 3, Metric: "validation_accuracy", Direction: trellisv1.Direction_DIRECTION_MAXIMIZE,
		},
		accuracy + "early_stopping: {patience: 3, metric: validation_loss}": {Patience: 3},
		accuracy + "early_stopping: {patience: 3, metric: train_accuracy}": {
			Patience: 3, Metric: "train_accuracy", Direction: trellisv1.Direction_DIRECTION_MAXIMIZE,
		},
		"early_stopping: {patience: 3, metric: validation_accuracy, direction: minimize}": {
			Patience: 3, Metric: "validation_accuracy", Direction: trellisv1.Direction_DIRECTION_MINIMIZE,
		},
		"objective: {metric: validation_loss, direction: maximize}\nearly_stopping: {patience: 3}": {
			Patience: 3, Metric: "validation_loss", Direction: trellisv1.Direction_DIRECTION_MAXIMIZE,
		},
	} {
		t.Run(text, func(t *testing.T) {
			spec, err := Parse("spec.yaml", []byte("name: good\nmodel: classifier\ndata: mnist\npretrained: {study: paper}\n"+
				"grid: {latent_dim: 4, learning_rate: 1e-3, max_epochs: 40}\n"+text+"\n"))
			if err != nil {
				t.Fatal(err)
			}
			if got := objective.Stopping(Models().WithDefaults(spec)); !proto.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}
