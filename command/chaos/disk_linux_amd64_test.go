package chaos

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// countChanges runs the workload without a fault, checks it, and returns the changes that the coordinator makes on the
// way.
func countChanges(t *testing.T) (all []change) {
	t.Helper()
	t.Run("undisturbed", func(t *testing.T) {
		w := newWorkload(t)
		traced := w.coordinator.startTraced(fault{})
		w.run()
		w.coordinator.kill()
		all = traced.seen()
		kinds := map[string]int{}
		for _, c := range all {
			kinds[c.call]++
		}
		t.Logf("%d changes of the data directory: %v; %d operations were acknowledged", len(all), kinds, w.acknowledged)
		// Of a study that has ended, which on a slow machine are more, the other moves are refused.
		if least := studiesAtOnce + deletedStudies; w.acknowledged < least {
			t.Errorf("%d operations were acknowledged, want %d that create or delete, or more", w.acknowledged, least)
		}
		w.recover()
	})
	if t.Failed() {
		t.FailNow()
	}
	return all
}

// spread is some of 1 to all, evenly spaced, or each if there are not more than that.
func spread(all, some int) (places []int) {
	some = min(some, all)
	for n := range some {
		places = append(places, 1+n*all/some)
	}
	return places
}

// A coordinator is killed before or after each system call that changes its data directory: while it boots for the
// first time, during 40 operations, a backup and a restore. Each time it starts again at once and has all that it had
// acknowledged.
func TestSyscallKills(t *testing.T) {
	skipRaced(t)
	parallel(t)
	all := len(countChanges(t))
	random := newRandom(t)
	var mu sync.Mutex
	var restarts []time.Duration
	places := spread(all, count(t, "TRELLIS_CHAOS_KILLS", 4, 10, all))
	start := time.Now()
	kill := func(t *testing.T, f fault) {
		parallel(t)
		w := newWorkload(t)
		traced := w.coordinator.startTraced(f)
		w.run()
		w.coordinator.kill()
		took := w.recover()
		mu.Lock()
		restarts = append(restarts, took)
		mu.Unlock()
		logFault(t, traced)
	}
	// A test waits at its end for those in it that run beside one another.
	t.Run("kills", func(t *testing.T) {
		for _, at := range places {
			// An ordinary run kills elsewhere each time.
			if !soak {
				at += random.IntN(max(1, all/len(places)))
			}
			effects := []effect{killBefore, killAfter}
			if !soak {
				effects = effects[at%2:][:1]
			}
			for _, effect := range effects {
				f := fault{effect: effect, at: at}
				t.Run(f.String(), func(t *testing.T) { kill(t, f) })
			}
		}
	})
	t.Logf("%d kills in %v at %d places; the coordinator served %s after its start", len(restarts),
		time.Since(start).Round(time.Millisecond), all, distribution(restarts))
}

// logFault says which call the fault has met. It may have come too late for the last ones: how reports gather in the
// log differs from time to time.
func logFault(t *testing.T, traced *tracer) {
	t.Helper()
	select {
	case <-traced.fired:
		c := traced.seen()[traced.fault.at-1]
		t.Logf("%v: %s %s", traced.fault, c.call, strings.TrimPrefix(c.path, filepath.Dir(traced.dir)))
	default:
		t.Logf("%v: it was not reached", traced.fault)
	}
}

// inArtifacts says whether a change concerns the artifacts alone. If it fails, what was to be stored is refused.
func inArtifacts(c change) bool { return strings.Contains(c.path, "/artifacts") }

// inRemoval says whether a change removes what is not needed any more. If it fails, nothing is lost.
func inRemoval(c change) bool { return strings.HasPrefix(c.call, "unlink") || c.call == "rmdir" }

// inReceived says whether a change concerns a backup that is on its way in. If it fails, the backup is refused.
func inReceived(c change) bool { return strings.HasPrefix(filepath.Base(c.path), "restore-") }

// harmless says whether the coordinator may go on when a change fails.
func harmless(c change) bool { return inArtifacts(c) || inRemoval(c) || inReceived(c) }

// Each system call that changes the data directory fails: once, as a faulty disk does, or from there on, as a full one
// does. The coordinator acknowledges nothing afterwards, ends by itself and says why. When it is started on a disk that
// is well it has everything.
func TestDiskErrors(t *testing.T) {
	parallel(t)
	all := len(countChanges(t))
	random := newRandom(t)
	places := spread(all, count(t, "TRELLIS_CHAOS_FAULTS", 3, 8, all))
	for _, at := range places {
		if !soak {
			at += random.IntN(max(1, all/len(places)))
		}
		faults := []fault{
			{effect: fail, at: at, errno: syscall.EIO},
			{effect: failFrom, at: at, errno: syscall.ENOSPC},
			{effect: fail, at: at, errno: syscall.ENOSPC},
		}
		if !soak {
			faults = faults[at%3:][:1]
		}
		for _, f := range faults {
			t.Run(f.String(), func(t *testing.T) { checkDiskError(t, f) })
		}
	}
}

// The disk has no room for a backup that is to be restored: it is refused, and the coordinator goes on.
func TestNoRoomForABackup(t *testing.T) {
	skipRaced(t)
	parallel(t)
	for at, call := range []string{"openat", "write"} {
		f := fault{effect: fail, at: at + 1, errno: syscall.ENOSPC, only: inReceived}
		t.Run(call, func(t *testing.T) {
			parallel(t)
			w := newWorkload(t)
			traced := w.coordinator.startTraced(f)
			w.run()
			select {
			case <-traced.fired:
			default:
				t.Fatal("no backup has come to the data directory")
			}
			if err := w.restored; status.Code(err) != codes.ResourceExhausted ||
				!strings.Contains(err.Error(), "make room") {
				t.Errorf("the restore ended with %v, want ResourceExhausted and what to do", err)
			}
			w.coordinator.kill()
			w.recover()
		})
	}
}

func checkDiskError(t *testing.T, f fault) {
	parallel(t)
	w := newWorkload(t)
	traced := w.coordinator.startTraced(f)
	logged := make(chan struct{})
	// What concerns the log and its snapshots must end the process; the tracer closes fired before the call returns.
	w.failed = logged
	exited := w.coordinator.exited
	fired := func() (change, bool) {
		select {
		case <-traced.fired:
			return traced.seen()[f.at-1], true
		default:
			return change{}, false
		}
	}
	go func() {
		select {
		case <-traced.fired:
			if c, _ := fired(); !harmless(c) {
				close(logged)
			}
		case <-exited:
		}
	}()
	w.run()
	c, happened := fired()
	switch {
	case !happened:
		w.coordinator.kill()
	case harmless(c):
		// It may go on.
		w.coordinator.kill()
	default:
		code := w.coordinator.await()
		text := map[syscall.Errno]string{
			syscall.EIO:    "input/output error",
			syscall.ENOSPC: "no space left on device",
		}[f.errno]
		if said := w.coordinator.said(); code <= 0 || !strings.Contains(said, text) {
			t.Errorf("after %v failed the coordinator ended with code %d and did not say %q", c, code, text)
		}
	}
	w.failed = nil
	w.recover()
	logFault(t, traced)
	if !t.Failed() {
		lines := strings.Split(strings.TrimSpace(w.coordinator.said()), "\n")
		if last := slices.IndexFunc(lines, func(line string) bool {
			return strings.HasPrefix(line, "trellis: ")
		}); last >= 0 {
			t.Log(lines[last])
		}
	}
}

// A disk that hangs is one that has failed: the coordinator says so and ends, and acknowledges nothing that has not
// been written.
func TestStalledDisk(t *testing.T) {
	parallel(t)
	const delay, noticed = 40 * time.Second, 20 * time.Second
	inLog := func(c change) bool {
		return strings.Contains(c.path, "/log/") && (c.call == "pwrite64" || c.call == "fsync")
	}
	var all int
	t.Run("undisturbed", func(t *testing.T) {
		w := newWorkload(t)
		traced := w.coordinator.startTraced(fault{only: inLog})
		w.run()
		w.coordinator.kill()
		all = len(traced.seen())
	})
	random := newRandom(t)
	for range count(t, "TRELLIS_CHAOS_FAULTS", 1, 1, all/4) {
		f := fault{effect: stall, at: 1 + all/4 + random.IntN(all/2), delay: delay, only: inLog}
		t.Run(fmt.Sprint(f), func(t *testing.T) {
			w := newWorkload(t)
			traced := w.coordinator.startTraced(f)
			w.failed = traced.fired
			w.run()
			select {
			case <-traced.fired:
			default:
				w.coordinator.kill()
				return
			}
			start := time.Now()
			code := w.coordinator.await()
			took := time.Since(start)
			if said := w.coordinator.said(); code <= 0 || took > noticed || !strings.Contains(said, "the disk hangs") {
				t.Errorf("the coordinator ended with code %d after another %v, and did not say that the disk hangs",
					code, took)
			}
			w.failed = nil
			w.recover()
			logFault(t, traced)
		})
	}
}
