package lead

import (
	"log/slog"
	"slices"
	"testing"
	"time"

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
