package describe

import (
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

func TestBasis(t *testing.T) {
	plain := &trellisv1.StudySpec{}
	stopping := &trellisv1.StudySpec{EarlyStopping: &trellisv1.EarlyStopping{Patience: 10}}
	program := &trellisv1.StudySpec{Program: &trellisv1.Program{}, EarlyStopping: stopping.EarlyStopping}
	pruning := &trellisv1.StudySpec{
		Pruning: &trellisv1.Pruning{Method: &trellisv1.Pruning_Median{Median: &trellisv1.MedianStopping{}}},
		Settle:  &trellisv1.Settle{MaxSeeds: 5},
	}
	for _, test := range []struct {
		spec  *trellisv1.StudySpec
		basis *trellisv1.ForecastBasis
		bound bool
		want  string
	}{
		{plain, nil, false, "nothing yet: the time of an epoch is unknown"},
		{plain, &trellisv1.ForecastBasis{EpochTime: true}, false, "the spec's epoch_time"},
		{plain, &trellisv1.ForecastBasis{Epochs: 1}, false, "1 measured epoch of this study"},
		{
			plain, &trellisv1.ForecastBasis{OtherEpochs: 17, OtherStudies: 2, AfterOthers: true}, false,
			"17 measured epochs of 2 other studies with the same model and data; older studies in the queue come first",
		},
		{
			stopping, &trellisv1.ForecastBasis{
				Epochs: 20, OtherEpochs: 17, OtherStudies: 1, RunsEnded: 4, RunsStopped: 3, RunsDiverged: 1,
			},
			false,
			"20 measured epochs of this study and 17 of 1 other study with the same model and data; 3 of 4 ended " +
				"runs stopped early, 1 diverged",
		},
		{
			plain, &trellisv1.ForecastBasis{Epochs: 20, RunsEnded: 1, RunsDiverged: 1}, false,
			"20 measured epochs of this study; 1 of 1 ended run diverged",
		},
		{
			stopping, &trellisv1.ForecastBasis{Epochs: 20, RunsBegun: 1, OtherRuns: 4}, false,
			"20 measured epochs of this study; no run has ended yet, so early stopping is estimated from the losses " +
				"so far",
		},
		{
			stopping, &trellisv1.ForecastBasis{EpochTime: true, OtherRuns: 4}, false,
			"the spec's epoch_time; early stopping is estimated from 4 runs of other studies",
		},
		{
			stopping, &trellisv1.ForecastBasis{EpochTime: true}, false,
			"the spec's epoch_time; early stopping is a guess, because there are no losses yet",
		},
		{
			program, &trellisv1.ForecastBasis{Epochs: 20, OtherEpochs: 17, OtherStudies: 1, RunsBegun: 1}, false,
			"20 measured epochs of this study and 17 of 1 other study with the same program; no run has ended yet, so early " +
				"stopping is estimated from the reports so far",
		},
		{
			pruning, &trellisv1.ForecastBasis{EpochTime: true}, false,
			"the spec's epoch_time; at most, because pruning may end runs earlier; the lower bounds allow for that; " +
				"not counting seeds that settle may add",
		},
		{
			plain, &trellisv1.ForecastBasis{OtherEpochs: 17, OtherStudies: 1, ScaledShare: 0.931, OwnCores: true, Unsuited: true}, false,
			"17 measured epochs of 1 other study with the same model and data; no worker has what a run needs, so the slots are " +
				"cores of this machine; 94% of the time is of shapes that were not measured, scaled by their operations",
		},
		{
			&trellisv1.StudySpec{Data: "photos"},
			&trellisv1.ForecastBasis{Probe: &trellisv1.ForecastBasis_Probe{
				Trainings: 1, Seconds: 1, LatentDim: 8, BatchSize: 256, TrainImages: 50, ValidationImages: 10, InputAssumed: true,
			}},
			true,
			"measured on this machine: one training at a time for 1s, latent dimension 8, batch size 256; an epoch has 50 training " +
				"and 10 validation images; assuming gray images of 28 x 28 pixels, because the data set \"photos\" is not on this machine",
		},
		{
			pruning, &trellisv1.ForecastBasis{
				OwnCores: true, Probe: &trellisv1.ForecastBasis_Probe{
					Trainings: 2, Seconds: 1, LatentDim: 8, BatchSize: 256, TrainImages: 50_000,
					ValidationImages: 10_000,
				},
			},
			true,
			"measured on this machine: 2 trainings in parallel for 1s, latent dimension 8, batch size 256; an epoch " +
				"has 50000 training and 10000 validation images; there are no workers yet, so the slots are cores " +
				"of this machine; pruning may end runs earlier; not counting seeds that settle may add",
		},
	} {
		forecast := &trellisv1.Forecast{Basis: test.basis, Confidence: 0.9}
		if test.bound {
			forecast.Confidence = 0
		}
		if got := Basis(test.spec, forecast); got != test.want {
			t.Errorf("%v:\n got %s\nwant %s", test.basis, got, test.want)
		}
	}
}
