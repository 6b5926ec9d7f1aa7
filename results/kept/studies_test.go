package kept

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// What is kept of a study is that of its newest version, and what is lasting stays.
func TestStudies(t *testing.T) {
	var s Studies
	ask := func(k *Kept) (fresh bool) {
		Of(k, "key", func() int {
			fresh = true
			return 1
		})
		return fresh
	}
	if !ask(s.Of(1, 5)) || ask(s.Of(1, 5)) || !ask(s.Of(1, 6)) || !ask(s.Of(1, 5)) || ask(s.Of(1, 6)) {
		t.Error("not that of the newest version is kept")
	}
	if !ask(s.Lasting(1)) || ask(s.Lasting(1)) || !ask(s.Lasting(2)) {
		t.Error("what is lasting is not kept")
	}
	for created := range uint64(maxStudies) {
		s.Of(100+created, 1)
	}
	if !ask(s.Lasting(1)) {
		t.Error("the study that nobody has asked about for longest is still kept")
	}
}

// What takes long is computed once, however many ask for it at the same time, and again if it fails.
func TestOnce(t *testing.T) {
	var k Kept
	var computed atomic.Int32
	failed := errors.New("failed")
	begun, stop := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		if _, err := Once(&k, 1, nil, nil, func() (int, error) {
			close(begun)
			<-stop
			return 0, failed
		}); !errors.Is(err, failed) {
			t.Errorf("error %v", err)
		}
	})
	<-begun
	for range 8 {
		all.Go(func() {
			value, err := Once(&k, 1, nil, nil, func() (int, error) {
				computed.Add(1)
				return 7, nil
			})
			if value != 7 || err != nil {
				t.Errorf("%d, %v", value, err)
			}
		})
	}
	gone := make(chan struct{})
	close(gone)
	if _, err := Once(&k, 1, gone, func() error { return failed }, func() (int, error) { return 0, nil }); !errors.Is(err, failed) {
		t.Errorf("who does not wait has the error %v", err)
	}
	close(stop)
	all.Wait()
	if computed.Load() != 1 {
		t.Errorf("computed %d times", computed.Load())
	}
}

// A panic while a result is computed, which the server survives, leaves nobody waiting.
func TestOnceSurvivesPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k Kept
		go func() {
			defer func() { _ = recover() }()
			_, _ = Once(&k, 1, nil, nil, func() (int, error) {
				time.Sleep(time.Second)
				panic("broken")
			})
		}()
		synctest.Wait()
		late, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		value, err := Once(&k, 1, late.Done(), late.Err, func() (int, error) { return 7, nil })
		if value != 7 || err != nil {
			t.Errorf("%d, %v", value, err)
		}
	})
}
