package replication

import (
	"context"
	"testing"
	"time"
)

// until waits for a condition.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for !condition() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within 20 s: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// A node that starts has handed all its log to the state machine long before that has applied it.
func TestIncludes(t *testing.T) {
	dir := t.TempDir()
	log := open(t, Config{Dir: dir, Bootstrap: true}, &book{})
	until(t, "it leads", func() bool { return log.Verify(t.Context()) == nil })
	last := uint64(0)
	for i := range 3 {
		last = propose(t, log, number(i))
		if !log.Includes(last) || log.Includes(last+1) {
			t.Errorf("after entry %d it is included: %v, and the next: %v", last, log.Includes(last),
				log.Includes(last+1))
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	state := &slow{apply: make(chan struct{})}
	log = open(t, Config{Dir: dir, Bootstrap: true}, state)
	until(t, "all is handed over", func() bool { return log.Status().AppliedIndex > last })
	for range 3 {
		if log.Includes(last) {
			t.Error("what waits for the state machine is included")
		}
		state.apply <- struct{}{}
	}
	// The entry with which the node leads is none of the state machine's.
	until(t, "all is included", func() bool { return log.Includes(log.Status().CommitIndex) })
	if err := log.Snapshot(); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	log = open(t, Config{Dir: dir, Bootstrap: true}, &book{})
	until(t, "what is in a snapshot is included", func() bool { return log.Includes(last) })
}
