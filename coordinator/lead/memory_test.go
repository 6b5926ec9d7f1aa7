package lead

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/results/resources"
)

const giga = 1 << 30

// createLarge adds a study whose networks take so much memory, with a run of each latent dimension.
func (l *testLog) createLarge(name string, memory uint64, dims ...uint32) {
	l.Helper()
	_, err := l.ProposePatiently(l.ctx, &trellisv1.Command{Change: &trellisv1.Command_CreateStudy{
		CreateStudy: &trellisv1.CreateStudyCommand{
			Spec: grid.WithDefaults(&trellisv1.StudySpec{
				Name: name, Model: "synthetic", Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
					"latent_dim": trellisv1.AxisOf(dims...), "max_epochs": trellisv1.AxisOf[uint32](1),
				}}},
			}),
			Network: &trellisv1.ModelSize{Memory: memory},
		},
	}})
	if err != nil {
		l.Fatal(err)
	}
}

// Runs of large networks go to workers that have the memory for them, and wait as long as there is none. Small ones go
// anywhere.
func TestLargeNetworksNeedMemory(t *testing.T) {
	leading(t, func(l *Leader, log *testLog) {
		greet := func(name string, memory uint64) *testWorker {
			greeting := hello(name)
			greeting.Slots, greeting.Capacity = 4, &trellisv1.Capacity{Memory: memory}
			return connect(log, l, greeting)
		}
		log.createLarge("large", 2*giga, 2, 4, 8)
		greet("small", giga)
		if runs := log.worker("small").GetRuns(); runs != 0 {
			t.Errorf("a worker that is too small has %d runs", runs)
		}
		why := l.WaitingFor("large")
		if why.GetReason() != trellisv1.WaitingReason_WAITING_REASON_TOO_LARGE || why.GetMemory() != 2*giga ||
			why.GetLargestMemory() != giga {
			t.Errorf("it waits for %v", why)
		}
		greet("large", 5*giga)
		if runs := log.worker("large").GetRuns(); runs != 2 {
			t.Errorf("a worker with room for two runs has %d", runs)
		}
		if why := l.WaitingFor("large"); why != nil {
			t.Errorf("it waits for %v although runs are trained", why)
		}
		log.createLarge("tiny", giga/16, 3, 5, 7)
		if runs := log.worker("small").GetRuns() + log.worker("large").GetRuns(); runs != 5 {
			t.Errorf("two large runs and three small ones are %d", runs)
		}
	})
}

// A worker that is too small for all runs that wait is told how much the smallest of them takes and whose it is, and
// when that changes.
func TestSmallWorkersAreTold(t *testing.T) {
	leading(t, func(l *Leader, log *testLog) {
		log.createLarge("large", 3*giga, 16, 8)
		log.createLarge("larger", 5*giga, 4)
		greeting := hello("small")
		greeting.Slots, greeting.Capacity = 4, &trellisv1.Capacity{Memory: giga}
		w := connect(log, l, greeting)
		told := func(want uint64, study string) {
			t.Helper()
			for {
				select {
				case response := <-w.gotten:
					if unserved := response.GetUnserved(); unserved != nil {
						if unserved.GetMemory() != want || unserved.GetStudy() != study || len(unserved.GetAsked()) > 0 {
							t.Errorf("it is told %v, want %d bytes of study %s", unserved, want, study)
						}
						return
					}
				case <-time.After(3 * askedInterval):
					log.Fatalf("it is not told of %d bytes", want)
				}
			}
		}
		told(3*giga, "large")
		log.createLarge("less large", 2*giga, 3)
		told(2*giga, "less large")
	})
}

// A run goes to the one worker with room for it, although others have more free slots than runs can be granted at once.
func TestOthersHideNoWorkerWithRoom(t *testing.T) {
	for name, test := range map[string]struct{ memory, taken uint64 }{
		"the others are too small": {16 * giga, 0},
		"the others are full":      {64 * giga, 60 * giga},
	} {
		t.Run(name, func(t *testing.T) {
			packs := newPacking(nil, nil)
			need := func(study string, memory uint64) {
				packs.needs[study] = resources.Of(&trellisv1.Study{
					Spec: &trellisv1.StudySpec{Name: study}, Network: &trellisv1.ModelSize{Memory: memory},
				})
			}
			need("plain", 0)
			need("fits all", 2*giga)
			need("large", 20*giga)
			need("too large", 300*giga)
			var workers []*trellisv1.Worker
			add := func(name string, slots uint32, memory, taken uint64) {
				worker := &trellisv1.Worker{Name: name, Slots: slots, Capacity: &trellisv1.Capacity{Memory: memory}}
				room := resources.RoomOf(worker)
				room.Take(resources.Need{Memory: taken})
				packs.rooms[name], workers = &room, append(workers, worker)
			}
			for i := range 18 {
				add(fmt.Sprint("other", i), 64, test.memory, test.taken)
			}
			add("roomy", 4, 256*giga, 0)
			d := &dispatcher{chosen: newChosen(), sessions: everybody{}, leases: everybody{}}
			p := &pairing{
				failing: newFailing(slog.New(slog.DiscardHandler)), data: noAbsences{}, now: time.Now(), packing: packs,
				ready: func() []*trellisv1.Worker { return workers }, offers: d.freeSlots(workers, nil),
			}
			for _, study := range []string{"plain", "fits all"} {
				if !p.Study(study) {
					t.Errorf("no slot is for %s", study)
				}
			}
			if p.Study("too large") {
				t.Error("a slot is for a run that no worker suits")
			}
			if !p.Study("large") || !p.Run(&trellisv1.Run{Study: "large"}) || p.workers[0] != "roomy" {
				t.Errorf("the large run goes to %q", p.workers)
			}
		})
	}
}
