package results

import (
	trellisv1 "trellis/proto/trellis/v1"
)

// A stored message is never changed, so that a copy of it, made to be changed and stored in its place, shares what it
// will not change. These functions copy one level: every field, but not what the fields point to.

// copyStudy copies the progress too, because that is what changes.
func copyStudy(s *trellisv1.Study) *trellisv1.Study {
	return &trellisv1.Study{
		Name: s.Name, Spec: s.Spec, State: s.State, DataSet: s.DataSet, CreateTime: s.CreateTime, EndTime: s.EndTime,
		Progress: copyProgress(s.Progress), CreateIndex: s.CreateIndex, ModifyIndex: s.ModifyIndex,
		Numerics: s.Numerics, Fresh: s.Fresh, EarlierSpecs: s.EarlierSpecs, Indices: s.Indices, Settled: s.Settled,
		Forecast: s.Forecast, Pretrained: s.Pretrained,
	}
}

func copyProgress(p *trellisv1.Progress) *trellisv1.Progress {
	return &trellisv1.Progress{
		Trials: p.Trials, TrialsRunning: p.TrialsRunning, TrialsSucceeded: p.TrialsSucceeded,
		TrialsFailed: p.TrialsFailed, TrialsCanceled: p.TrialsCanceled,
		Runs: p.Runs, RunsRunning: p.RunsRunning, RunsSucceeded: p.RunsSucceeded,
		RunsFailed: p.RunsFailed, RunsCanceled: p.RunsCanceled,
		Epochs: p.Epochs, EpochsLeft: p.EpochsLeft, TrainingSeconds: p.TrainingSeconds,
		TrialsPruned: p.TrialsPruned, RunsPruned: p.RunsPruned, EpochsShared: p.EpochsShared, SecondsShared: p.SecondsShared,
		EpochsAlone: p.EpochsAlone,
	}
}

func copyRun(r *trellisv1.Run) *trellisv1.Run {
	return &trellisv1.Run{
		Study: r.Study, Id: r.Id, Parameters: r.Parameters, Milestones: r.Milestones, State: r.State, Attempt: r.Attempt,
		Worker: r.Worker, Epochs: r.Epochs, TrainLoss: r.TrainLoss, ValidationLoss: r.ValidationLoss,
		BestValidationLoss: r.BestValidationLoss, BestEpoch: r.BestEpoch, StopReason: r.StopReason, Failures: r.Failures,
		Error: r.Error, TrainingSeconds: r.TrainingSeconds, ModifyIndex: r.ModifyIndex, FirstTrial: r.FirstTrial,
		AttemptEpochs: r.AttemptEpochs, Checkpoints: r.Checkpoints,
		SharedEpochs: r.SharedEpochs, SharedSeconds: r.SharedSeconds, SharedFrom: r.SharedFrom,
		Spared: r.Spared,
	}
}

func copyTrial(t *trellisv1.Trial) *trellisv1.Trial {
	return &trellisv1.Trial{
		Study: t.Study, Index: t.Index, Parameters: t.Parameters, Run: t.Run, State: t.State, Objective: t.Objective,
		BestEpoch: t.BestEpoch, Epochs: t.Epochs, TestLoss: t.TestLoss, Error: t.Error,
		TrainLoss: t.TrainLoss, ValidationLoss: t.ValidationLoss, Metrics: t.Metrics, TestMetrics: t.TestMetrics,
		EpochMetrics: t.EpochMetrics,
	}
}

// copyLosses shares the test losses, the metrics and the arrays of losses, and room for more behind them: see appendLosses.
func copyLosses(l *trellisv1.Losses) *trellisv1.Losses {
	return &trellisv1.Losses{
		Study: l.Study, Run: l.Run, TrainLoss: l.TrainLoss, ValidationLoss: l.ValidationLoss,
		TestLoss: l.TestLoss, Metrics: l.Metrics, TestMetrics: l.TestMetrics, Seconds: l.Seconds,
	}
}

func copyWorker(w *trellisv1.Worker) *trellisv1.Worker {
	return &trellisv1.Worker{
		Name: w.Name, State: w.State, Slots: w.Slots, Runs: w.Runs, Version: w.Version, Processor: w.Processor,
		CreateTime: w.CreateTime, UpdateTime: w.UpdateTime, ModifyIndex: w.ModifyIndex,
	}
}
