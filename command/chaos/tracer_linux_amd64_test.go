package chaos

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The tracer sees every change below the data directory, and does to it what it is told to.
func TestTracer(t *testing.T) {
	skipRaced(t)
	run := func(fault fault) (code int, said, files string, calls []string) {
		f := newFleet(t)
		p := f.newProcess("shell")
		p.data = filepath.Join(f.dir, "data")
		if err := os.Mkdir(p.data, 0o700); err != nil {
			t.Fatal(err)
		}
		p.wrapped = []string{"/bin/sh", "-c", "cd " + p.data + "; echo elsewhere > ../c; echo one > a; echo two > b"}
		traced := p.startTraced(fault)
		code = p.await()
		select {
		case <-traced.fired:
		default:
			if fault.at > 0 {
				t.Errorf("%v has not happened", fault)
			}
		}
		for _, name := range []string{"a", "b"} {
			if text, err := os.ReadFile(filepath.Join(p.data, name)); err == nil {
				files += name + "=" + strings.TrimSpace(string(text)) + " "
			}
		}
		for _, c := range traced.seen() {
			calls = append(calls, c.call+" "+filepath.Base(c.path))
		}
		return code, p.said(), strings.TrimSpace(files), calls
	}
	code, _, files, calls := run(fault{})
	if want := []string{"openat a", "write a", "openat b", "write b"}; code != 0 || !slices.Equal(calls, want) {
		t.Fatalf("code %d, changes %v, want %v", code, calls, want)
	}
	if files != "a=one b=two" {
		t.Errorf("the files are %s", files)
	}
	for _, test := range []struct {
		fault fault
		code  int
		files string
		said  string
	}{
		{fault{effect: killBefore, at: 2}, -1, "a=", ""},
		{fault{effect: killAfter, at: 2}, -1, "a=one", ""},
		{fault{effect: killBefore, at: 3}, -1, "a=one", ""},
		{fault{effect: killAfter, at: 3}, -1, "a=one b=", ""},
		{fault{effect: fail, at: 2, errno: syscall.ENOSPC}, 0, "a= b=two", "I/O error"},
		{fault{effect: fail, at: 3, errno: syscall.EIO}, 2, "a=one", "Input/output error"},
		{fault{effect: failFrom, at: 2, errno: syscall.EIO}, 2, "a=", "Input/output error"},
	} {
		code, said, files, _ := run(test.fault)
		if code != test.code || files != test.files || !strings.Contains(said, test.said) {
			t.Errorf("%v: code %d, files %q, want %d, %q; it said %s", test.fault, code, files, test.code, test.files,
				said)
		}
	}
	begin := time.Now()
	if code, _, files, _ := run(fault{effect: stall, at: 2, delay: 300 * time.Millisecond}); code != 0 ||
		files != "a=one b=two" {
		t.Errorf("stalled: code %d, files %q", code, files)
	}
	if took := time.Since(begin); took < 300*time.Millisecond {
		t.Errorf("a call that was to take 300ms took %v", took)
	}
}
