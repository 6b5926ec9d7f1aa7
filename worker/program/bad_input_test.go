//go:build unix

package program

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/worker/archive"
)

// sleeping is a program that goes on for as long as it is let.
const sleeping = "\nwhile :; do sleep 0.05; done"

// say returns a command that reports a line as it is.
func say(lines ...string) string {
	var script strings.Builder
	for _, line := range lines {
		fmt.Fprintf(&script, "printf '%%s\\n' '%s' >> \"$TRELLIS_REPORTS\"\n", line)
	}
	return script.String()
}

func TestCommandsThatCannotStart(t *testing.T) {
	files := map[string]string{
		"plain.txt": "echo hello", "lost.sh": "#!/no/such/interpreter\n", "bare": "no line of an interpreter",
		"dir/x": "", "tool": "#!/bin/sh\n",
	}
	for _, test := range []struct {
		name    string
		command []string
		kind    Kind
		says    string
	}{
		{"not in PATH", []string{"no-such-command-anywhere"}, NoCommand, "not in this worker's PATH, /"},
		{"absolute", []string{"/no/such/command"}, NoCommand, "does not exist on this worker"},
		{"not among the files", []string{"./train.sh"}, BadCommand, "not among the program's files"},
		{"in the folder", []string{"tool"}, BadCommand, "./tool"},
		{"not executable", []string{"./plain.txt"}, BadCommand, "not executable: chmod +x"},
		{"a folder", []string{"./dir"}, BadCommand, "is a folder"},
		{"no interpreter", []string{"./lost.sh"}, NoCommand, "interpreter"},
		{"no format", []string{"./bare"}, NoCommand, "neither a program"},
		{"unknown parameter", []string{"echo", "{rate}"}, BadCommand, `unknown parameter "rate"`},
		{"NUL", []string{"echo", "a\x00b"}, BadCommand, "NUL"},
		{"too long", []string{"echo", strings.Repeat("x", 1<<20)}, BadCommand, "larger than the system takes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHarness(t, "")
			h.config.Program.Command = test.command
			h.config.Files = packFiles(t, files)
			h.mustFail(test.kind, test.says)
		})
	}
}

// packFiles packs files by name. Those without .txt in their names are executable.
func packFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	folder := t.TempDir()
	for name, content := range files {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o755)
		if strings.HasSuffix(name, ".txt") {
			mode = 0o644
		}
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	packed, err := os.Create(filepath.Join(t.TempDir(), "files"))
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	if _, err := archive.Pack(t.Context(), packed, root, archive.Limits{Files: 1000, Bytes: 1 << 20}, nil); err != nil {
		t.Fatal(err)
	}
	return packed.Name()
}

// names is the report of an epoch with as many metrics as a run can have, whose names the epoch's number is part of.
func names(epoch int) string {
	text := fmt.Sprintf(`{"epoch": %d`, epoch+1)
	for i := range MaxMetrics {
		text += fmt.Sprintf(`, "m%d": 1`, epoch*MaxMetrics+i)
	}
	return text + "}"
}

func TestBadReports(t *testing.T) {
	good := `{"epoch": 1, "loss": 1}`
	for _, test := range []struct {
		name  string
		lines []string
		says  string
		line  int
	}{
		{"twice", []string{good, good}, "epoch 1 is reported twice", 2},
		{"a gap", []string{good, `{"epoch": 3, "loss": 1}`}, "after epoch 1 comes 2, not 3", 2},
		{"backwards", []string{good, `{"epoch":2,"loss":1}`, good}, "after epoch 2 comes 3, not 1", 3},
		{"from 0", []string{`{"epoch": 0, "loss": 1}`}, "the first epoch is 1, not 0", 1},
		{"text", []string{good, "", "epoch two was great"}, "line 3 of its reports: it is not a JSON object", 3},
		{"a word", []string{`{"epoch": 1, "loss": "great"}`}, `loss is "great", which is not a number`, 1},
		{"a list", []string{`{"epoch": 1, "loss": [1]}`}, `"loss" is not a number`, 1},
		{"no epoch", []string{`{"loss": 1}`}, `it has no "epoch"`, 1},
		{"half an epoch", []string{`{"epoch": 1.5, "loss": 1}`}, "epoch 1.5 is not a whole number", 1},
		{"a name", []string{`{"epoch": 1, "val loss": 1}`}, `"val loss" must have at most 63 letters`, 1},
		{
			"ever new names",
			[]string{names(0), names(1)},
			"it has reported 200 metrics by now; a run can have at most 100", 2,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHarness(t, say(test.lines...)+sleeping)
			if failed := h.mustFail(BadReport, test.says); failed.Line != test.line {
				t.Errorf("line %d, want %d", failed.Line, test.line)
			}
		})
	}
}

// Numbers that are not finite are metrics like others, as Python and others write them.
func TestNonFiniteMetrics(t *testing.T) {
	h := newHarness(t, say(`{"epoch": 1, "loss": NaN}`, `{"epoch": 2, "loss": "-Infinity", "other": null}`,
		`{"epoch": 3.0, "loss": Infinity}`))
	h.mustRun()
	for i, want := range []string{"map[loss:NaN]", "map[loss:-Inf]", "map[loss:+Inf]"} {
		if got := fmt.Sprint(h.reports[i].Metrics); got != want {
			t.Errorf("epoch %d: got %s, want %s", i+1, got, want)
		}
	}
}

// A line without end neither takes memory nor fills the disk: the program is killed at once, whatever it does about
// SIGTERM.
func TestLineOfAGigabyte(t *testing.T) {
	h := newHarness(t, `trap '' TERM; head -c 1000000000 /dev/zero >> "$TRELLIS_REPORTS"`+sleeping)
	h.mustFail(BadReport, "line 1 of its reports has more than 1048576 bytes")
}

func TestOutputWithoutEnd(t *testing.T) {
	h := newHarness(t, `echo begin; head -c 50000000 /dev/zero | tr '\0' x; echo; echo end; `+threeEpochs)
	h.mustRun()
	kept := h.config.Output.Kept()
	total := int64(len("begin\n") + 50_000_000 + len("\nend\n"))
	if kept.Total != total || kept.Head+kept.Tail != 128<<10 {
		t.Errorf("kept %+v of %d bytes", kept, total)
	}
	first, err := h.config.Output.Read(0, 10)
	if err != nil || string(first.Data) != "begin\nxxxx" {
		t.Errorf("it begins with %q (%v)", first.Data, err)
	}
	last, err := h.config.Output.Read(kept.Total-8, 100)
	if err != nil || string(last.Data) != "xxx\nend\n" || !last.Ended {
		t.Errorf("it ends with %q (%v), ended %t", last.Data, err, last.Ended)
	}
}

func TestBadCheckpoints(t *testing.T) {
	for _, test := range []struct{ name, script, folder, says string }{
		{"above", "", "../reports", "outside the attempt's folder"},
		{"above, by detour", "mkdir a;", "a/../../..", "outside the attempt's folder"},
		{"absolute", "", "/etc", "outside the attempt's folder"},
		{"a link", "ln -s /etc link;", "link", "not a folder within the attempt's folder"},
		{"a link on the way", "ln -s / link;", "link/etc", "not a folder within the attempt's folder"},
		{"all", "", ".", "is the attempt's folder itself"},
		{"a file", "echo x > file;", "file", "not a folder within the attempt's folder"},
		{"a link in it", "mkdir c; ln -s /etc/passwd c/password;", "c", "password is a link that leads outside"},
		{"a pipe in it", "mkdir c; mkfifo c/pipe;", "c", "pipe is neither a file nor a folder"},
		{"many files", "mkdir c; cd c; seq 1500 | xargs touch; cd ..;", "c", "more than 1000 files"},
		{"many bytes", "mkdir c; head -c 2000000 /dev/zero > c/weights;", "c", "more than 1048576 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHarness(t, test.script+say(`{"epoch": 1, "loss": 1, "checkpoint": "`+test.folder+`"}`)+sleeping)
			h.config.CheckpointLimits = archive.Limits{Files: 1000, Bytes: 1 << 20}
			h.mustFail(BadCheckpoint, test.says)
			if left, _ := os.ReadDir(h.config.Checkpoints); len(left) > 0 {
				t.Errorf("%v is left", left)
			}
		})
	}
}

// Where the disk is full, another worker may have room: the program is not to blame.
func TestCheckpointOnAFullDisk(t *testing.T) {
	var failed *Error
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		err := badCheckpoint(3, unpacked("c", &os.PathError{Op: "write", Path: "packed", Err: full}))
		if !errors.As(err, &failed) || failed.Kind != Broken || !strings.Contains(failed.Message, `checkpoint "c"`) {
			t.Errorf("%v: got %v", full, err)
		}
	}
	err := badCheckpoint(3, unpacked("c", os.ErrPermission))
	if !errors.As(err, &failed) || failed.Kind != BadCheckpoint {
		t.Errorf("got %v", err)
	}
}

// A checkpoint that is not there is a failure only if no later one is.
func TestMissingCheckpoint(t *testing.T) {
	reports := func(last string) string {
		return `mkdir b; ` + say(`{"epoch": 1, "loss": 1, "checkpoint": "a"}`, `{"epoch": 2, "loss": 1}`,
			`{"epoch": 3, "loss": 1, "checkpoint": "`+last+`"}`)
	}
	newHarness(t, reports("c")).mustFail(BadCheckpoint, `epoch 3: checkpoint "c" does not exist`)
	h := newHarness(t, reports("b"))
	h.mustRun()
	if h.reports[0].Checkpoint != nil || h.reports[2].Checkpoint == nil {
		t.Errorf("got checkpoints %v", h.reports)
	}
}

// What it starts and leaves behind ends with it: children, sessions of their own, those without a parent.
func TestDaemonsEndWithTheProgram(t *testing.T) {
	for _, watch := range []bool{false, true} {
		t.Run(fmt.Sprint("watch=", watch), func(t *testing.T) {
			h := newHarness(t, `sleep 1000 &
				setsid sleep 1000 &
				(trap '' TERM HUP; setsid sh -c '(sleep 1000 & sleep 1000) & echo started; exit 0' &)
				(setsid setsid sleep 1000 < /dev/null > /dev/null 2>&1 &)
				`+threeEpochs)
			h.config.Watch = watch
			h.mustRun()
		})
	}
}

// Where a process can survive, it does not hold up the attempt by holding the output open: here one of another's.
func TestOutputIsHeldOpen(t *testing.T) {
	h := newHarness(t, say(`{"epoch": 1, "loss": 1}`)+`while ! [ -e go ]; do sleep 0.01; done; echo bye; exit 3`)
	h.take = func(Report) error {
		work, err := filepath.Glob(filepath.Join(h.config.Folder, "*", "work"))
		if err != nil || len(work) != 1 {
			return fmt.Errorf("%v: %w", work, err)
		}
		for _, process := range marked(t, h.marker) {
			pid, name, _ := strings.Cut(process, " ")
			if name != "sh" {
				continue
			}
			// Opening the pipe again holds it open as a descendant would.
			held, err := os.OpenFile("/proc/"+pid+"/fd/1", os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			t.Cleanup(func() { held.Close() })
		}
		return os.WriteFile(filepath.Join(work[0], "go"), nil, 0o600)
	}
	h.mustFail(Exited, "bye")
}

// A fork bomb within its limits is ended with everything that it has started.
func TestForkBomb(t *testing.T) {
	for _, watch := range []bool{false, true} {
		t.Run(fmt.Sprint("watch=", watch), func(t *testing.T) {
			// With no control group, and as root, nothing limits it but this counter.
			h := newHarness(t, say(`{"epoch": 1, "loss": 1}`)+`
				trap '' TERM
				bomb() { [ "$1" -gt 7 ] && exec sleep 1000; bomb $(($1+1)) & bomb $(($1+1)) & wait; }
				bomb 0`)
			h.config.Processes = 200
			h.config.Watch = watch
			h.config.Program.Grace = durationpb.New(200 * time.Millisecond)
			stop := errors.New("stop")
			h.take = func(Report) error {
				// It spreads while this waits. Its limit stops it anywhere, and can have ended it before anybody has
				// looked.
				seen := 0
				return await(t, func() bool {
					now := len(marked(t, h.marker))
					seen = max(seen, now)
					return now > 20 || seen > 0 && now == 0
				}, stop)
			}
			if _, err := h.run(); !errors.Is(err, stop) {
				t.Error(err)
			}
		})
	}
}

// await waits until something is so and returns then.
func await(t *testing.T, so func() bool, then error) error {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(patience); !so(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Error("waited in vain")
			return then
		}
	}
	return then
}

func TestProgramIgnoresTerm(t *testing.T) {
	h := newHarness(t, `trap '' TERM; `+say(`{"epoch": 1, "loss": 1}`)+sleeping)
	h.config.Program.Grace = durationpb.New(50 * time.Millisecond)
	stop := errors.New("stop")
	h.take = func(Report) error { return stop }
	if result, err := h.run(); !errors.Is(err, stop) || result.Epochs != 1 {
		t.Errorf("got %+v, %v", result, err)
	}
}

func TestProgramsThatEndEarly(t *testing.T) {
	h := newHarness(t, say(`{"epoch": 1, "loss": 1}`)+"echo that was it")
	failed := h.mustFail(Unfinished, "after epoch 1, but the last epoch is 3", "that was it")
	if !slices.Equal(failed.Output, []string{"that was it"}) {
		t.Errorf("got output %q", failed.Output)
	}
	newHarness(t, "true").mustFail(NoReports, "reported nothing", "TRELLIS_REPORTS")
	h = newHarness(t, "echo epoch one")
	h.config.Program.Reports = &trellisv1.ReportPattern{Pattern: `epoch (?P<epoch>\d+) loss (?P<loss>\S+)`}
	h.mustFail(NoReports, "no line of its output matches the pattern epoch")
}

// A metric that the objective names and nobody reports is said with those that were.
func TestNobodyReportsTheObjective(t *testing.T) {
	h := newHarness(t, threeEpochs)
	h.config.Objective.Metric = "val_acc"
	h.mustFail(NoObjective, "it never reported val_acc, which the objective names; it reported loss")
}

// The folder is the program's own: it may remove it. Its reports it needs.
func TestProgramDeletesItsFolder(t *testing.T) {
	newHarness(t, `rm -rf "$PWD"; `+threeEpochs).mustRun()
	newHarness(t, say(`{"epoch": 1, "loss": 1}`)+`rm -rf "$(dirname "$PWD")"; exit 0`).mustFail(BadReport,
		"removed, replaced or shortened its reports file")
	newHarness(t, say(`{"epoch": 1, "loss": 1}`)+`chmod 0 "$PWD"; mkdir -p a/b/c 2>/dev/null; exit 4`).mustFail(Exited)
	h := newHarness(t, say(`{"epoch": 1, "loss": 1}`)+sleeping)
	h.take = func(Report) error {
		// Nobody but it should, but the worker's operator may tidy up.
		return os.RemoveAll(h.config.Folder)
	}
	h.config.Resources = &trellisv1.Resources{Time: durationpb.New(300 * time.Millisecond)}
	defer os.Mkdir(h.config.Folder, 0o700)
	if _, err := Run(h.ctx, h.config, h.take); err == nil {
		t.Error("no error")
	}
}

// Codes other than 0 and 75 are failures, with the last lines.
func TestExitCodes(t *testing.T) {
	h := newHarness(t, `i=0; while [ $i -lt 30 ]; do echo "line $i"; i=$((i+1)); done; exit 3`)
	failed := h.mustFail(Exited, "it exited with code 3", "line 29")
	if failed.Code != 3 || len(failed.Output) != lastLines || failed.Output[0] != "line 10" {
		t.Errorf("got %+v", failed)
	}
	failed = newHarness(t, `kill -SEGV $$`).mustFail(Killed, "killed by signal 11 (segmentation fault)")
	if failed.Signal != 11 {
		t.Errorf("got %+v", failed)
	}
	result := newHarness(t, say(`{"epoch": 1, "loss": 1}`)+"exit 75").mustRun()
	if !result.Returned || result.Epochs != 1 {
		t.Errorf("got %+v", result)
	}
}

// A program that has reported all epochs has succeeded, however it ends then. Its output says how.
func TestEndsAfterTheLastEpoch(t *testing.T) {
	for says, script := range map[string]string{
		"it exited with code 1":                          "echo bye; exit 1",
		"it was killed by signal 11":                     "printf bye; kill -SEGV $$",
		"it ran for more than 4s, which is its resource": "echo bye; " + sleeping,
	} {
		h := newHarness(t, threeEpochs+"\n"+script)
		if strings.HasSuffix(script, sleeping) {
			h.config.Resources = &trellisv1.Resources{Time: durationpb.New(4 * time.Second)}
		}
		h.config.Program.Grace = durationpb.New(50 * time.Millisecond)
		result := h.mustRun()
		if result.Epochs != 3 {
			t.Errorf("%s: got %+v", says, result)
		}
		if got := h.output(); !strings.HasPrefix(got, "bye\ntrellis: "+says) ||
			!strings.HasSuffix(got, ", after it had reported all epochs: its results count\n") {
			t.Errorf("%s: its output is %q", says, got)
		}
	}
	h := newHarness(t, say(`{"epoch": 1, "loss": 1}`, `{"epoch": 2, "loss": 1}`,
		`{"epoch": 3, "loss": 1, "checkpoint": "none"}`)+"exit 1")
	h.mustFail(BadCheckpoint, `"none" does not exist`)
}
