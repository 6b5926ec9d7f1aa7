package chaos

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// diskSize is that of the disk that is filled, in bytes: two files of the log fit, and little else.
const diskSize = 48 << 20

// mountSmallDisk puts the coordinator's data directory on a small disk of its own, or skips the test where that can't
// be.
func (p *process) mountSmallDisk() {
	p.fleet.Helper()
	if os.Geteuid() != 0 {
		p.fleet.Skip("mounting a small disk needs root")
	}
	if err := os.Mkdir(p.data, 0o700); err != nil {
		p.fleet.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", p.data, "tmpfs", 0, fmt.Sprintf("size=%d", diskSize)); err != nil {
		p.fleet.Skipf("a small disk can't be mounted: %v", err)
	}
}

// unmountDisk is undone before the fleet removes its folder.
func (p *process) unmountDisk() {
	p.kill()
	if err := syscall.Unmount(p.data, 0); err != nil {
		p.fleet.Error(err)
	}
}

// A real disk runs full while a study is trained, because of what others write to it. The coordinator refuses new
// studies, and ends when it needs room, and says so and what to do. When there is room again it starts and has
// everything.
func TestFullDisk(t *testing.T) {
	skipRaced(t)
	parallel(t)
	f := newFleet(t)
	coordinator := f.newCoordinator("coordinator")
	coordinator.mountSmallDisk()
	t.Cleanup(coordinator.unmountDisk)
	c := newClient(t, coordinator.address)
	coordinator.startServing(c)
	r := newRecord(synthetic("full", 0, gridOf(20_000, 100)), true)
	if acknowledged, err := r.change(t.Context(), c, running); !acknowledged {
		t.Fatal(err)
	}
	ballast := filepath.Join(coordinator.data, "ballast")
	fillDisk(t, ballast)
	refused := newRecord(synthetic("refused", 0, gridOf(1, 1)), true)
	if acknowledged, err := refused.change(t.Context(), c, running); acknowledged || err == nil {
		t.Error("a full disk takes a new study")
	} else if !strings.Contains(err.Error(), "free") || !strings.Contains(err.Error(), "make room") {
		t.Errorf("that a new study is refused does not say that the disk is full: %v", err)
	}
	worker := f.newWorker("worker", coordinator.address, "--slots", "32")
	worker.start()
	coordinator.expect(true)

	// The log's current file has its room already: the study goes on until the next one is needed.
	var shown uint64
	for ended := false; !ended; {
		select {
		case <-coordinator.exited:
			ended = true
		default:
			if study, err := c.getStudy(t.Context(), "full"); err == nil {
				shown = study.GetProgress().GetEpochs()
				if study.GetState() != running {
					t.Fatalf("the study has ended on a full disk: %v", study.GetProgress())
				}
			}
			pause(t.Context(), 10*time.Millisecond)
		}
	}
	said := coordinator.said()
	if code := coordinator.await(); code <= 0 || !strings.Contains(said, "no space left on device") ||
		!strings.Contains(said, "make room") {
		t.Errorf("the coordinator has ended with code %d and does not say that its disk is full", code)
	}
	// It would fill what room there is.
	worker.kill()
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	coordinator.startServing(c)
	study, err := c.getStudy(t.Context(), "full")
	if err != nil || study.GetProgress().GetEpochs() < shown {
		t.Errorf("after %d epochs were shown, there are %d: %v", shown, study.GetProgress().GetEpochs(), err)
	}
	if err := r.check(t.Context(), c); err != nil {
		t.Error(err)
	}
	if acknowledged, err := refused.change(t.Context(), c, running); !acknowledged {
		t.Errorf("with room again, a study is refused: %v", err)
	}
	t.Logf("the disk was full after %d epochs", shown)
}

// fillDisk writes until there is no room.
func fillDisk(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	chunk := make([]byte, 64<<10)
	for {
		if _, err := file.Write(chunk); errors.Is(err, syscall.ENOSPC) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
