package worker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
	"trellis/trainer/network"
)

// paced makes real epochs take a second each.
func paced(_ *harness, c *Config) {
	train := c.train
	c.train = func(ctx context.Context, c trainer.Config, report func(trainer.Report) error) (trainer.Result, error) {
		return train(ctx, c, func(r trainer.Report) error {
			r.Elapsed = time.Second
			if c.Model != trainer.Synthetic {
				if err := sleep(ctx, time.Second); err != nil {
					return err
				}
			}
			return report(r)
		})
	}
}

// networkAssignment is a run of the real network on few images.
func (s *served) networkAssignment(attempt uint64, run string, epochs int) *trellisv1.Assignment {
	a := s.assignment(attempt)
	a.Run = run
	a.Config.Parameters.MaxEpochs = uint32(epochs)
	a.Config.Parameters.Values["batch_size"] = trellisv1.IntegerValue(16)
	a.Config.Milestones = []uint32{uint32(epochs)}
	return a
}

// decoded is a checkpoint that has been uploaded.
func (h *harness) decoded(reported *trellisv1.Checkpoint) *trainer.Checkpoint {
	h.Helper()
	content := h.coordinator.artifacts.get(reported.GetSha256())
	if len(content) == 0 || uint64(len(content)) != reported.GetSize() {
		h.Fatalf("%d bytes have been uploaded as %v", len(content), reported)
	}
	checkpoint := new(trainer.Checkpoint)
	if err := checkpoint.UnmarshalBinary(content); err != nil {
		h.Fatal(err)
	}
	summary := checkpoint.Summary()
	if summary.Epoch != int(reported.GetEpoch()) || summary.BestEpoch != int(reported.GetBestEpoch()) {
		h.Errorf("the checkpoint is of epoch %d, best epoch %d; reported as %v", summary.Epoch, summary.BestEpoch, reported)
	}
	return checkpoint
}

// exchange takes requests until the outcome of the attempt, and returns them as a text: r1-3 for reports, c3 for a
// checkpoint, m3 for one that is missing.
func (p *peer) exchange(attempt uint64) (text string, checkpoints []*trellisv1.Checkpoint, outcome *trellisv1.Outcome) {
	p.Helper()
	separator := ""
	for {
		request := p.next()
		for _, reports := range request.GetReports().GetReports() {
			first, count := int(reports.GetFirstEpoch()), len(reports.GetTrainLoss())
			text += fmt.Sprintf("%sr%d", separator, first)
			if count > 1 {
				text += fmt.Sprintf("-%d", first+count-1)
			}
		}
		if report := request.GetCheckpoint(); report != nil {
			if report.GetStudy() != "study" || report.GetRun() == "" || report.GetAttempt() != attempt {
				p.Errorf("got %v, want a checkpoint of attempt %d", report, attempt)
			}
			if report.GetMissing() != "" {
				text += fmt.Sprintf("%sm%d", separator, report.GetCheckpoint().GetEpoch())
			} else {
				text += fmt.Sprintf("%sc%d", separator, report.GetCheckpoint().GetEpoch())
				checkpoints = append(checkpoints, report.GetCheckpoint())
			}
			p.missing = append(p.missing, report.GetMissing())
		}
		if outcome := request.GetOutcome(); outcome != nil {
			return text, checkpoints, outcome
		}
		separator = " "
	}
}

func TestCheckpoints(t *testing.T) {
	for _, test := range []struct {
		name string
		// interval is the coordinator's.
		interval   time.Duration
		model      string
		milestones []uint32
		want       string
	}{
		{"none", 0, trainer.ConvAutoencoder, []uint32{2, 5}, "r1 r2 r3 r4 r5"},
		{"by time", 1500 * time.Millisecond, trainer.Synthetic, []uint32{5}, "r1 r2 c2 r3 r4 c4 r5"},
		{"no weights, no milestones", time.Hour, trainer.Synthetic, []uint32{2, 5}, "r1 r2 r3 r4 r5"},
		{"end", time.Hour, trainer.ConvAutoencoder, []uint32{5}, "r1 r2 r3 r4 r5 c5"},
		{"milestones", time.Hour, trainer.ConvAutoencoder, []uint32{2, 3, 5}, "r1 r2 c2 r3 c3 r4 r5 c5"},
		{
			// The milestone at 3 starts the time afresh.
			"milestones and time", 2500 * time.Millisecond, trainer.ConvAutoencoder,
			[]uint32{2, 6},
			"r1 r2 c2 r3 r4 r5 c5 r6 c6",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, paced, func(h *harness) {
				p := h.session()
				p.welcomeWithCheckpoints(test.interval)
				assignment := synthetic(1, "run", int(slices.Max(test.milestones)))
				if test.model != trainer.Synthetic {
					assignment = serveImages(h, network.Side, network.Side).networkAssignment(1, "run",
						int(slices.Max(test.milestones)))
				}
				assignment.Config.Milestones = test.milestones
				p.assign(assignment)
				got, checkpoints, outcome := p.exchange(1)
				if got != test.want || outcome.GetSuccess() == nil {
					t.Errorf("got %s and %v, want %s and success", got, outcome, test.want)
				}
				for _, checkpoint := range checkpoints {
					weights := h.decoded(checkpoint).Summary().Weights
					if (weights > 0) != (test.model != trainer.Synthetic) {
						t.Errorf("the checkpoint has %d weights", weights)
					}
				}
				if uploads, _ := h.coordinator.artifacts.calls(); uploads != len(checkpoints) {
					t.Errorf("%d uploads of %d checkpoints", uploads, len(checkpoints))
				}
			})
		})
	}
}

// Early stopping ends a run before its last milestone: what it has come to is uploaded all the same.
func TestCheckpointAtEarlyEnd(t *testing.T) {
	inBubble(t, paced, func(h *harness) {
		p := h.session()
		p.welcomeWithCheckpoints(time.Hour)
		assignment := serveImages(h, network.Side, network.Side).networkAssignment(1, "run", 50)
		assignment.Config.EarlyStopping = &trellisv1.EarlyStopping{Patience: 2, MinDelta: 1}
		p.assign(assignment)
		got, checkpoints, outcome := p.exchange(1)
		if want := "r1 r2 r3 c3"; got != want || outcome.GetSuccess().GetEpochs() != 3 {
			t.Fatalf("got %s and %v, want %s and success", got, outcome, want)
		}
		if !h.decoded(checkpoints[0]).Summary().Stopped {
			t.Error("the checkpoint does not know that the run has ended")
		}
	})
}

// Training does not wait for uploads. Those by time are left out meanwhile, those at milestones are made up for.
func TestUploadsDoNotStopTraining(t *testing.T) {
	inBubble(t, paced, func(h *harness) {
		goOn := make(chan struct{})
		h.coordinator.artifacts.uploading = func(int, trellisv1.ArtifactService_UploadArtifactServer) error {
			<-goOn
			return nil
		}
		p := h.session()
		p.welcomeWithCheckpoints(time.Second)
		assignment := serveImages(h, network.Side, network.Side).networkAssignment(1, "run", 12)
		assignment.Config.Milestones = []uint32{4, 5, 9, 12}
		p.assign(assignment)
		p.reports(1, 1, 12)
		synctest.Wait()
		if n := h.running.Load(); n != 0 {
			t.Errorf("%d runs in training", n)
		}
		p.quiet(10 * time.Second) // The outcome waits.
		close(goOn)
		got, checkpoints, _ := p.exchange(1)
		if want := "c1 c4 c5 c9 c12"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		for _, checkpoint := range checkpoints {
			h.decoded(checkpoint)
		}
	})
}

// More milestones than can wait hold up the training, rather than being left out or filling the memory.
func TestTooManyMilestones(t *testing.T) {
	inBubble(t, paced, func(h *harness) {
		goOn := make(chan struct{})
		h.coordinator.artifacts.uploading = func(int, trellisv1.ArtifactService_UploadArtifactServer) error {
			<-goOn
			return nil
		}
		p := h.session()
		p.welcomeWithCheckpoints(time.Hour)
		assignment := serveImages(h, network.Side, network.Side).networkAssignment(1, "run", 20)
		assignment.Config.Milestones = nil
		for epoch := range uint32(20) {
			assignment.Config.Milestones = append(assignment.Config.Milestones, epoch+1)
		}
		p.assign(assignment)
		p.reports(1, 1, maxUploads+2) // One more is on its way, and one waits in hand.
		p.quiet(10 * time.Second)
		close(goOn)
		_, checkpoints, outcome := p.exchange(1)
		if len(checkpoints) != 20 || outcome.GetSuccess() == nil {
			t.Errorf("got %d checkpoints and %v, want 20 and success", len(checkpoints), outcome)
		}
		for i, checkpoint := range checkpoints {
			if epoch := h.decoded(checkpoint).Epoch(); epoch != i+1 {
				t.Errorf("checkpoint %d is of epoch %d", i+1, epoch)
			}
		}
	})
}

// A checkpoint is never worth a run.
func TestUploadErrors(t *testing.T) {
	fail := func(code codes.Code, calls int) func(int, trellisv1.ArtifactService_UploadArtifactServer) error {
		return func(call int, _ trellisv1.ArtifactService_UploadArtifactServer) error {
			if call > calls {
				return nil
			}
			return status.Error(code, "not now")
		}
	}
	var began time.Time
	for _, test := range []struct {
		name      string
		uploading func(int, trellisv1.ArtifactService_UploadArtifactServer) error
		answer    func(*trellisv1.UploadArtifactResponse)
		want      string
		// uploads are the calls, 0 if their number is random, and takes is how long the outcome may come after the last report.
		uploads int
		takes   time.Duration
	}{
		{"unavailable once", fail(codes.Unavailable, 1), nil, "r1 c1", 2, 200 * time.Millisecond},
		{"exhausted thrice", fail(codes.ResourceExhausted, 3), nil, "r1 c1", 4, time.Second},
		{"unavailable for a minute", func(int, trellisv1.ArtifactService_UploadArtifactServer) error {
			if time.Since(began) < time.Minute {
				return status.Error(codes.Unavailable, "not now")
			}
			return nil
		}, nil, "r1 c1", 0, time.Minute + 10*time.Second},
		{"unavailable for good", fail(codes.Unavailable, 1000), nil, "r1 m1", 0, retryTime + 10*time.Second},
		{"refused", fail(codes.PermissionDenied, 100), nil, "r1 m1", 1, 0},
		{"without artifacts", fail(codes.Unimplemented, 100), nil, "r1 m1", 1, 0},
		{"damaged", nil, func(r *trellisv1.UploadArtifactResponse) { r.Size-- }, "r1 m1", 1, 0},
		{"stalled", func(_ int, stream trellisv1.ArtifactService_UploadArtifactServer) error {
			<-stream.Context().Done()
			return stream.Context().Err()
		}, nil, "r1 m1", int(retryTime / stallTimeout), lastUploadTimeout},
		{"stalled once", func(call int, stream trellisv1.ArtifactService_UploadArtifactServer) error {
			if call == 1 {
				<-stream.Context().Done()
			}
			return stream.Context().Err()
		}, nil, "r1 c1", 2, stallTimeout + 200*time.Millisecond},
		{"slow without end", func(_ int, stream trellisv1.ArtifactService_UploadArtifactServer) error {
			for {
				if err := sleep(stream.Context(), stallTimeout*3/4); err != nil {
					return err
				}
				if _, err := stream.Recv(); err != nil {
					return err
				}
			}
		}, nil, "r1 m1", 0, lastUploadTimeout},
	} {
		t.Run(test.name, func(t *testing.T) {
			registry := prometheus.NewRegistry()
			configure := func(h *harness, c *Config) {
				c.Registerer = registry
				paced(h, c)
			}
			inBubble(t, configure, func(h *harness) {
				h.coordinator.artifacts.uploading, h.coordinator.artifacts.answer = test.uploading, test.answer
				p := h.session()
				p.welcomeWithCheckpoints(time.Hour)
				assignment := serveImages(h, network.Side, network.Side).networkAssignment(1, "run", 1)
				assignment.Config.Milestones = nil // It is the end all the same.
				start := time.Now()
				began = start
				p.assign(assignment)
				got, _, outcome := p.exchange(1)
				if got != test.want || outcome.GetSuccess() == nil {
					t.Errorf("got %s and %v, want %s and success", got, outcome, test.want)
				}
				if took := time.Since(start) - time.Second; took > test.takes {
					t.Errorf("the outcome came %v after the report, want %v at most", took, test.takes)
				}
				if uploads, _ := h.coordinator.artifacts.calls(); uploads != test.uploads && test.uploads != 0 {
					t.Errorf("%d uploads, want %d", uploads, test.uploads)
				}
				gaveUp := h.count("gave up uploading a checkpoint") + h.count("gave up uploading checkpoints")
				if (gaveUp == 1) != (test.want == "r1 m1") || gaveUp > 1 {
					t.Errorf("the log tells %d times of a checkpoint given up:\n%s", gaveUp, h.logs)
				}
				result := map[bool]string{true: "failure", false: "uploaded"}[gaveUp == 1]
				if n := gather(t, registry)["trellis_worker_checkpoints_total "+result]; n != 1 {
					t.Errorf("the metrics count %v checkpoints of result %s, want 1", n, result)
				}
				// The slot is free again.
				p.acknowledgeOutcome(1)
				p.assign(synthetic(2, "other", 1))
				p.reports(2, 1, 1)
				p.outcome(2)
			})
		})
	}
}

// A checkpoint is owed until it is acknowledged, like a report.
func TestCheckpointIsOwed(t *testing.T) {
	inBubble(t, paced, func(h *harness) {
		p := h.session()
		p.welcomeWithCheckpoints(time.Hour)
		assignment := serveImages(h, network.Side, network.Side).networkAssignment(1, "run", 4)
		assignment.Config.Milestones = []uint32{1, 3, 4}
		p.assign(assignment)
		if got, _, _ := p.exchange(1); got != "r1 c1 r2 r3 c3 r4 c4" {
			t.Errorf("got %s", got)
		}
		p.acknowledge(1, 2)
		p.acknowledgeCheckpoint(1, 1)
		synctest.Wait()
		for _, test := range []struct{ epoch, checkpoint int }{{3, 0}, {4, 3}, {0, 4}} {
			h.leave()
			h.comeBack()
			p = h.session()
			p.welcomeWithCheckpoints(time.Hour, 1)
			got, _, outcome := p.exchange(1)
			want := map[int]string{3: "r3-4 c3 c4", 4: "c3 r4 c4", 0: "c4"}[test.epoch]
			if got != want || outcome.GetSuccess() == nil {
				t.Errorf("got %s and %v, want %s and success", got, outcome, want)
			}
			p.acknowledge(1, test.epoch)
			p.acknowledgeCheckpoint(1, test.checkpoint)
			synctest.Wait()
		}
		if uploads, _ := h.coordinator.artifacts.calls(); uploads != 3 {
			t.Errorf("%d uploads, want 3", uploads)
		}
	})
}

// A large checkpoint may take long, as long as it comes along. Otherwise it is given up, however much is left.
func TestUploadsOfLargeCheckpoints(t *testing.T) {
	for _, test := range []struct {
		speed float64
		// storing is how long the coordinator's bucket takes after that.
		storing time.Duration
		missing string
	}{
		{2 * minUploadSpeed, 0, ""},
		{minUploadSpeed / 2, 0, errLate.Error()},
		{64 * minUploadSpeed, 90 << 20 / minUploadSpeed * time.Second, ""},
	} {
		t.Run(fmt.Sprint(test.speed), func(t *testing.T) {
			inBubble(t, paced, func(h *harness) {
				h.coordinator.artifacts.storing = test.storing
				h.coordinator.artifacts.pause = time.Duration(maxPiece / test.speed * float64(time.Second))
				p := h.session()
				p.welcomeWithCheckpoints(time.Hour)
				synctest.Wait()
				content := make([]byte, 90<<20)
				path := filepath.Join(t.TempDir(), "checkpoint")
				if err := os.WriteFile(path, content, 0o600); err != nil {
					t.Fatal(err)
				}
				a := newAttempt(context.Background(), synthetic(1, "run", 1), position{}) // The bubble's.
				defer a.end()
				a.uploads.open(h.worker, a)
				checkpoint := &trellisv1.Checkpoint{Epoch: 1, Sha256: digestOf(content), Size: uint64(len(content))}
				if err := a.uploads.enqueue(a.ctx, encoded{checkpoint: checkpoint, kept: true, file: path}); err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				a.uploads.finish()
				took, all := time.Since(start), time.Duration(float64(len(content))/test.speed*float64(time.Second))
				all += test.storing
				if whole := took >= all; whole != (test.missing == "") || !whole && took > lastUploadTimeout {
					t.Errorf("it took %v of %v", took, all)
				}
				synctest.Wait()
				if len(a.checkpoints) != 1 || a.checkpoints[0].GetMissing() != test.missing {
					t.Errorf("got %v, want missing %q", a.checkpoints, test.missing)
				}
				if longest := time.Duration(a.uploads.longest.Load()); (longest >= all) != (test.missing == "") || longest > took {
					t.Errorf("the longest upload took %v, want that of one that has ended: %v", longest, took)
				}
				if uploads, _ := h.coordinator.artifacts.calls(); uploads != 1 {
					t.Errorf("%d uploads, want 1", uploads)
				}
			})
		})
	}
}

// Uploads wait for a coordinator that is away, and so does the outcome.
func TestUploadWithoutCoordinator(t *testing.T) {
	inBubble(t, paced, func(h *harness) {
		p := h.session()
		p.welcomeWithCheckpoints(time.Hour)
		p.assign(serveImages(h, network.Side, network.Side).networkAssignment(1, "run", 3))
		p.reports(1, 1, 2)
		h.leave()
		time.Sleep(10 * time.Minute)
		h.comeBack()
		p = h.session()
		p.welcomeWithCheckpoints(time.Hour, 1)
		if got, _, outcome := p.exchange(1); got != "r1-3 c3" || outcome.GetSuccess() == nil {
			t.Errorf("got %s and %v, want r1-3 c3 and success", got, outcome)
		}
	})
}

// Who leaves takes nothing along: the next worker goes on where this one was.
func TestDrainUploadsLastCheckpoint(t *testing.T) {
	for _, test := range []struct {
		name       string
		milestones []uint32
		stalls     bool
		want       string
	}{
		{"last epoch", []uint32{50}, false, "c3"},
		{"uploaded already", []uint32{3, 50}, false, ""},
		{"stalls", []uint32{50}, true, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, paced, func(h *harness) {
				if test.stalls {
					h.coordinator.artifacts.uploading = func(
						_ int, stream trellisv1.ArtifactService_UploadArtifactServer,
					) error {
						<-stream.Context().Done()
						return stream.Context().Err()
					}
				}
				p := h.session()
				p.welcomeWithCheckpoints(time.Hour)
				assignment := serveImages(h, network.Side, network.Side).networkAssignment(1, "run", 50)
				assignment.Config.Milestones = test.milestones
				p.assign(assignment)
				p.reports(1, 1, 3)
				if len(test.milestones) > 1 {
					p.checkpoint(1, 3)
				}
				start := time.Now()
				h.worker.Drain()
				p.drain()
				got, _, outcome := p.exchange(1)
				if got != test.want || outcome.GetReturn() == nil {
					t.Errorf("got %s and %v, want %s and the run handed back", got, outcome, test.want)
				}
				if took := time.Since(start); took > drainUploadTimeout || took > 0 != test.stalls {
					t.Errorf("handing back took %v", took)
				}
				p.acknowledgeOutcome(1)
				p.goodbye()
				if err := h.returned(); err != nil {
					t.Errorf("Run returned %v", err)
				}
			})
		})
	}
}

// A drain waits no longer for checkpoints that have piled up, nor for the last ones of a run that has ended already.
func TestDrainWhileUploadsStall(t *testing.T) {
	for _, test := range []struct {
		name string
		// milestones have their checkpoints on the way when the worker drains, after so many epochs.
		milestones []uint32
		epochs     int
		succeeds   bool
		// missing are the checkpoints of which the coordinator is told that they could not be saved.
		missing string
		// limit is how long the drain may take, if that is said, and took how long it waits for the uploads.
		limit, took time.Duration
	}{
		{
			"one more has no room",
			[]uint32{1, 2, 3, 4, 5, 6, 7, 8, 9, 50},
			maxUploads + 2, false,
			"m1 m2 m3 m4 m5 m6 m7 m8 m9", 0, drainUploadTimeout,
		},
		{"the run has ended", []uint32{3}, 3, true, "m3", 0, drainUploadTimeout},
		{"there is little time", []uint32{3}, 3, true, "m3", 5 * time.Second, 4500 * time.Millisecond},
		{"there is more time", []uint32{3}, 3, true, "m3", 30 * time.Second, 27 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			limited := func(h *harness, c *Config) {
				paced(h, c)
				c.DrainTimeout = test.limit
			}
			inBubble(t, limited, func(h *harness) {
				h.coordinator.artifacts.uploading = func(_ int, stream trellisv1.ArtifactService_UploadArtifactServer) error {
					<-stream.Context().Done()
					return stream.Context().Err()
				}
				p := h.session()
				p.welcomeWithCheckpoints(time.Hour)
				assignment := serveImages(h, network.Side, network.Side).networkAssignment(1, "run", int(slices.Max(test.milestones)))
				assignment.Config.Milestones = test.milestones
				p.assign(assignment)
				p.reports(1, 1, test.epochs)
				synctest.Wait()
				start := time.Now()
				h.worker.Drain()
				p.drain()
				missing, _, outcome := p.exchange(1)
				if (outcome.GetSuccess() != nil) != test.succeeds {
					t.Errorf("outcome is %v, want success: %v", outcome, test.succeeds)
				}
				if missing != test.missing || slices.ContainsFunc(p.missing, func(s string) bool { return s != errLate.Error() }) {
					t.Errorf("the coordinator was told of %s: %q, want %s", missing, p.missing, test.missing)
				}
				if took := time.Since(start); took != test.took {
					t.Errorf("the outcome took %v, want %v", took, test.took)
				}
				p.acknowledgeOutcome(1)
				p.goodbye()
				if err := h.returned(); err != nil {
					t.Errorf("Run returned %v", err)
				}
			})
		})
	}
}

// An upload counts as steps: a run that waits for its last one does not hang.
func TestUploadsCountAsSteps(t *testing.T) {
	inBubble(t, paced, func(h *harness) {
		h.coordinator.artifacts.uploading = func(_ int, stream trellisv1.ArtifactService_UploadArtifactServer) error {
			return status.Error(codes.Unavailable, "no leader")
		}
		p := h.session()
		p.welcomeAs(&trellisv1.Welcome{HeartbeatMilliseconds: 3100, CheckpointMilliseconds: 3600_000})
		p.assign(serveImages(h, network.Side, network.Side).networkAssignment(1, "run", 1))
		p.reports(1, 1, 1)
		var last uint64
		for range 2 {
			steps := p.next().GetHeartbeat().GetAttempts()[0].GetSteps()
			if steps <= last {
				t.Errorf("the attempt has made %d steps, after %d before", steps, last)
			}
			last = steps
		}
	})
}

// A stopped attempt's uploads end with it, whether or not they move.
func TestStopDuringUpload(t *testing.T) {
	inBubble(t, paced, func(h *harness) {
		h.coordinator.artifacts.uploading = func(_ int, stream trellisv1.ArtifactService_UploadArtifactServer) error {
			<-stream.Context().Done()
			return stream.Context().Err()
		}
		p := h.session()
		p.welcomeWithCheckpoints(time.Hour)
		s := serveImages(h, network.Side, network.Side)
		p.assign(s.networkAssignment(1, "a", 1))
		p.reports(1, 1, 1)
		synctest.Wait()
		p.stop(1)
		p.quiet(time.Minute)
		if uploads, _ := h.coordinator.artifacts.calls(); uploads != 1 {
			t.Errorf("%d uploads, want 1", uploads)
		}
		p.assign(s.networkAssignment(2, "b", 1))
		p.reports(2, 1, 1)
		synctest.Wait()
		start := time.Now()
		h.stop(nil)
		h.returned()
		if took := time.Since(start); took > 0 {
			t.Errorf("Run took %v to return", took)
		}
	})
}

// The coordinator is told of weights that are missing and why, and not of checkpoints that would only have saved time.
func TestMissingWeights(t *testing.T) {
	inBubble(t, paced, func(h *harness) {
		h.coordinator.artifacts.uploading = func(call int, _ trellisv1.ArtifactService_UploadArtifactServer) error {
			if call == 3 { // of epochs 2, 4 and 6: the second milestone
				return nil
			}
			return status.Error(codes.Internal, "the store is \xff full")
		}
		p := h.session()
		p.welcomeWithCheckpoints(1500 * time.Millisecond)
		assignment := serveImages(h, network.Side, network.Side).networkAssignment(1, "run", 6)
		assignment.Config.Milestones = []uint32{4, 6}
		p.assign(assignment)
		got, _, outcome := p.exchange(1)
		if want := "r1 r2 r3 r4 m4 r5 r6 c6"; got != want || outcome.GetSuccess() == nil {
			t.Errorf("got %s and %v, want %s and success", got, outcome, want)
		}
		if len(p.missing) != 2 || !strings.Contains(p.missing[0], "the store is \uFFFD full") {
			t.Errorf("the reasons are %q, want that of the store", p.missing)
		}
		// What is owed is sent again.
		h.leave()
		h.comeBack()
		p = h.connect(1)
		if got, _, _ := p.exchange(1); got != "r1-6 m4 c6" {
			t.Errorf("sent again were %s", got)
		}
	})
}
