package trajectory

import (
	trellisv1 "trellis/proto/trellis/v1"
)

// A stored message is never changed, so that a copy of it, made to be changed and stored in its place, shares what it
// will not change. These functions copy one level: every field, but not what the fields point to.

// CopyRun copies a run.
func CopyRun(r *trellisv1.Run) *trellisv1.Run {
	return &trellisv1.Run{
		Study: r.Study, Id: r.Id, Parameters: r.Parameters, Milestones: r.Milestones, State: r.State, Attempt: r.Attempt,
		Worker: r.Worker, Epochs: r.Epochs, TrainLoss: r.TrainLoss, ValidationLoss: r.ValidationLoss,
		BestValidationLoss: r.BestValidationLoss, BestEpoch: r.BestEpoch, StopReason: r.StopReason, Failures: r.Failures,
		Error: r.Error, TrainingSeconds: r.TrainingSeconds, ModifyIndex: r.ModifyIndex, FirstTrial: r.FirstTrial,
		AttemptEpochs: r.AttemptEpochs, Checkpoints: r.Checkpoints,
		SharedEpochs: r.SharedEpochs, SharedSeconds: r.SharedSeconds, SharedFrom: r.SharedFrom,
		Spared: r.Spared, MissingWeights: r.MissingWeights,
		Trainings: r.Trainings, Dispute: r.Dispute, Decided: r.Decided, Audit: r.Audit,
		Objective: r.Objective, Metric: r.Metric, Outputs: r.Outputs, Place: r.Place,
	}
}

// CopyTrial copies a trial.
func CopyTrial(t *trellisv1.Trial) *trellisv1.Trial {
	return &trellisv1.Trial{
		Study: t.Study, Index: t.Index, Parameters: t.Parameters, Run: t.Run, State: t.State, Objective: t.Objective,
		BestEpoch: t.BestEpoch, Epochs: t.Epochs, TestLoss: t.TestLoss, Error: t.Error,
		TrainLoss: t.TrainLoss, ValidationLoss: t.ValidationLoss, Metrics: t.Metrics, TestMetrics: t.TestMetrics,
		EpochMetrics: t.EpochMetrics,
	}
}

// CopyLosses shares the test losses, the metrics and the arrays of losses, and room for more behind them: see
// appendLosses.
func CopyLosses(l *trellisv1.Losses) *trellisv1.Losses {
	return &trellisv1.Losses{
		Study: l.Study, Run: l.Run, TrainLoss: l.TrainLoss, ValidationLoss: l.ValidationLoss,
		TestLoss: l.TestLoss, Metrics: l.Metrics, TestMetrics: l.TestMetrics, Seconds: l.Seconds,
		Epochs: l.Epochs,
	}
}
