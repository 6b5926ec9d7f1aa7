package progress

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/command/client"
	"trellis/command/describe"
	"trellis/command/fake"
	trellisv1 "trellis/proto/trellis/v1"
)

// losingRun is a run that has lost workers after these epochs.
func losingRun(trial uint64, epochs ...uint32) *trellisv1.Run {
	run := &trellisv1.Run{
		Id: strings.Repeat(string(rune('a'+trial)), 9), FirstTrial: trial, State: trellisv1.RunState_RUN_STATE_PENDING,
	}
	for _, epoch := range epochs {
		run.Epochs = max(run.Epochs, epoch)
		run.Failures = append(run.Failures, &trellisv1.Failure{
			Class: trellisv1.FailureClass_FAILURE_CLASS_WORKER_LOST, Worker: "host-7", Epochs: epoch, RunEpochs: epoch,
		})
	}
	return run
}

// The parts of a watch's first change are read, and no more of it: it says last how a run is.
func TestLosing(t *testing.T) {
	study := &trellisv1.Study{Name: "s", State: trellisv1.StudyState_STUDY_STATE_RUNNING, ModifyIndex: 9}
	node := &fake.Coordinator{
		OnWatch: func(_ *trellisv1.WatchStudyRequest, stream trellisv1.StudyService_WatchStudyServer) error {
			for _, part := range []*trellisv1.WatchStudyResponse{
				{
					Index: 1, Study: study,
					Runs: []*trellisv1.Run{losingRun(0, 0, 0), losingRun(1, 3), losingRun(2, 4, 4)},
				},
				{Index: 9, Study: study, Runs: []*trellisv1.Run{losingRun(5, 6, 6, 6), losingRun(2, 4, 4, 5)}},
			} {
				if err := stream.Send(part); err != nil {
					return err
				}
			}
			<-stream.Context().Done()
			return nil
		},
	}
	c, err := client.New(node.Serve(t), client.Credentials{}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Connect(t.Context(), client.DefaultWait); err != nil {
		t.Fatal(err)
	}
	losing, err := Losing(t.Context(), c, study)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := WriteLosing(&out, study, losing); err != nil {
		t.Fatal(err)
	}
	const want = `
Runs that lose one worker after the other, without a new epoch:

trial 5: 3 workers lost, the last one (host-7) after epoch 6
trial 0: 2 workers lost, the last one (host-7) in its first epoch

A run fails when it has lost 10 workers without a new epoch, or those of 3 machines at the same epoch.
It may need more memory than its workers may use: if the logs of their machines say that they were killed for
that, start workers with more memory or fewer slots.
`
	if got := out.String(); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	out.Reset()
	if err := WriteLosing(&out, study, nil); err != nil || out.Len() > 0 {
		t.Errorf("of no runs: %q, %v", out.String(), err)
	}
}

// A watch says how many workers a run has lost, from the second on.
func TestLostWorkersAreCounted(t *testing.T) {
	said := func(before, after *trellisv1.Run) string {
		return strings.Join(new(failures).add(before, after, describe.Axes{}), "\n")
	}
	failed := losingRun(0, 6, 6)
	failed.State, failed.Error = trellisv1.RunState_RUN_STATE_FAILED, "quarantined"
	for _, test := range []struct {
		before, after *trellisv1.Run
		want          string
	}{
		{losingRun(0), losingRun(0, 6), "the worker was lost"},
		{
			losingRun(0, 6), losingRun(0, 6, 6),
			"the worker was lost after epoch 6 (2 in a row without a new epoch; the run fails with the 10th at the " +
				"latest)",
		},
		{losingRun(0, 6), losingRun(0, 6, 7), "the worker was lost"},
		{losingRun(0, 6), failed, "failed permanently: quarantined"},
	} {
		if got := said(test.before, test.after); !strings.HasSuffix(got, test.want) {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

// A coordinator that can't be asked now says so, and does not keep anybody waiting.
func TestLosingGivesUp(t *testing.T) {
	node := &fake.Coordinator{
		OnWatch: func(*trellisv1.WatchStudyRequest, trellisv1.StudyService_WatchStudyServer) error {
			return status.Error(codes.ResourceExhausted, "too many watches")
		},
	}
	c, err := client.New(node.Serve(t), client.Credentials{}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Connect(t.Context(), client.DefaultWait); err != nil {
		t.Fatal(err)
	}
	study := &trellisv1.Study{Name: "s", State: trellisv1.StudyState_STUDY_STATE_RUNNING}
	if _, err := Losing(t.Context(), c, study); status.Convert(err).Message() != "too many watches" {
		t.Errorf("got %v", err)
	}
	study.State = trellisv1.StudyState_STUDY_STATE_COMPLETED
	if losing, err := Losing(t.Context(), c, study); len(losing) > 0 || err != nil {
		t.Errorf("of a study that has ended: %v, %v", losing, err)
	}
}
