package worker

import (
	"context"
	"maps"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
)

// savedCheckpoint puts a checkpoint of so many epochs into the coordinator's store.
func (h *harness) savedCheckpoint(epochs int) pretrained {
	h.Helper()
	config := TrainerConfig(synthetic(1, "run", epochs).GetConfig())
	config.EpochTime = 0
	var content []byte
	config.Checkpoint = func(checkpoint *trainer.Checkpoint) (err error) {
		content, err = checkpoint.MarshalBinary()
		return err
	}
	if _, err := trainer.Train(h.Context(), config, func(trainer.Report) error { return nil }); err != nil {
		h.Fatal(err)
	}
	return pretrained{h.coordinator.artifacts.put(content), uint64(len(content))}
}

// begins is a run that begins with the weights of a checkpoint.
func (p pretrained) begins(attempt uint64, run string) *trellisv1.Assignment {
	a := synthetic(attempt, run, 2)
	a.Config.Pretrained, a.Config.PretrainedSize = p.sha256, p.size
	return a
}

// pretrainings notes which checkpoints the trainer is given. It trains without them, since the synthetic model takes none.
type pretrainings struct {
	mu    sync.Mutex
	given []*trainer.Checkpoint
}

func (p *pretrainings) configure(_ *harness, c *Config) {
	train := c.train
	c.train = func(ctx context.Context, c trainer.Config, report func(trainer.Report) error) (trainer.Result, error) {
		p.mu.Lock()
		p.given = append(p.given, c.Pretrained)
		p.mu.Unlock()
		c.Pretrained = nil
		return train(ctx, c, report)
	}
}

// The trainer is given the checkpoint that the assignment names. Runs that begin with the same one share a download.
func TestPretrained(t *testing.T) {
	var trained pretrainings
	inBubble(t, trained.configure, func(h *harness) {
		saved := h.savedCheckpoint(7)
		h.coordinator.artifacts.downloading = func(int, trellisv1.ArtifactService_DownloadArtifactServer) error {
			return sleep(h.Context(), time.Second)
		}
		p := h.connect()
		p.assign(saved.begins(1, "r1"))
		p.assign(saved.begins(2, "r2"))
		for range 2 {
			for outcome := (*trellisv1.Outcome)(nil); outcome == nil; {
				request := p.next()
				if outcome = request.GetOutcome(); outcome != nil && outcome.GetSuccess().GetEpochs() != 2 {
					t.Errorf("got %v, want the end after 2 epochs", outcome)
				}
			}
		}
		p.acknowledgeOutcome(1)
		p.acknowledgeOutcome(2)
		p.assign(saved.begins(3, "r3"))
		p.reports(3, 1, 2)
		p.outcome(3)
		p.acknowledgeOutcome(3)
		p.assign(synthetic(4, "r4", 1))
		p.reports(4, 1, 1)
		p.outcome(4)
		if _, downloads := h.coordinator.artifacts.calls(); downloads != 1 {
			t.Errorf("%d downloads, want 1", downloads)
		}
	})
	if len(trained.given) != 4 || trained.given[3] != nil {
		t.Fatalf("the trainer was given %v, want a checkpoint three times, and then none", trained.given)
	}
	for i, checkpoint := range trained.given[:3] {
		if checkpoint == nil || checkpoint.Epoch() != 7 || checkpoint != trained.given[0] {
			t.Errorf("the trainer was given %v at %d, want the checkpoint of epoch 7", checkpoint, i)
		}
	}
}

const theTrainer = trellisv1.FailureClass_FAILURE_CLASS_TRAINER

// A run whose weights can't be had is not trained: it is handed back if the coordinator can't serve them, and fails, saying
// why, if they are no good. The next attempt asks for them again.
func TestPretrainedNotToBeHad(t *testing.T) {
	for _, test := range []struct {
		name  string
		named func(h *harness, saved pretrained) pretrained
		// want is in the message of a failure of the class. Without one, the run is handed back.
		want  string
		class trellisv1.FailureClass
	}{
		{"missing", func(*harness, pretrained) pretrained { return pretrained{strings.Repeat("0", 64), 7} }, "", 0},
		{"damaged at the coordinator", func(h *harness, p pretrained) pretrained {
			h.coordinator.artifacts.downloading = func(int, trellisv1.ArtifactService_DownloadArtifactServer) error {
				return status.Error(codes.DataLoss, "the artifact is corrupt")
			}
			return p
		}, "", 0},
		{"of another size", func(_ *harness, p pretrained) pretrained { return pretrained{p.sha256, p.size + 1} }, "damaged in transit", theTrainer},
		{"damaged", func(h *harness, p pretrained) pretrained {
			content := h.coordinator.artifacts.get(p.sha256)
			content[len(content)/2] ^= 1
			return p
		}, "damaged in transit", theTrainer},
		{"no checkpoint", func(h *harness, _ pretrained) pretrained {
			return pretrained{h.coordinator.artifacts.put([]byte("weights")), 7}
		}, "decode it", trellisv1.FailureClass_FAILURE_CLASS_INPUT},
	} {
		t.Run(test.name, func(t *testing.T) {
			var trained pretrainings
			inBubble(t, trained.configure, func(h *harness) {
				named := test.named(h, h.savedCheckpoint(1))
				p := h.connect()
				for attempt := uint64(1); attempt <= 2; attempt++ {
					p.assign(named.begins(attempt, "run"))
					outcome := p.outcome(attempt)
					failure := outcome.GetFailure()
					if test.want == "" {
						if outcome.GetReturn() == nil {
							t.Errorf("attempt %d: got %v, want it handed back", attempt, outcome)
						}
					} else if failure.GetClass() != test.class ||
						!strings.Contains(failure.GetMessage(), "get the pretrained weights, checkpoint "+named.sha256) ||
						!strings.Contains(failure.GetMessage(), test.want) {
						t.Errorf("attempt %d: got %v, want a failure with %q", attempt, failure, test.want)
					}
					p.acknowledgeOutcome(attempt)
				}
				if _, downloads := h.coordinator.artifacts.calls(); downloads != 2 {
					t.Errorf("%d downloads, want one for each attempt", downloads)
				}
			})
			if len(trained.given) > 0 {
				t.Error("the run was trained")
			}
		})
	}
}

// Waiting for weights ends with the attempt, while the download goes on for others.
func TestWaitForPretrained(t *testing.T) {
	inBubble(t, new(pretrainings).configure, func(h *harness) {
		saved := h.savedCheckpoint(1)
		h.coordinator.artifacts.downloading = func(call int, _ trellisv1.ArtifactService_DownloadArtifactServer) error {
			if call < 4 {
				return status.Error(codes.Unavailable, "no leader")
			}
			return nil
		}
		p := h.connect()
		p.assign(saved.begins(1, "r1"))
		synctest.Wait()
		p.stop(1)
		synctest.Wait()
		if n := len(h.worker.slots); n != 0 {
			t.Errorf("%d slots are taken", n)
		}
		p.assign(saved.begins(2, "r2"))
		p.reports(2, 1, 2)
		p.outcome(2)
	})
}

// Metrics go with the losses of their epochs, however these are packed, and again to a new session.
func TestReportMetrics(t *testing.T) {
	accuracy := func(epoch int) float64 {
		if epoch == 3 {
			return math.NaN()
		}
		return 1 / float64(epoch)
	}
	configure := func(_ *harness, c *Config) {
		train := c.train
		c.train = func(ctx context.Context, c trainer.Config, report func(trainer.Report) error) (trainer.Result, error) {
			return train(ctx, c, func(r trainer.Report) error {
				r.Metrics = map[string]float64{"train_accuracy": -accuracy(r.Epoch), "validation_accuracy": accuracy(r.Epoch)}
				if r.TestLoss != nil {
					r.TestMetrics = map[string]float64{"accuracy": 0.75}
				}
				return report(r)
			})
		}
	}
	inBubble(t, configure, func(h *harness) {
		check := func(p *peer) {
			t.Helper()
			for epoch := 1; epoch <= 5; {
				for _, packed := range p.next().GetReports().GetReports() {
					metrics := packed.GetMetrics()
					for i := range packed.GetTrainLoss() {
						want := accuracy(epoch)
						train, validation := metrics["train_accuracy"].GetValues()[i], metrics["validation_accuracy"].GetValues()[i]
						if math.Float64bits(validation) != math.Float64bits(want) || math.Float64bits(train) != math.Float64bits(-want) {
							t.Errorf("epoch %d: got %v and %v, want %v", epoch, train, validation, want)
						}
						tests, tested := packed.GetTestMetrics()[uint32(epoch)]
						if tested != (epoch == 5) || tested && !maps.Equal(tests.GetValues(), map[string]float64{"accuracy": 0.75}) {
							t.Errorf("epoch %d: got the test metrics %v", epoch, tests)
						}
						epoch++
					}
				}
			}
		}
		p := h.connect()
		p.assign(synthetic(1, "run", 5))
		check(p)
		h.leave()
		h.comeBack()
		check(h.connect(1))
	})
}
