package coordinator

import (
	"testing"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/trajectory"
)

// attempts has a worker on a machine of its own do with each assignment what the function says: fail in a class, or, if
// that is none, train for a second.
func (h *harness) attempts(
	name string, outcome func(*trellisv1.Assignment) trellisv1.FailureClass,
) {
	h.Helper()
	hello := helloFrom(name, 1)
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
			if class := outcome(a); class != 0 {
				w.outcome(&trellisv1.Outcome{
					Study: a.GetStudy(), Run: a.GetRun(), Attempt: a.GetAttempt(),
					Result: &trellisv1.Outcome_Failure{Failure: &trellisv1.Failure{Class: class, Message: "it failed"}},
				})
				continue
			}
			<-time.After(time.Second)
			w.report(a, 1)
			w.succeed(a, 1)
		}
	}()
}

var eight = []uint32{1, 2, 3, 4, 5, 6, 7, 8}

// A study all of whose runs fail stalls no other: it may be its own fault, and is not held against the workers.
func TestAStudyThatFailsStallsNoOther(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		bad := func(a *trellisv1.Assignment) trellisv1.FailureClass {
			if a.GetStudy() == "bad" {
				return trellisv1.FailureClass_FAILURE_CLASS_TRAINER
			}
			return 0
		}
		h.attempts("w1", bad)
		h.attempts("w2", bad)
		h.create(syntheticSpec("bad", eight, []uint32{1}))
		<-time.After(time.Minute) // The clock is synctest's.
		h.create(syntheticSpec("healthy", eight[:3], []uint32{1}))
		<-time.After(3 * time.Second)
		if study := h.study("healthy"); study.GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED {
			t.Errorf("after 3 s of two workers, three runs of a second each: %v", study.GetProgress())
		}
		for _, name := range []string{"w1", "w2"} {
			avoided := h.worker(name).GetAvoided()
			if len(avoided) != 1 || avoided[0].GetStudy() != "bad" || avoided[0].GetMessage() != "it failed" ||
				avoided[0].GetReason() != trellisv1.AvoidanceReason_AVOIDANCE_REASON_STUDY_FAILS {
				t.Errorf("worker %s is avoided: %v", name, avoided)
			}
		}
	})
}

// A worker on which every attempt fails costs no run its budget while a good one is there.
func TestABadWorkerFailsNoRun(t *testing.T) {
	for class, reason := range map[trellisv1.FailureClass]trellisv1.AvoidanceReason{
		trellisv1.FailureClass_FAILURE_CLASS_TRAINER: trellisv1.AvoidanceReason_AVOIDANCE_REASON_OTHERS_SUCCEED,
		trellisv1.FailureClass_FAILURE_CLASS_WORKER:  trellisv1.AvoidanceReason_AVOIDANCE_REASON_UNFIT,
	} {
		t.Run(class.String(), func(t *testing.T) {
			serve(t, Config{}, func(h *harness) {
				h.attempts("bad", func(*trellisv1.Assignment) trellisv1.FailureClass { return class })
				h.attempts("good", func(*trellisv1.Assignment) trellisv1.FailureClass { return 0 })
				h.create(syntheticSpec("s", eight, []uint32{1}))
				<-time.After(8 * time.Second) // The clock is synctest's.
				study := h.study("s")
				if study.GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED || study.GetProgress().GetRunsSucceeded() != 8 {
					t.Errorf("after 8 s of a good worker, eight runs of a second each: %v", study)
				}
				runs, err := h.store.Snapshot().RunsChangedSince("s", 0)
				if err != nil {
					t.Fatal(err)
				}
				for _, run := range runs {
					if failures := run.GetFailures(); len(failures) > 1 && class != trellisv1.FailureClass_FAILURE_CLASS_WORKER {
						t.Errorf("on the bad worker a run has failed more than once: %v", failures)
					}
				}
				// A worker that can't train may still do for another study.
				of := ""
				if reason == trellisv1.AvoidanceReason_AVOIDANCE_REASON_UNFIT {
					of = "s"
				}
				avoided := h.worker("bad").GetAvoided()
				if len(avoided) != 1 || avoided[0].GetStudy() != of || avoided[0].GetReason() != reason {
					t.Errorf("the bad worker is avoided: %v", avoided)
				}
				if avoided := h.worker("good").GetAvoided(); avoided != nil {
					t.Errorf("the good worker is avoided: %v", avoided)
				}
			})
		})
	}
}

// A machine that is restarted again and again in a run's first epoch is one machine: it does not quarantine the run.
func TestAMachineThatIsRestartedIsOne(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.create(syntheticSpec("s", []uint32{4}, []uint32{1}))
		for _, name := range []string{"a", "b", "c"} {
			hello := helloFrom(name, 1)
			hello.Machine = "host"
			w, err := h.hello(hello)
			if err != nil {
				t.Fatal(err)
			}
			w.assignment()
			w.silence()
			<-time.After(2 * DefaultLease) // The clock is synctest's.
		}
		runs, err := h.store.Snapshot().RunsChangedSince("s", 0)
		if err != nil {
			t.Fatal(err)
		}
		if failures := runs[0].GetFailures(); runs[0].GetState() != trellisv1.RunState_RUN_STATE_PENDING ||
			len(failures) != 3 || failures[2].GetMachine() != "host" || failures[2].GetWorker() != "c" {
			t.Errorf("after three restarts: %v", runs[0])
		}
	})
}

// A worker that says each time that it can't train, and stays, keeps no run from the others: neither one that another
// worker has failed once, nor one that fails there every time.
func TestAnUnfitWorkerStallsNoRun(t *testing.T) {
	for _, class := range []trellisv1.FailureClass{
		trellisv1.FailureClass_FAILURE_CLASS_TRAINER, trellisv1.FailureClass_FAILURE_CLASS_HUNG,
	} {
		t.Run(class.String(), func(t *testing.T) {
			serve(t, Config{}, func(h *harness) {
				once := true
				h.attempts("good", func(a *trellisv1.Assignment) trellisv1.FailureClass {
					if once || a.GetStudy() == "fails" {
						once = false
						return class
					}
					return 0
				})
				h.attempts("unfit", func(*trellisv1.Assignment) trellisv1.FailureClass {
					return trellisv1.FailureClass_FAILURE_CLASS_WORKER
				})
				h.create(syntheticSpec("s", eight, []uint32{1}))
				<-time.After(9 * time.Second) // The clock is synctest's.
				if study := h.study("s"); study.GetState() != trellisv1.StudyState_STUDY_STATE_COMPLETED {
					t.Errorf("after 9 s of a good worker, eight runs of a second each: %v", study.GetProgress())
				}
				h.create(syntheticSpec("fails", []uint32{9}, []uint32{1}))
				<-time.After(9 * time.Second)
				if progress := h.study("fails").GetProgress(); progress.GetRunsFailed() != 1 {
					t.Errorf("after 9 s, a run that fails at once: %v", progress)
				}
			})
		})
	}
}

// A run that fails every time fails for good, although a worker is READY that is never given it.
func TestARunFailsForGoodBesideAWorkerThatIsAvoided(t *testing.T) {
	serve(t, Config{}, func(h *harness) {
		h.attempts("unfit", func(*trellisv1.Assignment) trellisv1.FailureClass {
			return trellisv1.FailureClass_FAILURE_CLASS_WORKER
		})
		h.create(syntheticSpec("s", eight[:2], []uint32{1}))
		// The clock is synctest's. The first run has failed again and again, and the worker is avoided for five minutes
		// at a time now.
		<-time.After(10 * time.Minute)
		first := true
		h.attempts("good", func(*trellisv1.Assignment) trellisv1.FailureClass {
			if first {
				first = false
				return 0
			}
			return trellisv1.FailureClass_FAILURE_CLASS_TRAINER
		})
		<-time.After(5 * time.Second)
		if avoided := h.worker("unfit").GetAvoided(); len(avoided) != 1 {
			t.Fatalf("the unfit worker is avoided: %v", avoided)
		}
		runs, err := h.store.Snapshot().RunsChangedSince("s", 0)
		if err != nil {
			t.Fatal(err)
		}
		// The last that has changed is the second run.
		if last := runs[1]; last.GetState() != trellisv1.RunState_RUN_STATE_FAILED ||
			len(last.GetFailures()) != 2*trajectory.TrainerBudget {
			t.Errorf("the run that fails at once is %v after %d failures", last.GetState(), len(last.GetFailures()))
		}
	})
}
