package worker

import (
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// A run is lent the cores of slots without a run, up to its limit, and a run that comes gets its slot as soon as it is
// given back.
func TestIdleSlots(t *testing.T) {
	slots := make(chan struct{}, 4)
	slots <- struct{}{} // The run's own.
	var programs, waiting atomic.Int32
	registry := prometheus.NewRegistry()
	borrowed := prometheus.NewGauge(prometheus.GaugeOpts{Name: "borrowed"})
	registry.MustRegister(borrowed)
	idle := &idleSlots{slots: slots, waiting: &waiting, programs: &programs, borrowed: borrowed, most: 2}
	programs.Add(1)
	if idle.TryTake() {
		t.Error("a core was lent although a program may use it")
	}
	if !idle.Wanted() {
		t.Error("no core is wanted although a program may use it")
	}
	programs.Add(-1)
	if idle.Wanted() {
		t.Error("a core is wanted, by nobody")
	}
	for taken := range 3 {
		if got, want := idle.TryTake(), taken < 2; got != want {
			t.Errorf("with three idle slots and a limit of %d, and %d lent, another is lent: %v", idle.most, taken, got)
		}
	}
	if got := gather(t, registry)["borrowed"]; got != 2 {
		t.Errorf("with two cores lent, %v are said to be", got)
	}
	idle.Return()
	slots <- struct{}{}
	slots <- struct{}{} // The last one.
	if idle.TryTake() {
		t.Error("a core was lent although all slots have runs")
	}
	comes := make(chan struct{})
	waiting.Add(1)
	if !idle.Wanted() {
		t.Error("no core is wanted although a run waits for it")
	}
	go func() {
		slots <- struct{}{}
		close(comes)
	}()
	idle.Return()
	<-comes
	if idle.TryTake() || len(slots) != cap(slots) || idle.lent.Load() != 0 {
		t.Errorf("%d of %d slots are taken, and %d cores lent, after the next run has come", len(slots), cap(slots),
			idle.lent.Load())
	}
}
