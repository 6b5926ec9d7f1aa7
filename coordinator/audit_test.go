package coordinator

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/trajectory"
)

// trains has a worker on a machine of its own train whatever it is given, and report it all at once. corrupt may change
// what it has computed of an epoch; nil leaves everything as it is.
func (h *harness) trains(name string, slots uint32, corrupt func(epoch uint32, loss float64) float64) *fakeWorker {
	h.Helper()
	hello := helloFrom(name, slots)
	hello.Machine = "host of " + name
	w, err := h.hello(hello)
	if err != nil {
		h.Fatal(err)
	}
	go func() {
		for {
			message, err := w.stream.Recv()
			if err != nil {
				return
			}
			a := message.GetAssignment()
			if a == nil {
				continue
			}
			<-time.After(time.Second) // The clock is synctest's.
			epochs := a.GetConfig().GetParameters().GetMaxEpochs()
			losses := make([]float64, epochs)
			for i := range losses {
				losses[i] = lossAt(a.GetConfig().GetParameters(), uint32(i+1))
				if corrupt != nil {
					losses[i] = corrupt(uint32(i+1), losses[i])
				}
			}
			w.send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Reports{
				Reports: &trellisv1.ReportBatch{Reports: []*trellisv1.Reports{reportsOf(a, 1, losses...)}},
			}})
			w.succeed(a, epochs)
		}
	}()
	return w
}

// flipsOneIn flips the last bit of one loss in so many.
func flipsOneIn(losses int) func(uint32, float64) float64 {
	reported := 0
	return func(_ uint32, loss float64) float64 {
		reported++
		if reported%losses == 0 {
			return math.Float64frombits(math.Float64bits(loss) ^ 1)
		}
		return loss
	}
}

func (h *harness) report(study string) *trellisv1.Report {
	h.Helper()
	response, err := h.trials.GetReport(h.Context(), &trellisv1.GetReportRequest{Study: study})
	if err != nil {
		h.Fatal(err)
	}
	return response.GetReport()
}

func (h *harness) best(study string) *trellisv1.Trial {
	h.Helper()
	response, err := h.trials.GetBestTrial(h.Context(), &trellisv1.GetBestTrialRequest{Study: study})
	if err != nil {
		h.Fatal(err)
	}
	return response.GetTrial()
}

// completed waits until a study is.
func (h *harness) completed(name string, within time.Duration) *trellisv1.Study {
	h.Helper()
	for end := time.Now().Add(within); ; <-time.After(time.Second) {
		study := h.study(name)
		if study.GetState() == trellisv1.StudyState_STUDY_STATE_COMPLETED {
			return study
		}
		if time.Now().After(end) {
			h.Fatalf("after %v: %v", within, study)
		}
	}
}

// auditedSpec has 400 runs of 20 epochs.
func auditedSpec(audit float64) *trellisv1.StudySpec {
	latent := make([]uint32, 400)
	for i := range latent {
		latent[i] = uint32(i + 1)
	}
	spec := syntheticSpec("s", latent, []uint32{10, 20})
	spec.Audit = audit
	return spec
}

// A worker that flips one bit of one loss in 1,000 is found and named, and the study ends as if it had not been there.
func TestAnAuditFindsAFlippedBit(t *testing.T) {
	var want *trellisv1.Report
	var best *trellisv1.Trial
	serve(t, Config{}, func(h *harness) {
		h.trains("a", 8, nil)
		h.create(auditedSpec(0))
		h.completed("s", time.Hour)
		want, best = h.report("s"), h.best("s")
		if want.GetAudits() != nil {
			t.Errorf("nothing was audited: %v", want.GetAudits())
		}
	})
	serve(t, Config{}, func(h *harness) {
		h.trains("good", 8, nil)
		h.trains("faulty", 8, flipsOneIn(1000))
		h.trains("fine", 8, nil)
		// Half of the runs: enough for the faulty worker to train and audit more than 1,000 epochs.
		h.create(auditedSpec(0.5))
		h.completed("s", time.Hour)
		got := h.report("s")
		if got.GetDigest() != want.GetDigest() {
			t.Errorf("digest %s, want %s", got.GetDigest(), want.GetDigest())
		}
		if got := h.best("s"); !proto.Equal(got, best) {
			t.Errorf("best %v, want %v", got, best)
		}
		audits := got.GetAudits()
		wrong := audits.GetWrongWorkers()
		if len(wrong) != 1 || wrong[0].GetWorker() != "faulty" || wrong[0].GetMachine() != "host of faulty" ||
			wrong[0].GetRefuted() == 0 || wrong[0].GetAudited() != wrong[0].GetRuns() {
			t.Errorf("wrong workers %v", wrong)
		}
		if audits.GetEqual() < 150 || audits.GetDue()+audits.GetDisputed()+audits.GetGivenUp() != 0 {
			t.Errorf("audits: equal %d, due %d, disputed %d, given up %d", audits.GetEqual(), audits.GetDue(),
				audits.GetDisputed(), audits.GetGivenUp())
		}
		for _, listed := range audits.GetDisagreements() {
			stands := 0
			for _, claim := range listed.GetDisagreement().GetClaims() {
				if claim.GetStands() {
					stands++
				} else if claim.GetTraining().GetWorker() != "faulty" || !claim.GetWrong() {
					t.Errorf("wrong about run %s: %v", listed.GetRun(), claim)
				}
			}
			if stands != 2 {
				t.Errorf("%d claims stand: %v", stands, listed)
			}
		}
		avoided := h.worker("faulty").GetAvoided()
		if len(avoided) != 1 ||
			avoided[0].GetReason() != trellisv1.AvoidanceReason_AVOIDANCE_REASON_WRONG_LOSSES {
			t.Errorf("the faulty worker is avoided: %v", avoided)
		}
		for _, name := range []string{"good", "fine"} {
			if avoided := h.worker(name).GetAvoided(); avoided != nil {
				t.Errorf("worker %s is avoided: %v", name, avoided)
			}
		}
		if progress := got.GetStudy().GetProgress(); progress.GetTrialsSucceeded() != 800 {
			t.Errorf("progress %v", progress)
		}
	})
}

// Where there is only one machine, that one audits. The report says so.
func TestALoneWorkerAuditsItself(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.trains("alone", 2, nil)
		spec := syntheticSpec("s", eight, []uint32{2})
		spec.Audit = 0.01
		h.create(spec)
		h.completed("s", time.Minute)
		audits := h.report("s").GetAudits()
		if audits.GetEqual() == 0 || audits.GetSameMachine() != audits.GetEqual() || audits.GetSucceeded() != 8 {
			t.Errorf("audits: %v", audits)
		}
	})
}

// A first epoch that a bad machine has reported wrong fails no run: another training decides.
func TestAConflictIsDecidedByAThirdMachine(t *testing.T) {
	serve(t, Config{Lease: time.Second}, func(h *harness) {
		h.create(syntheticSpec("s", []uint32{4}, []uint32{3}))
		hello := helloFrom("bad", 1)
		hello.Machine = "host of bad"
		bad, err := h.hello(hello)
		if err != nil {
			t.Fatal(err)
		}
		a := bad.assignment()
		bad.reportLoss(a, 1, 42)
		bad.acknowledged(a.GetAttempt(), 1, false)
		bad.silence()
		<-time.After(2 * time.Second) // The clock is synctest's.
		h.trains("b", 1, nil)
		<-time.After(5 * time.Second)
		study := h.study("s")
		if study.GetWaitingFor().GetReason() != trellisv1.WaitingReason_WAITING_REASON_ANOTHER_MACHINE {
			t.Errorf("with two machines that disagree: %v", study)
		}
		if disputed := h.report("s").GetAudits(); disputed.GetDisputed() != 1 || len(disputed.GetDisagreements()) != 1 {
			t.Errorf("with two machines that disagree: %v", disputed)
		}
		h.trains("c", 1, nil)
		h.completed("s", time.Minute)
		got := h.report("s").GetAudits()
		if wrong := got.GetWrongWorkers(); len(wrong) != 1 || wrong[0].GetWorker() != "bad" || wrong[0].GetRuns() != 0 {
			t.Errorf("wrong workers: %v", wrong)
		}
		if best := h.best("s"); best.GetObjective() != lossAt(best.GetParameters(), 3) {
			t.Errorf("best: %v", best)
		}
	})
}

// With two machines only, a retry drops what they disagree on, and any of them trains the run anew.
func TestARetryRepairsADispute(t *testing.T) {
	serve(t, Config{Lease: time.Second}, func(h *harness) {
		h.create(syntheticSpec("s", []uint32{4}, []uint32{3}))
		bad := h.connect("bad", 1)
		a := bad.assignment()
		bad.reportLoss(a, 1, 42)
		bad.acknowledged(a.GetAttempt(), 1, false)
		bad.silence()
		<-time.After(2 * time.Second) // The clock is synctest's.
		h.trains("b", 1, nil)
		<-time.After(time.Minute)
		if study := h.study("s"); study.GetProgress().GetRunsDisputed() != 1 {
			t.Fatalf("after a conflict: %v", study)
		}
		response, err := h.studies.RetryStudy(h.Context(), &trellisv1.RetryStudyRequest{Study: "s"})
		if err != nil || response.GetRuns() != 1 {
			t.Fatalf("retry: %v, %v", response, err)
		}
		h.completed("s", time.Minute)
		if best := h.best("s"); best.GetObjective() != lossAt(best.GetParameters(), 3) {
			t.Errorf("best: %v", best)
		}
	})
}

// The audit of a run that is not deterministic ends: it is given up, the report says why, and what its attempts have
// claimed stays small. A retry trains the run anew.
func TestTheAuditOfARunThatIsNotDeterministicIsGivenUp(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		reported := 0.0
		h.trains("faulty", 1, func(_ uint32, loss float64) float64 {
			reported++
			return loss + reported
		})
		spec := syntheticSpec("s", []uint32{4}, []uint32{2})
		spec.Audit = 0.01
		h.create(spec)
		study := h.completed("s", 2*time.Minute)
		audits := h.report("s").GetAudits()
		if audits.GetGivenUp() != 1 || audits.GetDue() != 0 || len(audits.GetGivenUpRuns()) != 1 {
			t.Fatalf("audits: %v", audits)
		}
		run := audits.GetGivenUpRuns()[0]
		if why := run.GetError(); !strings.Contains(why, "different losses in 10 attempts") ||
			!slices.Equal(run.GetTrials(), []uint64{0}) {
			t.Errorf("given up: %v", run)
		}
		claims := audits.GetDisagreements()[0].GetDisagreement().GetClaims()
		if len(claims) != 1+trajectory.MaxConflicts {
			t.Errorf("%d claims", len(claims))
		}
		if waits := study.GetWaitingFor(); waits != nil {
			t.Errorf("the study that has ended waits for %v", waits)
		}
		if _, err := h.studies.RetryStudy(h.Context(), &trellisv1.RetryStudyRequest{Study: "s"}); err != nil {
			t.Fatal(err)
		}
		h.completed("s", 2*time.Minute)
	})
}
