package lead

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"trellis/coordinator/access"
	"trellis/coordinator/quota"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// A worker that sends more than its share is not read while the log is slow. It keeps its lease, and others are read.
func TestWhatWaitsForTheLogIsBoundedInBytes(t *testing.T) {
	leading(t, func(l *Leader, log *testLog) {
		limit := quota.Limit{InAll: 1 << 20, Each: 256 << 10}
		l.recorder.held = quota.New(limit)
		log.create("large", 10_000)
		greedy := connect(log, l, hello("greedy"))
		large := reportOf(greedy.assignment(), 1)
		large.TestLoss = map[uint32]float64{}
		for epoch := range uint32(1000) {
			large.TestLoss[epoch+2] = 1 // The store refuses them, after they have waited.
		}
		log.createAt("small", 8, 4)
		modest := connect(log, l, hello("modest"))
		small := modest.assignment()

		released := make(chan struct{})
		log.hook(func(command *trellisv1.Command) {
			if command.GetRecord() != nil || command.GetRecordAndGrant() != nil {
				<-released
			}
		})
		const batches = 100
		go func() {
			for range batches {
				select {
				case greedy.sent <- reportsRequest(large):
				case <-greedy.ended:
					return
				}
			}
		}()
		synctest.Wait()
		modest.send(reportsRequest(reportOf(small, 1)))
		synctest.Wait()
		one, _ := weigh(&trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Reports{
			Reports: reportOf(small, 1),
		}})
		most := limit.Each + one
		if held := l.recorder.held.Held(); held > most || held < limit.Each/2 {
			t.Errorf("%d bytes wait for the log, at most %d may", held, most)
		}
		if !l.sessions.heldUp("greedy") || l.sessions.heldUp("modest") {
			t.Error("the wrong session is held up")
		}
		// The one that is not read can't be heard, which is not its fault.
		for began := time.Now(); time.Since(began) < 3*testLease; {
			modest.send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Heartbeat{
				Heartbeat: &trellisv1.Heartbeat{},
			}})
			<-time.After(time.Second) // The clock is synctest's.
		}
		for _, w := range []*testWorker{greedy, modest} {
			select {
			case <-w.ended:
				t.Errorf("a session has ended: %v", w.why)
			default:
			}
		}
		close(released)
		synctest.Wait()
		if held := l.recorder.held.Held(); held != 0 {
			t.Errorf("%d bytes are held of what the log has", held)
		}
		if run, err := log.store.Snapshot().Run(nil, small.GetStudy(), small.GetRun()); err != nil || run.GetEpochs() != 1 {
			t.Errorf("the modest worker's report: %v, %v", run, err)
		}
	})
}

// The share is a principal's or, where nobody is authenticated, a host's: names of workers cost nothing.
func TestTheShareOfTheQueueIsAPrincipals(t *testing.T) {
	for name, call := range map[string]access.Call{
		"principal": {Principal: access.Principal{Role: trellisv1.Role_ROLE_WORKER, Name: "farm"}},
		"host":      {Address: "10.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			leading(t, func(l *Leader, log *testLog) {
				limit := quota.Limit{InAll: 1 << 20, Each: 256 << 10}
				l.recorder.held = quota.New(limit)
				released := make(chan struct{})
				log.hook(func(command *trellisv1.Command) {
					if command.GetRecord() != nil || command.GetRecordAndGrant() != nil {
						<-released
					}
				})
				for i := range 8 {
					log.createAt(fmt.Sprint("s", i), uint32(i+1), 10_000)
					w := connectAs(log, l, hello(fmt.Sprint("w", i)), call)
					large := reportOf(w.assignment(), 1)
					large.TestLoss = map[uint32]float64{}
					for epoch := range uint32(1000) {
						large.TestLoss[epoch+2] = 1 // The store refuses them, after they have waited.
					}
					go func() {
						for range 2 {
							select {
							case w.sent <- reportsRequest(large):
							case <-w.ended:
								return
							}
						}
					}()
					synctest.Wait()
				}
				synctest.Wait()
				if held := l.recorder.held.Held(); held > limit.Each || held < limit.Each/2 {
					t.Errorf("%d bytes wait for the log, at most %d may", held, limit.Each)
				}
				close(released)
			})
		})
	}
}

// What can never be recorded fails its attempt, once, and the session goes on: a worker that sends it again would do so
// forever. What a worker made by itself may be better on another.
func TestWhatCantBeRecordedFailsItsAttempt(t *testing.T) {
	for name, test := range map[string]struct {
		request func(a *trellisv1.Assignment) *trellisv1.SessionRequest
		says    string
	}{
		"reports": {func(a *trellisv1.Assignment) *trellisv1.SessionRequest {
			reports := reportOf(a, 1)
			reports.Seconds = nil
			return reportsRequest(reports)
		}, "0 times of epochs"},
		"checkpoint": {func(a *trellisv1.Assignment) *trellisv1.SessionRequest {
			return &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Checkpoint{
				Checkpoint: &trellisv1.CheckpointReport{
					Study: a.GetStudy(), Run: a.GetRun(), Attempt: a.GetAttempt(), Missing: "the disk is full",
					Checkpoint: &trellisv1.Checkpoint{Epoch: 1e6},
				},
			}}
		}, "the epoch must be between 1 and 100"},
		"outcome": {func(a *trellisv1.Assignment) *trellisv1.SessionRequest {
			return &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Outcome{Outcome: &trellisv1.Outcome{
				Study: a.GetStudy(), Run: a.GetRun(), Attempt: a.GetAttempt(),
			}}}
		}, "missing result"},
	} {
		t.Run(name, func(t *testing.T) {
			leading(t, func(l *Leader, log *testLog) {
				log.create("s", 100)
				w := connect(log, l, hello("w"))
				first := w.assignment()
				w.send(test.request(first))
				second := w.assignment()
				if second.GetRun() != first.GetRun() || second.GetAttempt() == first.GetAttempt() {
					t.Errorf("after attempt %d at %s came %d at %s", first.GetAttempt(), first.GetRun(), second.GetAttempt(),
						second.GetRun())
				}
				mustHaveFailed(t, log, first, trellisv1.FailureClass_FAILURE_CLASS_TRAINER, test.says)
				w.send(reportsRequest(reportOf(second, 1)))
				w.mustGoOn()
			})
		})
	}
}

// What a program reports is its own: it fails for good. Here its attempts have too many metrics together.
func TestAProgramsReportsThatCantBeRecorded(t *testing.T) {
	leading(t, func(l *Leader, log *testLog) {
		_, err := log.ProposePatiently(log.ctx, &trellisv1.Command{Change: &trellisv1.Command_CreateStudy{
			CreateStudy: &trellisv1.CreateStudyCommand{Spec: grid.WithDefaults(&trellisv1.StudySpec{
				Name: "s", Program: &trellisv1.Program{Command: []string{"train"}},
				Objective: &trellisv1.Objective{Metric: "m1"},
				Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
					"lr": trellisv1.AxisOf(0.1), "max_epochs": trellisv1.AxisOf[uint32](10),
				}}},
			})},
		}})
		if err != nil {
			t.Fatal(err)
		}
		greeting := hello("w")
		greeting.Capacity = &trellisv1.Capacity{Programs: true, Cpus: 1}
		w := connect(log, l, greeting)
		report := func(a *trellisv1.Assignment, epoch uint32, first int) {
			reports := &trellisv1.Reports{
				Study: a.GetStudy(), Run: a.GetRun(), Attempt: a.GetAttempt(), FirstEpoch: epoch, Epochs: 1,
				Seconds: []float64{1}, Metrics: map[string]*trellisv1.Series{},
			}
			for i := range 60 {
				reports.Metrics[fmt.Sprint("m", first+i)] = &trellisv1.Series{Values: []float64{1}}
			}
			w.send(reportsRequest(reports))
		}
		a := w.assignment()
		report(a, 1, 0)
		w.send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Outcome{Outcome: &trellisv1.Outcome{
			Study: a.GetStudy(), Run: a.GetRun(), Attempt: a.GetAttempt(),
			Result: &trellisv1.Outcome_Return_{Return: &trellisv1.Outcome_Return{}},
		}}})
		a = w.assignment()
		report(a, 2, 60)
		run := mustHaveFailed(t, log, a, trellisv1.FailureClass_FAILURE_CLASS_INPUT, "100")
		if run.GetState() != trellisv1.RunState_RUN_STATE_FAILED {
			t.Errorf("the run is %v", run.GetState())
		}
		w.mustGoOn()
	})
}

// mustHaveFailed wants the last failure of a run to be that of an attempt, and returns the run.
func mustHaveFailed(
	t *testing.T, log *testLog, a *trellisv1.Assignment, class trellisv1.FailureClass, says string,
) *trellisv1.Run {
	t.Helper()
	<-time.After(reportPause) // So long reports wait at most. The clock is synctest's.
	synctest.Wait()
	run, err := log.store.Snapshot().Run(nil, a.GetStudy(), a.GetRun())
	if err != nil || len(run.GetFailures()) == 0 {
		t.Fatalf("%v: %v", err, run)
	}
	last := run.GetFailures()[len(run.GetFailures())-1]
	if last.GetAttempt() != a.GetAttempt() || last.GetWorker() != "w" || last.GetClass() != class ||
		!strings.Contains(last.GetMessage(), says) {
		t.Errorf("got %v, want class %v with %q", last, class, says)
	}
	return run
}

// mustGoOn wants that the session has not ended.
func (w *testWorker) mustGoOn() {
	w.Helper()
	synctest.Wait()
	select {
	case <-w.ended:
		w.Errorf("the session has ended: %v", w.why)
	default:
	}
}

// What a session holds while its share of the queue is awaited is bounded: larger requests are refused.
func TestLargeRequestsEndASession(t *testing.T) {
	tests := func(n uint32) map[uint32]*trellisv1.Metrics {
		metrics := map[uint32]*trellisv1.Metrics{}
		for epoch := range n {
			metrics[epoch+1] = &trellisv1.Metrics{}
		}
		return metrics
	}
	for name, reports := range map[string]*trellisv1.Reports{
		"on the wire": {TrainLoss: make([]float64, trellisv1.MaxSessionRequest/8)},
		"in memory":   {TestMetrics: tests(trellisv1.MaxSessionRequest / 9)},
	} {
		t.Run(name, func(t *testing.T) {
			leading(t, func(l *Leader, log *testLog) {
				log.create("s", 10_000)
				w := connect(log, l, hello("w"))
				a := reportOf(w.assignment(), 1)
				reports.Study, reports.Run, reports.Attempt, reports.FirstEpoch = a.Study, a.Run, a.Attempt, 1
				w.send(reportsRequest(reports))
				select {
				case <-w.ended:
				case <-time.After(time.Second): // The clock is synctest's.
				}
				if status.Code(w.why) != codes.InvalidArgument {
					t.Errorf("the session has ended with %v", w.why)
				}
			})
		})
	}
}

func reportsRequest(reports *trellisv1.Reports) *trellisv1.SessionRequest {
	return &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Reports{
		Reports: &trellisv1.ReportBatch{Reports: []*trellisv1.Reports{reports}},
	}}
}

// Reports wait a little for others, so that many of them take few writes to the disk. An outcome does not wait, and a
// worker that sends much does not either.
func TestReportsWaitForOthers(t *testing.T) {
	leading(t, func(l *Leader, log *testLog) {
		log.create("study", 1000)
		w := connect(log, l, hello("worker"))
		a := w.assignment()
		began, commands := time.Now(), []time.Duration(nil)
		log.hook(func(command *trellisv1.Command) {
			if command.GetRecord() != nil || command.GetRecordAndGrant() != nil {
				commands = append(commands, time.Since(began))
			}
		})
		epoch := uint32(0)
		report := func(epochs int) {
			reports := reportOf(a, epoch+1)
			for range epochs - 1 {
				reports.TrainLoss, reports.ValidationLoss = append(reports.TrainLoss, 1), append(reports.ValidationLoss, 1)
				reports.Seconds = append(reports.Seconds, 1)
			}
			epoch += uint32(epochs)
			w.send(reportsRequest(reports))
		}
		const step = reportPause / 10
		for range 15 {
			report(1)
			time.Sleep(step)
		}
		// At 0, and when the pause is over.
		if want := []time.Duration{0, reportPause}; !slices.Equal(commands, want) {
			t.Errorf("reports were written at %v, want %v", commands, want)
		}
		report(promptBytes / epochBytes)
		synctest.Wait()
		if len(commands) != 3 || commands[2] != 15*step {
			t.Errorf("many epochs were written at %v, want %v", commands[2:], 15*step)
		}
		report(1)
		w.send(successOf(a, epoch))
		synctest.Wait()
		if run, err := log.store.Snapshot().Run(nil, a.GetStudy(), a.GetRun()); err != nil || len(commands) != 4 ||
			run.GetEpochs() != epoch {
			t.Errorf("the outcome was written at %v, after %d of %d epochs: %v", commands[3:], run.GetEpochs(), epoch, err)
		}
	})
}

// An outcome does not wait either if it did not fit into the command before, and reports are in front of it.
func TestWhatIsLeftOverDoesNotWait(t *testing.T) {
	leading(t, func(l *Leader, log *testLog) {
		var began time.Time
		var outcomes []time.Duration
		released := make(chan struct{})
		log.hook(func(command *trellisv1.Command) {
			<-released
			for _, entry := range command.GetRecord().GetEntries() {
				if entry.GetOutcome() != nil {
					outcomes = append(outcomes, time.Since(began))
				}
			}
		})
		put := func(entry *trellisv1.RecordCommand_Entry) {
			if err := l.recorder.put(log.ctx, nil, entry); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		reports := func(bytes int) *trellisv1.RecordCommand_Entry {
			return &trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Reports{
				Reports: &trellisv1.Reports{Study: strings.Repeat("s", bytes), Attempt: 1},
			}}
		}
		put(reports(1)) // It is being recorded.
		put(reports(recordBytes))
		put(reports(1))
		put(returnEntry(reports(1)))
		began = time.Now()
		close(released)
		<-time.After(2 * reportPause)
		synctest.Wait()
		if want := []time.Duration{0}; !slices.Equal(outcomes, want) {
			t.Errorf("outcomes were written at %v, want %v", outcomes, want)
		}
	})
}

// A worker is told at once that an outcome is recorded, in one message with its next run. That reports are recorded it is
// told soon, or when there are many.
func TestAcknowledgementsOfReportsWait(t *testing.T) {
	leading(t, func(l *Leader, log *testLog) {
		log.createSeveral("study", 4, 2)
		w := connect(log, l, hello("worker"))
		a := w.assignment()
		synctest.Wait()
		w.messages.Store(0)
		w.send(reportsRequest(reportOf(a, 1)))
		<-time.After(ackPause - time.Millisecond)
		if messages := w.messages.Load(); messages != 0 {
			t.Errorf("%d messages have come before the pause is over", messages)
		}
		<-time.After(time.Millisecond)
		synctest.Wait()
		if len(w.gotten) != 1 || (<-w.gotten).GetAcknowledgement().GetEpoch() != 1 {
			t.Error("the report is not acknowledged")
		}
		w.messages.Store(0)
		w.send(successOf(a, 1))
		synctest.Wait()
		if messages := w.messages.Load(); messages != 1 || len(w.gotten) != 2 {
			t.Errorf("%d messages of %d parts have come with the outcome, want 1 of 2", messages, len(w.gotten))
		}
		session := newSessions().open(t.Context(), "another", func(error) {})
		for epoch := range uint32(promptBytes/(reportBytes+epochBytes) + 1) {
			if len(session.notice) > 0 {
				t.Fatalf("the worker is told of %d epochs at once", epoch)
			}
			session.acknowledge(&trellisv1.RecordCommand_Entry{
				Entry: &trellisv1.RecordCommand_Entry_Reports{Reports: reportOf(a, epoch+1)},
			})
		}
		if len(session.notice) == 0 {
			t.Error("the worker is not told of many epochs")
		}
	})
}

// What an entry takes in the log is what protobuf says, however it is counted.
func TestWeigh(t *testing.T) {
	reports := &trellisv1.Reports{
		Study: "s", Run: strings.Repeat("r", 200), Attempt: 300, FirstEpoch: 1, TrainLoss: make([]float64, 20),
		TestLoss: map[uint32]float64{20: 1},
	}
	metrics := proto.CloneOf(reports)
	metrics.Metrics = map[string]*trellisv1.Series{"m": {Values: []float64{1}}}
	for values, entry := range []*trellisv1.RecordCommand_Entry{
		returnEntry(&trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Reports{Reports: reports}}),
		{Entry: &trellisv1.RecordCommand_Entry_Reports{Reports: reports}},
		{Entry: &trellisv1.RecordCommand_Entry_Reports{Reports: metrics}},
	} {
		bytes, size := weigh(entry)
		if want := int64(proto.Size(entry)); size != want || bytes != entryBytes+want+valueBytes*int64(values) {
			t.Errorf("%d bytes in memory and %d in the log, want %d there: %v", bytes, size, want, entry)
		}
	}
}
