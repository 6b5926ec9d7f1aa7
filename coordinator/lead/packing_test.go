package lead

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/resources"
)

// noAbsences is a leader that lacks nothing.
type noAbsences struct{}

func (noAbsences) WaitingFor(string) *trellisv1.WaitingFor { return nil }

// An older study whose runs need a whole worker gets one in the end, although a younger one could fill all room.
func TestPackingKeepsAWorker(t *testing.T) {
	worker := func(name string, cpus float64) *trellisv1.Worker {
		return &trellisv1.Worker{
			Name: name, Slots: 8, Capacity: &trellisv1.Capacity{Cpus: cpus, Programs: true},
		}
	}
	a, b, models := worker("a", 4), worker("b", 4), &trellisv1.Worker{Name: "models", Slots: 1}
	ready := func() []*trellisv1.Worker { return []*trellisv1.Worker{b, models, a} }
	packs := newPacking(nil, ready)
	packs.needs = map[string]resources.Need{
		"large": {Program: true, CPUs: 4}, "small": {Program: true, CPUs: 1}, "huge": {Program: true, CPUs: 5},
		"model": {CPUs: 1},
	}
	// One core of each is taken.
	for _, busy := range []*trellisv1.Worker{a, b} {
		room := resources.RoomOf(busy)
		room.Take(packs.needs["small"])
		packs.rooms[busy.GetName()] = &room
	}
	none := resources.RoomOf(models)
	packs.rooms["models"] = &none
	var slots []*trellisv1.Worker
	for range 4 {
		slots = append(slots, b, a)
	}
	p := &pairing{
		failing: newFailing(slog.New(slog.DiscardHandler)), data: noAbsences{}, now: time.Now(), packing: packs,
		ready: ready, offers: offersOf(append(slots, models)),
	}
	for _, study := range []string{"huge", "large"} {
		if p.Study(study) {
			t.Errorf("there is room for a run of %s", study)
		}
	}
	for range 8 {
		if p.Study("small") {
			p.Run(&trellisv1.Run{Study: "small"})
		}
	}
	if want := []string{"b", "b", "b"}; !slices.Equal(p.workers, want) {
		t.Errorf("small runs go to %q, want %q: one worker is kept, and the other has 3 cores", p.workers, want)
	}
	// Models need slots alone, but not those of a worker that is kept.
	p.workers = nil
	for range 3 {
		if p.Study("model") {
			p.Run(&trellisv1.Run{Study: "model"})
		}
	}
	if want := []string{"b", "models"}; !slices.Equal(p.workers, want) {
		t.Errorf("models go to %q, want %q", p.workers, want)
	}
	if len(packs.reserved) != 1 || packs.reserved["a"] != "large" {
		t.Errorf("kept are %v", packs.reserved)
	}
}

// A study waits for labels only as long as it runs and has a run that waits: one whose last run is being trained by a worker that
// drains waits for nothing.
func TestAwaitsWorker(t *testing.T) {
	leading(t, func(l *Leader, log *testLog) {
		gpu := map[string]string{"gpu": "a100"}
		log.createFrom(&trellisv1.StudySpec{
			Name: "s", Model: "synthetic", Workers: gpu, Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
				"latent_dim": trellisv1.AxisOf[uint32](4), "max_epochs": trellisv1.AxisOf[uint32](1),
			}}},
		})
		want := func(when string, reason trellisv1.WaitingReason) {
			t.Helper()
			if got := awaitsWorker(log.store.Snapshot(), "s").GetReason(); got != reason {
				t.Errorf("%s, it waits for %v, want %v", when, got, reason)
			}
		}
		want("without workers", trellisv1.WaitingReason_WAITING_REASON_LABELS_MISSING)
		greeting := hello("w")
		greeting.Labels = gpu
		connect(log, l, greeting).assignment()
		if err := setWorkerState(log.ctx, log.store, log, "w", trellisv1.WorkerState_WORKER_STATE_DRAINING); err != nil {
			t.Fatal(err)
		}
		want("with a run on a worker that drains", 0)
		if err := setWorkerState(log.ctx, log.store, log, "w", trellisv1.WorkerState_WORKER_STATE_GONE); err != nil {
			t.Fatal(err)
		}
		want("with the run given back", trellisv1.WaitingReason_WAITING_REASON_LABELS_MISSING)
		log.mu.Lock()
		defer log.mu.Unlock()
		log.index++
		err := log.store.SetStudyState(log.index, timestamppb.Now(), "s", trellisv1.StudyState_STUDY_STATE_PAUSED)
		if err != nil {
			t.Fatal(err)
		}
		want("paused", 0)
	})
}
