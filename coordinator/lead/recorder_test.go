package lead

import (
	"testing"
	"testing/synctest"
	"time"

	"trellis/coordinator/quota"
	trellisv1 "trellis/proto/trellis/v1"
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
			if command.GetRecord() != nil {
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
		most := limit.Each + weigh(&trellisv1.RecordCommand_Entry{Entry: &trellisv1.RecordCommand_Entry_Reports{
			Reports: reportOf(small, 1),
		}})
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

func reportsRequest(reports *trellisv1.Reports) *trellisv1.SessionRequest {
	return &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Reports{
		Reports: &trellisv1.ReportBatch{Reports: []*trellisv1.Reports{reports}},
	}}
}
