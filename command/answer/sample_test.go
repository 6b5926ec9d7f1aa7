package answer

import (
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"trellis/command/client"
	"trellis/command/fake"
	trellisv1 "trellis/proto/trellis/v1"
)

// sampleConfiguration has been answered with the seeds 1 to n, with a mean that grows with its rank.
func sampleConfiguration(rank uint64, n uint32) *trellisv1.Configuration {
	mean := 0.01 + 0.0001*float64(rank-1)
	c := &trellisv1.Configuration{
		Parameters: &trellisv1.Parameters{MaxEpochs: 50, Values: trellisv1.ValuesOf(map[string]any{"latent_dim": uint32(4 * rank), "learning_rate": 1e-3, "weight_decay": 1e-5, "batch_size": 256})},
		Rank:       proto.Uint64(rank), Mean: proto.Float64(mean), Contender: true, TestMean: proto.Float64(mean + 0.0005),
	}
	for seed := uint32(1); seed <= n; seed++ {
		c.Repetitions = append(c.Repetitions, &trellisv1.Repetition{Seed: seed, Trial: uint64(seed), Objective: mean})
	}
	if n > 1 {
		c.Deviation = proto.Float64(0.0002)
		c.Interval = &trellisv1.Interval{Low: mean - 0.00025, High: mean + 0.00025}
	}
	if rank > 1 {
		c.Difference = proto.Float64(mean - 0.01)
		c.DifferenceInterval = &trellisv1.Interval{Low: mean - 0.0105, High: mean - 0.0095}
	}
	return c
}

// sampleConfigurations are a good one, one that diverged with a seed, and one that has not been answered.
func sampleConfigurations() []*trellisv1.Configuration {
	diverged := sampleConfiguration(2, 1)
	diverged.Rank, diverged.Mean, diverged.Contender = nil, proto.Float64(math.NaN()), false
	diverged.Difference, diverged.DifferenceInterval, diverged.TestMean = nil, nil, proto.Float64(math.NaN())
	diverged.Metrics = map[string]float64{"accuracy": math.NaN()}
	diverged.Repetitions[0].Objective = math.NaN()
	open := &trellisv1.Configuration{Parameters: sampleConfiguration(3, 1).GetParameters()}
	return []*trellisv1.Configuration{sampleConfiguration(1, 3), diverged, open}
}

// sampleVerdict has so many contenders besides the best.
func sampleVerdict(contenders uint64, settled bool, advice *trellisv1.Advice) *trellisv1.GetBestTrialResponse {
	study := fake.Study()
	study.Progress.TrialsSucceeded, study.Progress.TrialsFailed = 3, 0
	verdict := &trellisv1.Verdict{
		Confidence: 0.95, Configurations: 36, Best: sampleConfiguration(1, 3), ContendersTotal: contenders, Seeds: 3,
		Settled: settled, Advice: advice,
	}
	for rank := uint64(2); rank <= min(contenders+1, 101); rank++ {
		verdict.Contenders = append(verdict.Contenders, sampleConfiguration(rank, 3))
	}
	return &trellisv1.GetBestTrialResponse{
		Trial: fake.Trials()[0], RunnerUp: sampleRunnerUp(), Study: study,
		Verdict: verdict,
	}
}

func sampleReport() *trellisv1.Report {
	study := fake.Study()
	study.Progress.Trials = 108
	study.Spec.Pruning = &trellisv1.Pruning{Method: &trellisv1.Pruning_Asha{Asha: &trellisv1.SuccessiveHalving{MinEpochs: 10}}}
	return &trellisv1.Report{
		Study: study, Digest: strings.Repeat("0123456789abcdef", 4),
		Trained: 30, Prefixes: 50, EarlyStopped: 4, Collapsed: 6, Shared: 8, Pruned: 5, Failed: 3, Canceled: 1, Open: 1,
		EpochsTrained: 4000, EpochsShared: 400, EpochsAlone: 9000, SecondsTrained: 3600, SecondsSaved: 4500,
		SharedFrom: map[string]uint64{"b": 50, "a": 50, "old": 299, "older": 1},
		Failures: []*trellisv1.Report_FailedRun{
			{
				Run: "0123456789abcdef", Parameters: sampleConfiguration(2, 1).GetParameters(), Trials: []uint64{3, 4},
				Error: "3 attempts failed in the trainer:\n  no memory",
			},
			{
				Run: "fedcba9876543210", Parameters: sampleConfiguration(3, 1).GetParameters(), Trials: []uint64{9},
				Error: "hung",
			},
		},
		FailuresTotal: 102,
		Audits:        sampleAudits(),
		Verdict:       sampleVerdict(1, false, nil).GetVerdict(),
	}
}

// sampleAudits has one disagreement of each kind: about a loss, about a test loss with a checkpoint in play, and about the
// end, which is open.
func sampleAudits() *trellisv1.AuditSummary {
	claim := func(worker, machine string, after uint32, loss, test float64) *trellisv1.Claim {
		reports := &trellisv1.Reports{FirstEpoch: 7, TrainLoss: []float64{0.5}, ValidationLoss: []float64{loss}}
		if test > 0 {
			reports.TestLoss = map[uint32]float64{7: test}
		}
		return &trellisv1.Claim{
			Training: &trellisv1.Training{Attempt: 1024, Worker: worker, Machine: machine, After: after, Until: 6},
			Report:   &trellisv1.Claim_Losses{Losses: reports},
		}
	}
	standing := func(claim *trellisv1.Claim) *trellisv1.Claim { claim.Stands = true; return claim }
	wrong := func(claim *trellisv1.Claim) *trellisv1.Claim { claim.Wrong = true; return claim }
	ended := claim("fine-2", "fine", 0, 0, 0)
	ended.Report = &trellisv1.Claim_Ended{Ended: &trellisv1.Outcome_Success{Epochs: 6}}
	listed := func(trial uint64, claims ...*trellisv1.Claim) *trellisv1.AuditSummary_RunDisagreement {
		return &trellisv1.AuditSummary_RunDisagreement{
			Run: "0123456789abcdef", Parameters: sampleConfiguration(2, 1).GetParameters(), Trials: []uint64{trial},
			Disagreement: &trellisv1.Disagreement{Epoch: 7, Claims: claims},
		}
	}
	return &trellisv1.AuditSummary{
		Succeeded: 30, Equal: 12, SameMachine: 1, Due: 2, Disputed: 1, GivenUp: 1, DisagreementsTotal: 4,
		Disagreements: []*trellisv1.AuditSummary_RunDisagreement{
			listed(1, wrong(claim("bad-1", "bad", 0, math.Nextafter(0.25, 1), 0)), standing(claim("good-1", "good", 0, 0.25, 0)),
				standing(claim("fine-2", "fine", 0, 0.25, 0))),
			listed(2, claim("good-1", "good", 3, 0.25, 0.5), standing(claim("fine-2", "fine", 0, 0.25, 0.375)),
				standing(claim("solo", "solo", 0, 0.25, 0.375))),
			listed(3, claim("", "", 0, 0.25, 0), ended),
		},
		WrongWorkers: []*trellisv1.AuditSummary_WrongWorker{
			{Worker: "bad-1", Machine: "bad", Refuted: 1, Runs: 9, Audited: 8},
			{Worker: "worse", Machine: "worse", Refuted: 2},
		},
		GivenUpRuns: []*trellisv1.AuditSummary_GivenUpRun{{
			Run: "0123456789abcdef", Parameters: sampleConfiguration(2, 1).GetParameters(), Trials: []uint64{3, 4},
			Error: "two attempts gave different losses in 10 attempts, the last on worker bad-1: epoch 7: recorded a train " +
				"loss of 0.5, reported 0.25",
		}},
	}
}

func sampleImportance() *trellisv1.Importance {
	value := func(value any, mean, best float64) *trellisv1.ValueEffect {
		return &trellisv1.ValueEffect{
			Value: trellisv1.ValueOf(value), Mean: mean, Best: best, BestAt: sampleConfiguration(1, 1).GetParameters(), Configurations: 6,
		}
	}
	return &trellisv1.Importance{
		Axes: []*trellisv1.AxisEffect{
			{Axis: "learning_rate", Importance: 0.8125, Total: 0.84, Values: []*trellisv1.ValueEffect{
				value(1e-4, 0.02, 0.018), value(1e-3, 0.0125, 0.011),
			}},
			{Axis: "latent_dim", Importance: 0.1, Total: 0.12, Values: []*trellisv1.ValueEffect{
				value(4, 0.018, 0.013), value(16, 0.0145, 0.011),
			}},
		},
		Interactions: []*trellisv1.Interaction{
			{First: "latent_dim", Second: "learning_rate", Importance: 0.02},
			{First: "latent_dim", Second: "max_epochs", Importance: 1e-9},
		},
		Rest: 0.0675, Configurations: 12, LeftOut: 1, Seeds: 1, Reasons: &trellisv1.Importance_LeftOut{Failed: 1},
	}
}

func sampleBest() *trellisv1.GetBestTrialResponse {
	return &trellisv1.GetBestTrialResponse{Trial: fake.Trials()[0], RunnerUp: sampleRunnerUp(), Study: fake.Study()}
}

// sampleRunnerUp is one of the samples that has not diverged: what has is never next to the best.
func sampleRunnerUp() *trellisv1.Trial {
	trial := fake.Trials()[1]
	trial.State, trial.BestEpoch = trellisv1.TrialState_TRIAL_STATE_SUCCEEDED, 1
	trial.Objective, trial.TestLoss, trial.ValidationLoss = new(0.25), new(0.5), []float64{0.25}
	return trial
}

// connect returns a client of the coordinator at an address.
func connect(t *testing.T, address string) *client.Client {
	t.Helper()
	c, err := client.New(address, client.Credentials{}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Connect(t.Context(), client.DefaultWait); err != nil {
		t.Fatal(err)
	}
	return c
}
