package supervisor

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"time"
)

// interval is how often memory is looked at.
const interval = 100 * time.Millisecond

// watcher looks for too much memory.
type watcher struct {
	// exceeded is closed when it was too much.
	exceeded chan struct{}
	quit     chan struct{}
	quitted  chan struct{}
	// peak is the most that was seen, and over says that it was too much. Both are for after stop.
	peak uint64
	over bool
}

// watch begins to look. With a control group it only asks whether the kernel has killed a process: a program of which
// one process was killed may wait for it forever.
func (s *supervision) watch() *watcher {
	w := &watcher{exceeded: make(chan struct{}), quit: make(chan struct{}), quitted: make(chan struct{})}
	if s.command.Memory == 0 {
		close(w.quitted)
		return w
	}
	grouped := s.exit.Enforced.Memory == ControlGroup
	if !grouped {
		s.exit.Enforced.Memory = Watching
	}
	go func() {
		defer close(w.quitted)
		pause := interval
		for {
			select {
			case <-w.quit:
				return
			case <-time.After(pause):
			}
			began := time.Now()
			if grouped {
				w.over = s.groups.outOfMemory()
			} else {
				w.look(s.command.Memory)
			}
			if w.over {
				close(w.exceeded)
				return
			}
			// On a machine with very many processes, looking takes at most a twentieth of a core.
			pause = max(interval, 20*time.Since(began))
		}
	}()
	return w
}

func (w *watcher) stop() {
	close(w.quit)
	<-w.quitted
}

func (w *watcher) look(limit uint64) {
	var pages uint64
	tree := descendants()
	for _, process := range tree {
		pages += process.pages
	}
	used := pages * uint64(os.Getpagesize())
	if used > limit {
		// Pages that processes share were counted several times. This takes the kernel longer to say.
		used = proportional(tree)
	}
	w.peak = max(w.peak, used)
	w.over = used > limit
}

// proportional returns the bytes that processes use, where a page that n of them share is an nth of a page for each.
func proportional(tree []stat) uint64 {
	var bytes uint64
	for _, process := range tree {
		bytes += proportionalOf(process)
	}
	return bytes
}

func proportionalOf(process stat) uint64 {
	file, err := os.Open("/proc/" + strconv.Itoa(process.pid) + "/smaps_rollup")
	if err != nil {
		return 0
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) == 3 && fields[0] == "Pss:" {
			kib, _ := strconv.ParseUint(fields[1], 10, 64)
			return kib << 10
		}
	}
	// It has ended, or it belongs to another user.
	return 0
}
