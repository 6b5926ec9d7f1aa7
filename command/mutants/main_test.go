package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Every planted bug still fits the source, so that the list can't rot, and there are enough of them.
func TestListIsCurrent(t *testing.T) {
	mutants, err := readMutants()
	if err != nil {
		t.Fatal(err)
	}
	if len(mutants) < 25 {
		t.Errorf("%d planted bugs, want 25 or more", len(mutants))
	}
	names := map[string]bool{}
	for _, m := range mutants {
		text, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(m.File)))
		if err != nil {
			t.Errorf("%s: %v", m.Name, err)
			continue
		}
		changed, err := m.apply(string(text))
		if err != nil {
			t.Errorf("%s: %v", m.Name, err)
		} else if changed == string(text) {
			t.Errorf("%s changes nothing", m.Name)
		}
		if m.Name == "" || m.Test == "" || names[m.Name] {
			t.Errorf("name %q, test %q: both are needed, and the name once", m.Name, m.Test)
		}
		names[m.Name] = true
	}
}

func TestJudge(t *testing.T) {
	failed := &exec.ExitError{}
	for _, test := range []struct {
		name, output string
		err          error
		want         string
		wantErr      bool
	}{
		{"passed", "ok  \ttrellis/results\t1s\n", nil, "", false},
		{"failed", "--- FAIL: TestX (0.1s)\n    x_test.go:3: no\nFAIL\n", failed, "caught by TestX", false},
		{"crashed", "panic: nil map\n\ngoroutine 1:\nFAIL\n", failed, "caught: panic: nil map", false},
		{"too slow", "panic: test timed out after 2m0s\n\trunning tests:\n\t\tTestX (2m0s)\nFAIL\n", failed, "", true},
		{"does not compile", "FAIL\ttrellis/results [build failed]\n", failed, "", true},
		{"no such test", "ok  \ttrellis/results\t0.1s [no tests to run]\n", nil, "", true},
		{"failed by itself", "FAIL\ttrellis/results\n", failed, "", true},
		{"no go", "", errors.New("no such file"), "", true},
	} {
		got, err := judge(test.output, test.err)
		if got != test.want || (err != nil) != test.wantErr {
			t.Errorf("%s: judged %q, %v", test.name, got, err)
		}
	}
}

func TestApplyWantsOnePlace(t *testing.T) {
	m := mutant{File: "x.go", Old: "a", New: "b"}
	for _, text := range []string{"", "a a"} {
		if _, err := m.apply(text); err == nil || !strings.Contains(err.Error(), "x.go") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if got, err := m.apply("cat"); got != "cbt" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}
