package worker

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/worker/program"
)

// A worker that was not asked to run programs refuses one, even from its coordinator, and blames the run for nothing.
func TestProgramsAreRefused(t *testing.T) {
	inBubble(t, nil, func(h *harness) {
		p := h.session()
		p.welcome()
		assignment := synthetic(7, "run", 1)
		assignment.Config.Model = ""
		assignment.Config.Program = &trellisv1.Program{Command: []string{"touch", t.TempDir() + "/started"}}
		p.assign(assignment)
		failure := p.outcome(7).GetFailure()
		if failure.GetClass() != trellisv1.FailureClass_FAILURE_CLASS_WORKER ||
			!strings.Contains(failure.GetMessage(), "without --programs") {
			t.Errorf("got %v", failure)
		}
	})
}

func TestProgramsTrainToTheEndOfTheirStage(t *testing.T) {
	config := ProgramConfig(&trellisv1.Assignment{Config: &trellisv1.RunConfig{
		Parameters: &trellisv1.Parameters{MaxEpochs: 30, Seed: 4}, LastEpoch: 10,
	}})
	if config.MaxEpochs != 30 || config.LastEpoch != 10 || config.FirstEpoch != 1 || config.Seed != 4 {
		t.Errorf("got %+v", config)
	}
}

// What a worker is asked of an attempt that it does not have is answered at once.
func TestOutputOfUnknownAttempts(t *testing.T) {
	inBubble(t, nil, func(h *harness) {
		p := h.session()
		p.welcome()
		p.send(&trellisv1.SessionResponse{Message: &trellisv1.SessionResponse_Output{
			Output: &trellisv1.OutputRequest{Id: 3, Attempt: 9, Offset: 5},
		}})
		piece := p.next().GetOutput()
		if piece.GetId() != 3 || piece.GetAttempt() != 9 || !piece.GetEnded() || len(piece.GetData()) > 0 {
			t.Errorf("got %v", piece)
		}
	})
}

// Of the last lines, the very last are kept where there is no room for all.
func TestFailuresKeepTheLastLines(t *testing.T) {
	long := strings.Repeat("x", 300)
	for name, test := range map[string]struct {
		output      []string
		first, last string
	}{
		"none":     {nil, "it failed", "it failed"},
		"few":      {[]string{"a", "b"}, "it failed; its last output:\na", "\na\nb"},
		"too many": {[]string{"a", long, long, long, long, long, long, long, "z"}, "it failed; its last output:\nx", "x\nz"},
		"one that is too long": {
			[]string{"a", strings.Repeat("y", 3*maxMessage)}, "it failed; its last output:\ny", "yyy",
		},
	} {
		got := failureMessage(&program.Error{Message: "it failed", Output: test.output})
		if !strings.HasPrefix(got, test.first) || !strings.HasSuffix(got, test.last) || len(got) > maxMessage {
			t.Errorf("%s: %d bytes: %q", name, len(got), got)
		}
	}
}

// A program that hands its run back without having come any further has failed: it could do so forever.
func TestHandingBackWithoutProgress(t *testing.T) {
	w := &Worker{name: "w"}
	a := newAttempt(t.Context(), &trellisv1.Assignment{Attempt: 3, Epochs: 4}, position{})
	for epochs, want := range map[int]trellisv1.FailureClass{
		0: trellisv1.FailureClass_FAILURE_CLASS_RETURNED, 4: trellisv1.FailureClass_FAILURE_CLASS_RETURNED, 5: 0,
	} {
		result := program.Result{Epochs: epochs, Returned: true}
		outcome, handedBack := w.outcomeOf(t.Context(), a, result, nil, slog.New(slog.DiscardHandler))
		if outcome.GetFailure().GetClass() != want || handedBack != (want == 0) || (outcome.GetReturn() != nil) != handedBack {
			t.Errorf("after epoch %d: %v", epochs, outcome)
		}
	}
}

// What a worker has left that was killed is removed when the next one begins to run programs.
func TestAttemptsThatWereLeft(t *testing.T) {
	cache := t.TempDir()
	left := filepath.Join(cache, attemptsName, "worker-1", "w-3-1")
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	w, other := &Worker{config: Config{CacheDir: cache}}, &Worker{config: Config{CacheDir: cache}}
	folder, err := w.makeAttemptFolder(newAttempt(t.Context(), &trellisv1.Assignment{Attempt: 3}, position{}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.attemptsFolder(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	if _, err := os.Stat(folder); err != nil {
		t.Errorf("a folder in use was removed: %v", err)
	}
	for _, w := range []*Worker{w, other} {
		if err := w.folder.Remove(); err != nil {
			t.Error(err)
		}
	}
}

// A program may do to the worker's folder what it likes: the next attempt has one all the same. Where there can't be any,
// it is said where.
func TestProgramsThatSpoilTheFolderOfAttempts(t *testing.T) {
	cache := t.TempDir()
	w := &Worker{config: Config{CacheDir: cache}, log: slog.New(slog.DiscardHandler)}
	attempt := newAttempt(t.Context(), &trellisv1.Assignment{Attempt: 3}, position{})
	defer attempt.end()
	elsewhere := t.TempDir()
	for name, spoil := range map[string]func(folder string) error{
		"nothing":       func(string) error { return nil },
		"removes it":    os.RemoveAll,
		"its parent":    func(folder string) error { return os.RemoveAll(filepath.Dir(folder)) },
		"the cache":     func(string) error { return os.RemoveAll(cache) },
		"makes another": func(folder string) error { return errors.Join(os.RemoveAll(folder), os.Mkdir(folder, 0o700)) },
		"makes a link": func(folder string) error {
			return errors.Join(os.RemoveAll(folder), os.Symlink(elsewhere, folder))
		},
		"makes a file": func(folder string) error {
			return errors.Join(os.RemoveAll(folder), os.WriteFile(folder, nil, 0o600))
		},
	} {
		folder, err := w.makeAttemptFolder(attempt)
		if err != nil {
			t.Fatalf("before it %s: %v", name, err)
		}
		if err := spoil(filepath.Dir(folder)); err != nil {
			t.Fatal(err)
		}
		if folder, err = w.makeAttemptFolder(attempt); err != nil {
			t.Errorf("after it %s: %v", name, err)
		} else if err := os.WriteFile(filepath.Join(folder, "file"), nil, 0o600); err != nil {
			t.Errorf("after it %s: %v", name, err)
		}
		if got, _ := os.ReadDir(elsewhere); len(got) > 0 {
			t.Errorf("after it %s, attempts are elsewhere: %v", name, got)
		}
	}
	parent := filepath.Join(cache, attemptsName)
	if err := errors.Join(os.RemoveAll(parent), os.WriteFile(parent, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.makeAttemptFolder(attempt); !errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(), parent) {
		t.Errorf("got %v", err)
	}
	for _, folder := range append(w.former, w.folder) {
		if err := folder.Remove(); err != nil {
			t.Error(err)
		}
	}
	if got, err := os.ReadFile(parent); err != nil || len(got) > 0 {
		t.Errorf("what has replaced it was removed: %v", err)
	}
}
