package worker

import "testing"

// A run is lent the cores of slots without a run, up to its limit, and a run that comes gets its slot as soon as it is
// given back.
func TestIdleSlots(t *testing.T) {
	slots := make(chan struct{}, 4)
	slots <- struct{}{} // The run's own.
	idle := &idleSlots{slots: slots, most: 2}
	if !idle.TryTake() || !idle.TryTake() || idle.TryTake() {
		t.Errorf("with three idle slots, %d cores were lent, want the limit of 2", idle.lent)
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
