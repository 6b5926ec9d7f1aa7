package replication

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func TestNothingIsWrittenAfterAFailure(t *testing.T) {
	g := &guard{failure: newFailure(), stall: time.Minute}
	writes := 0
	write := func() error {
		writes++
		return nil
	}
	if err := g.write("write", write); err != nil || writes != 1 {
		t.Fatal(err, writes)
	}
	// One that succeeds while another fails is not reported as done.
	err := g.write("write", func() error {
		_ = g.write("sync", func() error { return syscall.EIO })
		return nil
	})
	if !errors.Is(err, syscall.EIO) {
		t.Errorf("a write beside one that fails: %v", err)
	}
	writes = 0
	if err := g.write("write", write); !errors.Is(err, syscall.EIO) || writes != 0 {
		t.Errorf("after a failure: %v, %d writes", err, writes)
	}
	if got := <-g.failure.report; !errors.Is(got, syscall.EIO) {
		t.Errorf("the owner is told %v", got)
	}
}

func TestNothingIsAcknowledgedOrAppliedAfterAFailure(t *testing.T) {
	l := &Log{failure: newFailure()}
	done := make(chan result, 1)
	done <- result{index: 7}
	if got := wait(context.Background(), l, done); got.err != nil || got.index != 7 {
		t.Errorf("a result: %+v", got)
	}
	l.failure.set(syscall.EIO)
	for range 20 {
		done <- result{index: 7}
		if got := wait(context.Background(), l, done); !errors.Is(got.err, syscall.EIO) {
			t.Fatalf("a result after a failure: %+v", got)
		}
		select {
		case <-done:
		default:
		}
	}
	state := &book{}
	m := &machine{failure: l.failure, state: state, due: make(chan struct{}, 1)}
	m.Apply(&raft.Log{Index: 1, Data: []byte("late")})
	if got := state.commands(); len(got) != 0 {
		t.Errorf("applied after a failure: %q", got)
	}
}
