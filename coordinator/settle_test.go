package coordinator

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
)

// settleSpec has three configurations of one epoch, to be settled with at most maxSeeds.
func settleSpec(name string, maxSeeds uint32) *trellisv1.StudySpec {
	spec := syntheticSpec(name, []uint32{4, 5, 40}, []uint32{1})
	spec.Settle = &trellisv1.Settle{MaxSeeds: maxSeeds}
	return spec
}

// noisyLoss is a surface on which 4 and 5 are a near tie, with noise that is fixed by latent dimension and seed.
func noisyLoss(p *trellisv1.Parameters) float64 {
	noise := rand.New(rand.NewPCG(uint64(p.Numeric("latent_dim")), uint64(p.GetSeed()))).NormFloat64()
	if p.Numeric("latent_dim") == 40 {
		return 40 + 0.01*noise
	}
	return 4 + 0.1*float64(p.Numeric("latent_dim")) + 0.1*noise
}

// trainNoisy answers assignments from the noisy surface, or fails them, until the study has ended. It returns what it
// was given, as latent dimension and seed.
func (w *fakeWorker) trainNoisy(study string, fails func(*trellisv1.Parameters) bool) string {
	w.Helper()
	var trained []string
	for w.study(study).GetState() == trellisv1.StudyState_STUDY_STATE_RUNNING {
		a := w.assignment()
		p := a.GetConfig().GetParameters()
		trained = append(trained, fmt.Sprintf("%v/%d", p.Numeric("latent_dim"), p.GetSeed()))
		if fails(p) {
			w.outcome(&trellisv1.Outcome{
				Study: a.GetStudy(), Run: a.GetRun(), Attempt: a.GetAttempt(),
				Result: &trellisv1.Outcome_Failure{
					Failure: &trellisv1.Failure{
						Class:   trellisv1.FailureClass_FAILURE_CLASS_OUT_OF_MEMORY,
						Message: "too large",
					},
				},
			})
			w.acknowledged(a.GetAttempt(), 0, true)
			continue
		}
		for epoch := a.GetEpochs() + 1; epoch <= p.GetMaxEpochs(); epoch++ {
			w.reportLoss(a, epoch, noisyLoss(p))
		}
		w.succeed(a, p.GetMaxEpochs())
		w.acknowledged(a.GetAttempt(), p.GetMaxEpochs(), true)
	}
	return strings.Join(trained, " ")
}

func never(*trellisv1.Parameters) bool { return false }

// TestSettle: contenders get seeds until they part or the budget is used up, whatever fails.
func TestSettle(t *testing.T) {
	for _, test := range []struct {
		name     string
		maxSeeds uint32
		fails    func(*trellisv1.Parameters) bool
		trained  string
		settled  bool
	}{
		{"until they part", 40, never, "4/1 5/1 40/1 4/2 5/2 40/2 4/3 5/3 4/4 5/4 4/5 5/5 4/6 5/6 4/7 5/7 4/8 5/8 " +
			"4/9 5/9 4/10 5/10", true},
		{"until the budget is used up", 3, never, "4/1 5/1 40/1 4/2 5/2 40/2 4/3 5/3", false},
		{
			"while seeds fail", 4, func(p *trellisv1.Parameters) bool { return p.GetSeed() >= 3 },
			"4/1 5/1 40/1 4/2 5/2 40/2 4/3 5/3 4/4 5/4", false,
		},
		{
			"while one never works", 3, func(p *trellisv1.Parameters) bool { return p.Numeric("latent_dim") == 5 },
			"4/1 5/1 40/1 4/2 40/2", true,
		},
		{"while nothing works", 3, func(p *trellisv1.Parameters) bool { return true }, "4/1 5/1 40/1", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			serve(t, Config{}, func(h *harness) {
				h.create(settleSpec("settle", test.maxSeeds))
				trained := h.connect("w", 1).trainNoisy("settle", test.fails)
				if trained != test.trained {
					t.Errorf("trained %s, want %s", trained, test.trained)
				}
				study := h.study("settle")
				if study.GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED || !study.GetSettled() {
					t.Errorf("the study is %v, settled %v", study.GetState(), study.GetSettled())
				}
				list, err := h.trials.ListConfigurations(h.Context(),
					&trellisv1.ListConfigurationsRequest{Study: "settle"})
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range list.GetConfigurations() {
					if len(c.GetRepetitions()) > int(test.maxSeeds) {
						t.Errorf("more seeds than the budget of %d: %v", test.maxSeeds, c)
					}
				}
				if study.GetProgress().GetTrialsSucceeded() == 0 {
					return
				}
				best, err := h.trials.GetBestTrial(h.Context(), &trellisv1.GetBestTrialRequest{Study: "settle"})
				if err != nil {
					t.Fatal(err)
				}
				if v := best.GetVerdict(); v.GetSettled() != test.settled ||
					v.GetBest().GetParameters().Numeric("latent_dim") != 4 {
					t.Errorf("verdict %v after %s", v, trained)
				}
			})
		})
	}
}

// TestRetrySettlesAgain: what a retry makes work may be a near-tie of the best, and gets seeds as if it had worked at
// once.
func TestRetrySettlesAgain(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(settleSpec("again", 3))
		w := h.connect("w", 1)
		fails := func(p *trellisv1.Parameters) bool { return p.Numeric("latent_dim") == 5 }
		if trained := w.trainNoisy("again", fails); trained != "4/1 5/1 40/1 4/2 40/2" ||
			!h.study("again").GetSettled() {
			t.Fatalf("trained %s", trained)
		}
		if _, err := h.studies.RetryStudy(h.Context(), &trellisv1.RetryStudyRequest{Study: "again"}); err != nil {
			t.Fatal(err)
		}
		if trained := w.trainNoisy("again", never); trained != "5/1 5/2 4/3 5/3" || !h.study("again").GetSettled() {
			t.Errorf("trained %s after the retry", trained)
		}
	})
}

// TestSettlePrunesNoSeeds: contenders are pruned by what they are, and then not once more by the luck of their further
// seeds. Those that were lucky would be all that is compared.
func TestSettlePrunesNoSeeds(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		spec := syntheticSpec("both", []uint32{1, 2, 3, 4, 5, 6, 40}, []uint32{4})
		spec.Settle = &trellisv1.Settle{MaxSeeds: 5}
		spec.Pruning = &trellisv1.Pruning{Method: &trellisv1.Pruning_Asha{
			Asha: &trellisv1.SuccessiveHalving{MinEpochs: 2, ReductionFactor: 2},
		}}
		h.create(spec)
		h.connect("w", 1).trainNoisy("both", never)
		list, err := h.trials.ListTrials(h.Context(), &trellisv1.ListTrialsRequest{Study: "both"})
		if err != nil {
			t.Fatal(err)
		}
		seeds := map[uint32]int{}
		for _, trial := range list.GetTrials() {
			seed := trial.GetParameters().GetSeed()
			seeds[seed]++
			if seed > 1 && trial.GetState() != trellisv1.TrialState_TRIAL_STATE_SUCCEEDED {
				t.Errorf("the coordinator adds a trial, and it is %v", trial)
			}
		}
		if seeds[1] != 7 || seeds[2] < 2 || seeds[2] == 7 {
			t.Errorf("trials by seed: %v; want some contenders, which have more than one", seeds)
		}
	})
}

// TestSettleRefused: a study that can't have more trials ends.
func TestSettleRefused(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		refused := 0
		h.log.hook(func(l *hookedLog) {
			l.refusing = func(command *trellisv1.Command) error {
				if len(command.GetExtendStudy().GetPoints()) > 0 {
					refused++
					return fmt.Errorf("more than a study may have: %w", results.ErrInvalid)
				}
				return nil
			}
		})
		h.create(settleSpec("full", 5))
		if trained := h.connect("w", 1).trainNoisy("full", never); trained != "4/1 5/1 40/1" || refused != 1 {
			t.Errorf("trained %s, refused %d times", trained, refused)
		}
	})
}

// TestSettleTriesAgain: what keeps a command from the log does not keep the study from being settled.
func TestSettleTriesAgain(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		failures := 3
		h.log.hook(func(l *hookedLog) {
			l.refusing = func(command *trellisv1.Command) error {
				if failures == 0 || command.GetExtendStudy() == nil {
					return nil
				}
				failures--
				return errors.New("the log has a bad moment")
			}
		})
		h.create(settleSpec("again", 2))
		if trained := h.connect("w", 1).trainNoisy("again", never); trained != "4/1 5/1 40/1 4/2 5/2 40/2" ||
			failures != 0 {
			t.Errorf("trained %s, %d failures left", trained, failures)
		}
	})
}
