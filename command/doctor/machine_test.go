package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sound is a machine on which everything is right.
func sound(t *testing.T) *machine {
	m := thisMachine()
	m.data, m.listen, m.kernel, m.root = t.TempDir(), "127.0.0.1:0", "avx2", t.TempDir()
	m.sync = func(*os.File) error { return nil }
	m.space = func(string) (free, reserve uint64, err error) { return 100 << 30, 10 << 30, nil }
	writeFile(t, filepath.Join(m.root, "proc/meminfo"), "MemTotal:       16777216 kB\n")
	return m
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o700)); err != nil {
		t.Fatal(err)
	}
}

// find returns what a check has found.
func find(t *testing.T, findings []finding, check string) finding {
	t.Helper()
	for _, f := range findings {
		if f.Check == check {
			return f
		}
	}
	t.Fatalf("there is no check %q in %v", check, findings)
	return finding{}
}

func expect(t *testing.T, f finding, state state, found, advice string) {
	t.Helper()
	if f.State != state || !strings.Contains(f.Found, found) || !strings.Contains(f.Advice, advice) ||
		(f.State == fine) != (f.Advice == "") {
		t.Errorf("got %s %q: %q, want %s with %q: %q", f.State, f.Found, f.Advice, state, found, advice)
	}
}

func TestSoundMachine(t *testing.T) {
	m := sound(t)
	for _, f := range m.check(t.Context()) {
		// The limit is this machine's.
		if f.State != fine && f.Check != "open files" {
			t.Errorf("%+v", f)
		}
	}
	left, err := os.ReadDir(m.data)
	if len(left) > 0 || err != nil {
		t.Errorf("left %v, %v", left, err)
	}
}

// Each fault of a machine is found, and something is to be done about it.
func TestFaultsOfAMachine(t *testing.T) {
	const gib = 1 << 30
	full := func(free uint64) func(*testing.T, *machine) {
		return func(_ *testing.T, m *machine) {
			m.space = func(string) (uint64, uint64, error) { return free, 10 * gib, nil }
		}
	}
	for _, test := range []struct {
		name, check string
		make        func(*testing.T, *machine)
		state       state
		found       string
		advice      string
	}{
		{"the disk is full", "disk space", full(9 * gib), fault, "9.0 GiB free", "new studies are refused"},
		{"the disk is nearly full", "disk space", full(19 * gib), warning, "19 GiB free", "before new studies"},
		{"the disk is broken", "disk speed", func(_ *testing.T, m *machine) {
			m.sync = func(*os.File) error { return &os.PathError{Op: "sync", Path: "x", Err: syscall.EIO} }
		}, fault, "a write failed (input/output error)", "system's log"},
		{"a write finds the disk full", "disk speed", func(_ *testing.T, m *machine) {
			m.sync = func(*os.File) error { return &os.PathError{Op: "sync", Path: "x", Err: syscall.ENOSPC} }
		}, fault, "a write failed (no space left on device)", "free disk space"},
		{"a file is in the way", "data directory", func(t *testing.T, m *machine) {
			writeFile(t, filepath.Join(m.data, "file"), "")
			m.data = filepath.Join(m.data, "file", "data")
		}, fault, "not a", "--data"},
		{"not to be written to", "data directory", func(t *testing.T, m *machine) {
			m.data = "/proc/self" // Root may write everywhere else.
			if runtime.GOOS != "linux" {
				t.Skip("no /proc")
			}
		}, fault, "/proc/self is not writable", "choose another folder"},
		{"a new directory", "data directory", func(_ *testing.T, m *machine) {
			m.data = filepath.Join(m.data, "a", "b")
		}, fine, "can be made", ""},
		{"an old processor", "processor", func(t *testing.T, m *machine) {
			m.kernel = "portable"
			if runtime.GOARCH != "amd64" {
				t.Skip("portable is what there is")
			}
		}, warning, "portable", "AVX2"},
		{"little memory", "memory", func(t *testing.T, m *machine) {
			writeFile(t, filepath.Join(m.root, "sys/fs/cgroup/memory.max"), "536870912\n")
		}, warning, "512 MiB", "1 GiB or more"},
		{"too little memory", "memory", func(t *testing.T, m *machine) {
			writeFile(t, filepath.Join(m.root, "sys/fs/cgroup/memory.max"), "134217728\n")
		}, fault, "128 MiB", "control group"},
		{"unknown memory", "memory", func(_ *testing.T, m *machine) { m.root = "/nowhere" }, warning, "can't be read", ""},
		{"no Python", "python", func(_ *testing.T, m *machine) {
			m.programs, m.python = true, "/nowhere/python3"
		}, warning, "/nowhere/python3 does not run", "install Python"},
		{"an old Python", "python", func(t *testing.T, m *machine) {
			m.programs, m.python = true, filepath.Join(t.TempDir(), "python3")
			writeFile(t, m.python, "#!/bin/sh\necho 3 9 2\n")
		}, warning, "Python 3.9.2", "3.10"},
		{"a new Python", "python", func(t *testing.T, m *machine) {
			m.programs, m.python = true, filepath.Join(t.TempDir(), "python3")
			writeFile(t, m.python, "#!/bin/sh\necho 3 12 1\n")
		}, fine, "Python 3.12.1", ""},
		{
			"no such address", "--http", func(_ *testing.T, m *machine) { m.http = "203.0.113.1:80" },
			fault, "is not an address of this machine", ":PORT for all",
		},
		{"no address", "--metrics", func(_ *testing.T, m *machine) { m.metrics = "here" }, fault, "can't listen on here", "--metrics"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := sound(t)
			test.make(t, m)
			f := find(t, m.check(t.Context()), test.check)
			if f.State != test.state || !strings.Contains(f.Found, test.found) || !strings.Contains(f.Advice, test.advice) {
				t.Errorf("got %+v, want %s with %q: %q", f, test.state, test.found, test.advice)
			}
		})
	}
}

// The median and the longest of the writes are what counts.
func TestSlowDisk(t *testing.T) {
	for _, test := range []struct {
		name        string
		usual, once time.Duration
		state       state
		found       string
		advice      string
	}{
		{"quick", time.Millisecond, 2 * time.Millisecond, fine, "took 1ms each in the median, 2ms at most", ""},
		{"slow", 11 * time.Millisecond, 0, warning, "took 11ms", "prefer a local"},
		{"too slow", 101 * time.Millisecond, 0, fault, "took 101ms", "use a local"},
		{"hardly writes", 3 * time.Second, 0, fault, "4 synced writes took 3s each", "use a local"},
		{"stalls", time.Millisecond, 501 * time.Millisecond, warning, "501ms at most", "a leader that stalls is replaced"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := sound(t)
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				m.sync = func(*os.File) error {
					if calls++; calls == 7 {
						time.Sleep(max(test.once, test.usual))
					} else {
						time.Sleep(test.usual)
					}
					return nil
				}
				expect(t, find(t, m.checkData(t.Context()), "disk speed"), test.state, test.found, test.advice)
			})
		})
	}
}

// A file system that hangs is a fault, and Ctrl-C need not wait for it.
func TestDiskHangs(t *testing.T) {
	for _, test := range []struct {
		name  string
		ctrlC time.Duration
		want  time.Duration
	}{
		{"the limit", time.Hour, dataTimeout + clearing},
		{"Ctrl-C", time.Minute / 10, time.Minute/10 + clearing},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := sound(t)
			synctest.Test(t, func(t *testing.T) {
				back := make(chan struct{})
				m.sync = func(*os.File) error { <-back; return nil }
				ctx, cancel := context.WithTimeout(t.Context(), test.ctrlC)
				defer cancel()
				began := time.Now()
				expect(t, find(t, m.checkData(ctx), "data directory"), fault, "does not respond", "can be reached")
				if took := time.Since(began); took != test.want {
					t.Errorf("took %v, want %v", took, test.want)
				}
				close(back)
			})
			if left, err := os.ReadDir(m.data); len(left) > 0 || err != nil {
				t.Errorf("left %v, %v", left, err)
			}
		})
	}
}

// What Python has started may keep its output open for as long as it likes.
func TestPythonOutputHangs(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a second")
	}
	m := sound(t)
	m.python = filepath.Join(t.TempDir(), "python3")
	pidFile := filepath.Join(t.TempDir(), "pid")
	writeFile(t, m.python, "#!/bin/sh\nsleep 60 &\necho $! > "+pidFile+"\necho 3 12 1\n")
	f := m.checkPython(t.Context())
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("the check has waited for what Python started: %v", err)
	}
	expect(t, f, warning, "does not run", "install Python")
}

// Who asks about a cluster may do so from any machine.
func TestWhatIsChecked(t *testing.T) {
	t.Setenv("HOME", "/home/somebody")
	t.Setenv("XDG_DATA_HOME", "")
	for _, test := range []struct {
		flags        string // Those that are set.
		elsewhere    bool
		data, listen string
	}{
		{"", false, "/home/somebody/.local/share/trellis", "default"},
		{"", true, "", ""},
		{"coordinator", false, "", ""},
		{"coordinator data", false, "named", ""},
		{"coordinator listen", false, "", "default"},
		{"coordinator data listen", false, "named", "default"},
		{"data", false, "named", "default"},
	} {
		m := &machine{listen: "default"}
		given := func(flag string) bool { return slices.Contains(strings.Fields(test.flags), flag) }
		if given("data") {
			m.data = "named"
		}
		if err := m.complete(test.elsewhere, given); err != nil || m.data != test.data || m.listen != test.listen {
			t.Errorf("with %q: data %q, listen %q, %v, want %q and %q", test.flags, m.data, m.listen, err, test.data, test.listen)
		}
	}
}

// A port that is taken is a fault, unless trellis has it.
func TestPortTaken(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	m := sound(t)
	m.listen = listener.Addr().String()
	f := find(t, m.check(t.Context()), "--listen")
	expect(t, f, fault, m.listen+" is taken by", "--listen")
	if runtime.GOOS != "linux" {
		return
	}
	m.root = "/"
	expect(t, find(t, m.check(t.Context()), "--listen"), fault, "is taken by doctor.test (process ", "stop that")
	// Not everything that is called trellis is a coordinator.
	m.root = t.TempDir()
	port := listener.Addr().(*net.TCPAddr).Port
	const header = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	writeFile(t, filepath.Join(m.root, "proc/net/tcp"), header+fmt.Sprintf(
		"   0: 0100007F:%04X 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0 100 0 0 10 0\n", port))
	writeFile(t, filepath.Join(m.root, "proc/net/tcp6"), header)
	writeFile(t, filepath.Join(m.root, "proc/12/comm"), "trellis\n")
	if err := errors.Join(os.Mkdir(filepath.Join(m.root, "proc/12/fd"), 0o700),
		os.Symlink("socket:[4711]", filepath.Join(m.root, "proc/12/fd/5"))); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		flag, line string
		fine       bool
	}{
		{"listen", "trellis coordinator --data d", true},
		{"http", "trellis --quiet coordinator", true},
		{"metrics", "trellis coordinator", true},
		{"metrics", "trellis worker --coordinator a", true},
		{"listen", "trellis worker --coordinator a", false},
		{"listen", "trellis run spec.yaml", false},
	} {
		writeFile(t, filepath.Join(m.root, "proc/12/cmdline"), strings.ReplaceAll(test.line, " ", "\x00")+"\x00")
		f := m.checkAddress(t.Context(), test.flag, m.listen)
		if test.fine {
			expect(t, f, fine, "trellis (process 12) listens on "+m.listen, "")
		} else {
			expect(t, f, fault, "is taken by trellis "+strings.Fields(test.line)[1]+" (process 12)", "choose another")
		}
	}
}
