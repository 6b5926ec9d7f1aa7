package worker

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
	"trellis/trainer/kernel"
	"trellis/trainer/network"
)

// both makes trainings paced and notes where each begins.
func both(began *[]int) func(*harness, *Config) {
	return func(h *harness, c *Config) {
		paced(h, c)
		trainings(began)(h, c)
	}
}

// recorded is what the coordinator has of a run.
type recorded struct {
	losses      []trainer.Report
	checkpoints []*trellisv1.Checkpoint
	outcome     *trellisv1.Outcome
}

// record takes requests until the outcome or until so many epochs are recorded, acknowledges them, and checks that what
// comes again is what is there: bit for bit, without gaps.
func (p *peer) record(attempt uint64, r *recorded, epochs int) {
	p.Helper()
	for r.outcome == nil && len(r.losses) < epochs {
		request := p.next()
		for _, packed := range request.GetReports().GetReports() {
			for _, report := range p.unpack(packed) {
				switch {
				case report.Epoch > len(r.losses)+1:
					p.Fatalf("got epoch %d after %d epochs", report.Epoch, len(r.losses))
				case report.Epoch == len(r.losses)+1:
					r.losses = append(r.losses, report)
				default:
					if was := r.losses[report.Epoch-1]; !sameLosses(was, report) {
						p.Errorf("epoch %d has losses %+v, had %+v", report.Epoch, report, was)
					}
				}
			}
			p.acknowledge(attempt, len(r.losses))
		}
		if report := request.GetCheckpoint(); report != nil {
			r.checkpoints = append(r.checkpoints, report.GetCheckpoint())
			p.acknowledgeCheckpoint(attempt, int(report.GetCheckpoint().GetEpoch()))
		}
		r.outcome = request.GetOutcome()
	}
}

func sameLosses(a, b trainer.Report) bool {
	bits := math.Float64bits
	same := bits(a.TrainLoss) == bits(b.TrainLoss) && bits(a.ValidationLoss) == bits(b.ValidationLoss) &&
		(a.TestLoss == nil) == (b.TestLoss == nil)
	return same && (a.TestLoss == nil || bits(*a.TestLoss) == bits(*b.TestLoss))
}

// A run whose worker is killed goes on elsewhere from its last checkpoint. What comes of it has the same bits as if
// nothing had happened, on each path of the kernels: losses, and all that is in the last checkpoint. No more is trained
// twice than an interval of checkpoints.
func TestRunGoesOnElsewhere(t *testing.T) {
	inUse := kernel.Path()
	defer kernel.SetPath(inUse)
	const interval = 5
	for _, path := range kernel.Paths() {
		for _, test := range []struct {
			name string
			stop *trellisv1.EarlyStopping
			// killed is the epoch in which the worker is killed, and ends the last one.
			killed, ends int
		}{
			{"to the end", nil, 37, 50},
			{"early stopping", &trellisv1.EarlyStopping{Patience: 7, MinDelta: 2e-4}, 0, 0},
		} {
			if testing.Short() && path == "portable" {
				continue // It takes seconds, many with the race detector.
			}
			t.Run(path+"/"+test.name, func(t *testing.T) {
				if err := kernel.SetPath(path); err != nil {
					t.Fatal(err)
				}
				var began []int
				inBubble(t, both(&began), func(h *harness) {
					data := serveImages(h, network.Side, network.Side)
					assignment := func(attempt uint64) *trellisv1.Assignment {
						a := data.networkAssignment(attempt, "run", 50)
						a.Config.EarlyStopping = test.stop
						a.Config.Milestones = []uint32{10, 50}
						return a
					}
					p := h.session()
					p.welcomeWithCheckpoints(interval * time.Second)
					var want, got recorded
					p.assign(assignment(1))
					p.record(1, &want, 100)
					p.acknowledgeOutcome(1)
					ends, killed := len(want.losses), test.killed
					if test.stop != nil {
						killed = ends - 2
						if ends < 12 || ends == 50 {
							t.Fatalf("early stopping after %d epochs: choose another rule", ends)
						}
					} else if ends != test.ends {
						t.Fatalf("it ended after %d epochs, want %d", ends, test.ends)
					}

					p.assign(assignment(2))
					p.record(2, &got, killed-1)
					time.Sleep(500 * time.Millisecond) // In the middle of the next epoch.
					h.kill()
					h.another()
					p = h.session()
					p.welcomeWithCheckpoints(interval * time.Second)
					again := assignment(3)
					again.Epochs = uint32(len(got.losses))
					again.Checkpoint = got.checkpoints[len(got.checkpoints)-1]
					p.assign(again)
					p.record(3, &got, 100)

					synctest.Wait()
					if !slices.EqualFunc(got.losses, want.losses, sameLosses) {
						t.Errorf("losses differ:\n%v\nwant\n%v", got.losses, want.losses)
					}
					if got.outcome.GetSuccess() == nil || !proto.Equal(got.outcome.GetSuccess(), want.outcome.GetSuccess()) {
						t.Errorf("outcome is %v, want %v", got.outcome, want.outcome)
					}
					last, wantLast := got.checkpoints[len(got.checkpoints)-1], want.checkpoints[len(want.checkpoints)-1]
					if int(last.GetEpoch()) != ends || !proto.Equal(last, wantLast) {
						t.Errorf("the last checkpoint is %v, want %v", last, wantLast)
					}
					if at := began[2]; len(began) != 3 || at < killed-interval || at == 1 {
						t.Errorf("trainings began at epochs %v; the worker was killed in epoch %d", began, killed)
					}
				})
			})
		}
	}
}

// encodedCheckpoint is that of an epoch of the synthetic run.
func encodedCheckpoint(t *testing.T, epoch int) (encoded []byte) {
	t.Helper()
	config := TrainerConfig(synthetic(1, "run", epoch).Config)
	config.EpochTime = 0
	config.Checkpoint = func(c *trainer.Checkpoint) (err error) {
		encoded, err = c.MarshalBinary()
		return err
	}
	if _, err := trainer.Train(t.Context(), config, func(trainer.Report) error { return nil }); err != nil {
		t.Fatal(err)
	}
	return encoded
}

// What is wrong with a checkpoint costs time, never the run.
func TestUnusableCheckpoint(t *testing.T) {
	ofEpoch4 := encodedCheckpoint(t, 4)
	garbage := bytes.Repeat([]byte("garbage"), 100)
	for _, test := range []struct {
		name string
		// alter changes what is right otherwise.
		alter func(*artifactStore, *trellisv1.Assignment)
		// began is where the training begins, and says what the log says if that is the beginning.
		began     int
		says      string
		downloads int
	}{
		{"usable", func(*artifactStore, *trellisv1.Assignment) {}, 5, "", 1},
		{"unknown", func(s *artifactStore, a *trellisv1.Assignment) {
			delete(s.contents, a.Checkpoint.Sha256)
		}, 1, "no artifact", 1},
		{"altered", func(s *artifactStore, a *trellisv1.Assignment) {
			s.contents[a.Checkpoint.Sha256][50]++
		}, 1, "damaged", 1},
		{"shorter", func(_ *artifactStore, a *trellisv1.Assignment) { a.Checkpoint.Size++ }, 1, "damaged", 1},
		{"longer", func(_ *artifactStore, a *trellisv1.Assignment) { a.Checkpoint.Size-- }, 1, "damaged", 1},
		{"no size", func(_ *artifactStore, a *trellisv1.Assignment) { a.Checkpoint.Size = 0 }, 1, "damaged", 1},
		{"garbage", func(s *artifactStore, a *trellisv1.Assignment) {
			a.Checkpoint.Sha256, a.Checkpoint.Size = s.put(garbage), uint64(len(garbage))
		}, 1, "corrupt", 1},
		{"another run's", func(_ *artifactStore, a *trellisv1.Assignment) { a.Config.Parameters.Seed++ }, 1, "another run", 1},
		{"later than recorded", func(_ *artifactStore, a *trellisv1.Assignment) { a.Epochs = 3 }, 1, "at most 3", 1},
		{"later than the end", func(_ *artifactStore, a *trellisv1.Assignment) {
			a.Config.Parameters.MaxEpochs = 3
		}, 1, "at most 3", 1},
		{"unavailable once", func(s *artifactStore, _ *trellisv1.Assignment) {
			s.downloading = func(call int, _ trellisv1.ArtifactService_DownloadArtifactServer) error {
				if call == 1 {
					return status.Error(codes.Unavailable, "no leader")
				}
				return nil
			}
		}, 5, "", 2},
		{"unavailable", func(s *artifactStore, _ *trellisv1.Assignment) {
			s.downloading = func(int, trellisv1.ArtifactService_DownloadArtifactServer) error {
				return status.Error(codes.Unavailable, "no leader")
			}
		}, 1, "no leader", 0},
		{"stalled once", func(s *artifactStore, _ *trellisv1.Assignment) {
			s.downloading = func(call int, stream trellisv1.ArtifactService_DownloadArtifactServer) error {
				if call == 1 {
					<-stream.Context().Done()
				}
				return stream.Context().Err()
			}
		}, 5, "", 2},
		{"refused", func(s *artifactStore, _ *trellisv1.Assignment) {
			s.downloading = func(int, trellisv1.ArtifactService_DownloadArtifactServer) error {
				return status.Error(codes.PermissionDenied, "not yours")
			}
		}, 1, "not yours", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			var began []int
			inBubble(t, trainings(&began), func(h *harness) {
				store := h.coordinator.artifacts
				a := synthetic(1, "run", 6)
				a.Epochs = 5
				a.Checkpoint = &trellisv1.Checkpoint{Epoch: 4, Sha256: store.put(ofEpoch4), Size: uint64(len(ofEpoch4))}
				test.alter(store, a)
				p := h.connect()
				p.assign(a)
				epochs := int(a.GetConfig().GetParameters().GetMaxEpochs())
				p.reports(1, test.began, epochs)
				if outcome := p.outcome(1); int(outcome.GetSuccess().GetEpochs()) != epochs {
					t.Errorf("outcome is %v, want success", outcome)
				}
				if began[len(began)-1] != test.began {
					t.Errorf("trainings began at epochs %v, want %d at last", began, test.began)
				}
				const message = "can't resume from the checkpoint; starting at epoch 1"
				if n := h.count(message); n != 0 != (test.says != "") || !strings.Contains(h.logs.String(), test.says) {
					t.Errorf("the log tells %d times that the checkpoint can't be used, want why: %s\n%s", n, test.says, h.logs)
				}
				if _, downloads := store.calls(); downloads != test.downloads && test.downloads != 0 {
					t.Errorf("%d downloads, want %d", downloads, test.downloads)
				}
			})
		})
	}
}

// A run that had ended by its checkpoint is only to be told so.
func TestCheckpointOfEndedRun(t *testing.T) {
	inBubble(t, nil, func(h *harness) {
		p := h.session()
		p.welcomeWithCheckpoints(time.Second)
		p.assign(synthetic(1, "run", 3))
		_, checkpoints, _ := p.exchange(1)
		p.acknowledgeOutcome(1)
		a := synthetic(2, "run", 3)
		a.Checkpoint, a.Epochs = checkpoints[len(checkpoints)-1], 3
		if a.Checkpoint.Epoch != 3 {
			t.Fatalf("the last checkpoint is %v", a.Checkpoint)
		}
		p.assign(a)
		if got, _, outcome := p.exchange(2); got != "" || outcome.GetSuccess().GetEpochs() != 3 {
			t.Errorf("got %q and %v, want success after 3 epochs", got, outcome)
		}
	})
}

// What the worker remembers itself is used if it is further on; its reports are the new attempt's.
func TestOwnPositionOrCheckpoint(t *testing.T) {
	for _, test := range []struct {
		// checkpoint is the epoch of the assignment's, after the run was interrupted in epoch 7.
		checkpoint, epochs, began, first int
	}{{4, 6, 7, 1}, {6, 6, 7, 1}, {8, 9, 9, 9}} {
		t.Run(fmt.Sprint(test.checkpoint), func(t *testing.T) {
			var began []int
			inBubble(t, trainings(&began), func(h *harness) {
				p := h.session()
				p.welcomeWithCheckpoints(time.Second)
				p.assign(synthetic(1, "run", 10))
				_, checkpoints, _ := p.exchange(1)
				p.acknowledgeOutcome(1)
				p.assign(synthetic(2, "run", 10))
				for epoch := 1; epoch <= 6; epoch++ {
					p.reports(2, epoch, epoch)
					p.checkpoint(2, epoch)
				}
				p.stop(2)
				synctest.Wait()
				a := synthetic(3, "run", 10)
				a.Checkpoint, a.Epochs = checkpoints[test.checkpoint-1], uint32(test.epochs)
				p.assign(a)
				first := p.next().GetReports().GetReports()[0].GetFirstEpoch()
				synctest.Wait()
				if int(first) != test.first || began[len(began)-1] != test.began {
					t.Errorf("trainings began at epochs %v, and the first report is of epoch %d, want %d and %d", began, first,
						test.began, test.first)
				}
				_, downloads := h.coordinator.artifacts.calls()
				if (downloads == 0) != (test.first == 1) {
					t.Errorf("%d downloads", downloads)
				}
			})
		})
	}
}

// Waiting for a checkpoint counts as steps, and ends with the attempt.
func TestWaitForCheckpoint(t *testing.T) {
	inBubble(t, nil, func(h *harness) {
		h.coordinator.artifacts.downloading = func(int, trellisv1.ArtifactService_DownloadArtifactServer) error {
			return status.Error(codes.Unavailable, "no leader")
		}
		p := h.session()
		p.welcomeAs(&trellisv1.Welcome{HeartbeatMilliseconds: 3100})
		a := synthetic(1, "run", 3)
		a.Checkpoint = &trellisv1.Checkpoint{Epoch: 2, Sha256: strings.Repeat("0", 64), Size: 1}
		a.Epochs = 2
		p.assign(a)
		var last uint64
		for range 2 {
			steps := p.next().GetHeartbeat().GetAttempts()[0].GetSteps()
			if steps <= last {
				t.Errorf("the attempt has made %d steps, after %d before", steps, last)
			}
			last = steps
		}
		p.stop(1)
		synctest.Wait()
		if n := len(h.worker.slots); n != 0 {
			t.Errorf("%d slots are taken", n)
		}
	})
}
