package replication

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// hangs is what no machine is too slow for: what takes longer never ends.
const hangs = 30 * time.Second

// faults fails or holds up one write of a node.
type faults struct {
	// at is the number of the write.
	at int64
	// err is its error. If it is nil, the write is held up until release is closed.
	err     error
	release chan struct{}
	// writes counts those that were tried.
	writes atomic.Int64
	what   atomic.Value
}

func (f *faults) fault(what string) error {
	if f.writes.Add(1) != f.at {
		return nil
	}
	f.what.Store(what)
	if f.err == nil {
		<-f.release
	}
	return f.err
}

// work proposes commands of all sizes from several goroutines until one is refused, and takes a snapshot in between. It
// returns the commands that were acknowledged.
func work(t *testing.T, log *Log, round int) (acknowledged map[string]bool, refusal error) {
	t.Helper()
	acknowledged = map[string]bool{}
	var mu sync.Mutex
	var workers sync.WaitGroup
	for worker := range 4 {
		workers.Go(func() {
			for i := range 12 {
				command := fmt.Sprintf("%d/%d/%d/", round, worker, i) + strings.Repeat("x", i%4*300_000)
				_, _, err := log.Propose(t.Context(), []byte(command))
				if err == nil && i == 6 && worker == 0 {
					err = log.Snapshot()
				}
				mu.Lock()
				if err == nil {
					acknowledged[command] = true
				} else {
					refusal = err
				}
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	workers.Wait()
	return acknowledged, refusal
}

func TestNothingIsAcknowledgedAfterAWriteError(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	rounds := 30
	if testing.Short() {
		rounds = 10
	}
	kinds := map[string]int{}
	for round := range rounds {
		dir := t.TempDir()
		f := &faults{at: 1 + random.Int64N(90), err: []error{syscall.EIO, syscall.ENOSPC}[random.IntN(2)]}
		if round < 10 {
			f.at = int64(round + 1)
		}
		acknowledged := map[string]bool{}
		config := Config{Dir: dir, Bootstrap: true, fault: f.fault, Address: "127.0.0.1:7070", TrailingEntries: 1}
		log, err := Open(config, &book{})
		if err == nil {
			acknowledged = checkFailing(t, log, f, round)
		} else if !errors.Is(err, f.err) || !strings.Contains(err.Error(), dir) {
			t.Errorf("Open said %v", err)
		}
		if what, ok := f.what.Load().(string); ok {
			kinds[strings.Split(what, " /")[0]]++
		}
		state := &book{}
		config.fault = nil
		log = open(t, config, state)
		lead(t, log)
		propose(t, log, "after")
		found := map[string]bool{}
		for _, command := range state.commands() {
			found[command] = true
		}
		for command := range acknowledged {
			if !found[command] {
				t.Errorf("write %d of round %d failed (%v): command %.10q was acknowledged and is lost", f.at, round,
					f.what.Load(), command)
			}
		}
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("failed: %v", kinds)
	for _, kind := range []string{"write to", "sync", "open"} {
		if kinds[kind] == 0 {
			t.Errorf("no write of the kind %q failed", kind)
		}
	}
}

// checkFailing works on a node until its disk fails, and checks that it says so and acknowledges nothing more.
func checkFailing(t *testing.T, log *Log, f *faults, round int) (acknowledged map[string]bool) {
	t.Helper()
	led := make(chan struct{})
	go func() {
		defer close(led)
		for {
			select {
			case leads := <-log.Leadership():
				if leads {
					return
				}
			case <-log.failure.done:
				return
			}
		}
	}()
	<-led
	acknowledged, refusal := work(t, log, round)
	if f.what.Load() == nil {
		// There were fewer writes.
		log.Close()
		return acknowledged
	}
	start := time.Now()
	select {
	case err := <-log.Failed():
		for _, part := range []string{log.config.Dir, f.err.Error(), "start again"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("the failure %q does not say %q", err, part)
			}
		}
	case <-time.After(30 * time.Second):
		t.Errorf("%q failed, and the owner was not told; proposals ended with %v", f.what.Load(), refusal)
	}
	if _, _, err := log.Propose(t.Context(), []byte("late")); !errors.Is(err, f.err) || errors.Is(err, ErrNotLeader) {
		t.Errorf("after a failure a proposal ends with %v", err)
	}
	if err := log.Verify(t.Context()); err == nil {
		t.Error("after a failure the node verifies that it leads")
	}
	if err := log.Close(); !errors.Is(err, f.err) {
		t.Errorf("after a failure Close returns %v", err)
	}
	if took := time.Since(start); took > hangs {
		t.Errorf("after a failure Close took %v", took)
	}
	return acknowledged
}

func TestStallFails(t *testing.T) {
	t.Parallel()
	for at := int64(1); at < 20; at += 9 {
		t.Run(fmt.Sprint("write ", at), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			f := &faults{release: make(chan struct{})}
			// Before it hangs, a disk that is busy with other tests may take a second.
			log := open(t, Config{Dir: dir, Bootstrap: true, fault: f.fault, StallTimeout: 5 * time.Second}, &book{})
			lead(t, log)
			propose(t, log, "before")
			f.at = f.writes.Load() + at
			start := time.Now()
			acknowledged, refusal := work(t, log, 0)
			if refusal == nil {
				t.Fatal("proposals were acknowledged while the disk hung")
			}
			err := <-log.Failed()
			if !strings.Contains(err.Error(), "hangs") || !strings.Contains(err.Error(), dir) {
				t.Errorf("the failure says %v", err)
			}
			if took := time.Since(start); took > hangs {
				t.Errorf("it took %v to fail", took)
			}
			start = time.Now()
			if err := log.Close(); err == nil {
				t.Error("Close says that all is well")
			}
			if took := time.Since(start); took > hangs {
				t.Errorf("Close took %v while the disk hung", took)
			}
			close(f.release)
			log.loops.Wait()
			if err := log.shutdown().Error(); err != nil {
				t.Error(err)
			}
			// The process ends here in the product, and the lock with it.
			if err := log.closeWAL(); err != nil {
				t.Error(err)
			}
			log.directory.close()
			state := &book{}
			log = open(t, Config{Dir: dir}, state)
			lead(t, log)
			if got := len(state.commands()); got < len(acknowledged)+1 {
				t.Errorf("%d commands are there, and %d were acknowledged", got, len(acknowledged)+1)
			}
			log.Close()
		})
	}
}

// Who asks a leader whose disk hangs whether it leads does not wait forever in it: raft answers when the disk does,
// though the node has stopped meanwhile.
func TestVerifyEndsWithTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := NewMemory("id")
		var hangs atomic.Bool
		release := make(chan struct{})
		memory.Write = func() error {
			if hangs.Load() {
				<-release
				return syscall.EIO
			}
			return nil
		}
		log := open(t, Config{Memory: memory, Bootstrap: true, StallTimeout: time.Second}, &book{})
		lead(t, log)
		propose(t, log, "before")
		hangs.Store(true)
		var asking sync.WaitGroup
		ask := func(request func() error) {
			asking.Go(func() {
				if err := request(); err == nil {
					t.Error("a node whose disk hangs has acknowledged something")
				}
			})
		}
		ask(func() error { _, _, err := log.Propose(t.Context(), []byte("while it hangs")); return err })
		synctest.Wait()
		for range 20 {
			ask(func() error { return log.Verify(t.Context()) })
		}
		asking.Wait()
		if err := log.Close(); err == nil || !strings.Contains(err.Error(), "hangs") {
			t.Errorf("Close says %v", err)
		}
		close(release)
		// The bubble ends when every goroutine has.
	})
}

// A node whose disk fails while it forms a cluster forms it when it is started again, or has formed it.
func TestFormAfterAnyWriteError(t *testing.T) {
	t.Parallel()
	for _, inMemory := range []bool{false, true} {
		writes := 0
		for formed := false; !formed; writes++ {
			f := &faults{err: syscall.ENOSPC}
			config := Config{Dir: t.TempDir(), fault: f.fault, HeartbeatTimeout: 100 * time.Millisecond}
			if inMemory {
				config.Dir, config.fault, config.Memory = "", nil, NewMemory("id")
				config.Memory.Write = func() error { return f.fault("write") }
			}
			log := open(t, config, &book{})
			f.at = f.writes.Load() + int64(writes) + 1
			err := log.Form(t.Context())
			formed = err == nil
			if !formed && !errors.Is(err, f.err) {
				t.Errorf("write %d failed (%v): Form said %v", writes+1, f.what.Load(), err)
			}
			log.Close()
			if formed {
				break
			}
			config.fault, f.at = nil, 0
			log = open(t, config, &book{})
			nodes, err := log.Nodes()
			if err == nil && len(nodes) == 0 {
				if log.directory != nil && log.directory.Used {
					t.Errorf("write %d failed (%v): the directory is said to have had entries", writes+1, f.what.Load())
				}
				err = log.Form(t.Context())
			}
			if err != nil {
				t.Fatalf("write %d failed (%v): started again, Form said %v", writes+1, f.what.Load(), err)
			}
			lead(t, log)
			propose(t, log, "after")
			log.Close()
		}
		if writes < 2 {
			t.Errorf("in memory %v: forming a cluster has only %d writes", inMemory, writes)
		}
	}
}

func TestMachineThatCanNotApplyFails(t *testing.T) {
	for _, command := range []string{"unknown", "panic"} {
		dir := t.TempDir()
		log := open(t, Config{Dir: dir, Bootstrap: true}, &book{})
		lead(t, log)
		propose(t, log, "before")
		if _, _, err := log.Propose(t.Context(), []byte(command)); err == nil {
			t.Errorf("%s: acknowledged", command)
		}
		err := <-log.Failed()
		if !errors.As(err, &Fatal{}) && !strings.Contains(err.Error(), "entry") {
			t.Errorf("%s: the failure says %v", command, err)
		}
		t.Log(err)
		if _, _, err := log.Propose(t.Context(), []byte("after")); err == nil {
			t.Errorf("%s: acknowledged after it", command)
		}
		log.Close()
	}
}
