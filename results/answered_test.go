package results

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// TestAnswered: an answer is computed once for each state of a study, and follows each of its changes.
func TestAnswered(t *testing.T) {
	run, trials := testRun("run", 4, 0, 2, 3)
	d := newDrill(t, []*trellisv1.Run{run}, trials)
	computed := 0
	answered := func(snapshot *Snapshot, request *trellisv1.ListTrialsRequest) *trellisv1.ListTrialsResponse {
		response, err := Answered(snapshot, "s", request,
			func(snapshot *Snapshot, request *trellisv1.ListTrialsRequest) (*trellisv1.ListTrialsResponse, error) {
				computed++
				return snapshot.ListTrials(request)
			})
		ok(t, err)
		return response
	}
	ask := &trellisv1.ListTrialsRequest{Study: "s", OrderBy: "-epochs", Losses: true}
	check := func() {
		t.Helper()
		before := computed
		for range 2 {
			want, err := d.store.Snapshot().ListTrials(ask)
			ok(t, err)
			if got := answered(d.store.Snapshot(), ask); !proto.Equal(got, want) {
				t.Fatalf("%v, want %v", got, want)
			}
		}
		if computed != before+1 {
			t.Fatalf("computed %d times in one state", computed-before)
		}
	}
	check()
	old := d.store.Snapshot()
	first := answered(old, ask)
	id := d.grant()
	check()
	for d.run(id).Epochs < 3 {
		d.epoch(id)
		check()
	}
	if !proto.Equal(answered(old, ask), first) {
		t.Error("an older state has the answer of a newer one")
	}
	before := computed
	answered(d.store.Snapshot(), &trellisv1.ListTrialsRequest{Study: "s", OrderBy: "epochs", Losses: true})
	if computed != before+1 {
		t.Error("another request got the same answer")
	}
	_, err := Answered(d.store.Snapshot(), "other", ask, (*Snapshot).ListTrials)
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("a study that is not there: %v", err)
	}
}

// TestAnsweredInPart: an answer whose scan has ended early is not kept, also if who computes it does not say so.
func TestAnsweredInPart(t *testing.T) {
	run, trials := testRun("run", 4, 0, 2, 3)
	d := newDrill(t, []*trellisv1.Run{run}, trials)
	ask := &trellisv1.ListTrialsRequest{Study: "s"}
	ctx, cancel := context.WithCancel(t.Context())
	answer := func(total uint64) func(*Snapshot, *trellisv1.ListTrialsRequest) (*trellisv1.ListTrialsResponse, error) {
		return func(*Snapshot, *trellisv1.ListTrialsRequest) (*trellisv1.ListTrialsResponse, error) {
			cancel()
			return &trellisv1.ListTrialsResponse{Total: total}, nil
		}
	}
	if _, err := Answered(d.store.Snapshot().Within(ctx), "s", ask, answer(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("an answer that nobody waits for: %v", err)
	}
	whole, err := Answered(d.store.Snapshot(), "s", ask, answer(2))
	ok(t, err)
	if whole.Total != 2 {
		t.Error("a part of an answer was kept")
	}
}
