package worker

import (
	"sync/atomic"
	"testing"
)

// A run is lent the cores of slots without a run, up to its limit, and a run that comes gets its slot as soon as it is
// given back.
func TestIdleSlots(t *testing.T) {
	slots := make(chan struct{}, 4)
	slots <- struct{}{} // The run's own.
	var programs atomic.Int32
	idle := &idleSlots{slots: slots, programs: &programs, most: 2}
	programs.Add(1)
	if idle.TryTake() {
		t.Error("a core was lent although a program may use it")
	}
	programs.Add(-1)
	for taken := range 3 {
		if got, want := idle.TryTake(), taken < idle.most; got != want {
			t.Errorf("with three idle slots and a limit of %d, and %d lent, another is lent: %v", idle.most, taken, got)
		}
	}
	idle.Return()
	slots <- struct{}{}
	slots <- struct{}{} // The last one.
	if idle.TryTake() {
		t.Error("a core was lent although all slots have runs")
	}
	comes := make(chan struct{})
	go func() {
		slots <- struct{}{}
		close(comes)
	}()
	idle.Return()
	<-comes
	if idle.TryTake() || len(slots) != cap(slots) || idle.lent != 0 {
		t.Errorf("%d of %d slots are taken, and %d cores lent, after the next run has come", len(slots), cap(slots), idle.lent)
	}
}
