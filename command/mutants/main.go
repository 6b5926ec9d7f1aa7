package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

//go:embed mutants.yaml
var list []byte

// mutant is a planted bug.
type mutant struct {
	// Name says what is wrong, in a few words.
	Name string
	// File is the path of the file to change, from the module's root.
	File string
	// Old is the text to replace, which occurs there once, and New what to put in its place.
	Old, New string
	// Test is what is given to go test: packages and flags.
	Test string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	flag.Parse()
	if err := run(ctx, flag.Args(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

// run plants the bugs whose names contain one of the words, or all of them, and fails unless the tests catch each.
func run(ctx context.Context, words []string, out io.Writer) error {
	mutants, err := readMutants()
	if err != nil {
		return err
	}
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	var missed []string
	planted := 0
	for _, m := range mutants {
		if !matches(m, words) {
			continue
		}
		planted++
		start := time.Now()
		verdict, err := m.plant(ctx, root)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			missed = append(missed, m.Name)
			verdict = "NOT PLANTED: " + err.Error()
		case verdict == "":
			missed = append(missed, m.Name)
			verdict = "MISSED by go test " + m.Test
		}
		fmt.Fprintf(out, "%-60s %5.1fs  %s\n", m.Name, time.Since(start).Seconds(), verdict)
	}
	fmt.Fprintf(out, "%d of %d planted bugs were caught.\n", planted-len(missed), planted)
	switch {
	case planted == 0:
		return fmt.Errorf("none is named like %q", words)
	case len(missed) > 0:
		return fmt.Errorf("no test caught: %s", strings.Join(missed, "; "))
	}
	return nil
}

func readMutants() ([]mutant, error) {
	var mutants []mutant
	decoder := yaml.NewDecoder(strings.NewReader(string(list)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&mutants); err != nil {
		return nil, fmt.Errorf("read mutants.yaml: %w", err)
	}
	return mutants, nil
}

func matches(m mutant, words []string) bool {
	for _, word := range words {
		if strings.Contains(m.Name, word) {
			return true
		}
	}
	return len(words) == 0
}

func moduleRoot(ctx context.Context) (string, error) {
	path, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(path))), nil
}

// apply returns the file's text with the bug in it.
func (m mutant) apply(text string) (string, error) {
	if n := strings.Count(text, m.Old); n != 1 {
		return "", fmt.Errorf("%s has the text to replace %d times, want once:\n%s", m.File, n, m.Old)
	}
	return strings.Replace(text, m.Old, m.New, 1), nil
}

// plant runs the tests with the bug. It returns which test failed, nothing if none did.
func (m mutant) plant(ctx context.Context, root string) (caughtBy string, err error) {
	path := filepath.Join(root, filepath.FromSlash(m.File))
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	changed, err := m.apply(string(text))
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "trellis-mutant-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	replacement := filepath.Join(dir, filepath.Base(path))
	overlay := filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {path: replacement}})
	if err != nil {
		return "", err
	}
	err = errors.Join(os.WriteFile(replacement, []byte(changed), 0o600), os.WriteFile(overlay, replace, 0o600))
	if err != nil {
		return "", err
	}
	args := append([]string{"test", "-overlay", overlay, "-count=1", "-failfast", "-timeout=2m"},
		strings.Fields(m.Test)...)
	command := exec.CommandContext(ctx, "go", args...)
	command.Dir = root
	output, err := command.CombinedOutput()
	return judge(string(output), err)
}

var (
	failedTest = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)
	timedOut   = regexp.MustCompile(`(?m)^panic: test timed out after `)
	crashed    = regexp.MustCompile(`(?m)^(panic: .*|fatal error: .*)$`)
)

// judge says which test go test's output blames. A bug that does not compile, tests that there are none of, and tests
// that do not end in time prove nothing: the machine may be busy.
func judge(output string, err error) (caughtBy string, _ error) {
	var exit *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exit):
		return "", err
	case strings.Contains(output, "[build failed]"), strings.Contains(output, "[setup failed]"),
		strings.Contains(output, "no tests to run"):
		return "", fmt.Errorf("its tests do not run:\n%s", output)
	case err == nil:
		return "", nil
	}
	if timedOut.MatchString(output) {
		return "", errors.New("its tests did not end in time: name the one that catches it, with -run")
	}
	if found := failedTest.FindStringSubmatch(output); found != nil {
		return "caught by " + found[1], nil
	}
	if found := crashed.FindStringSubmatch(output); found != nil {
		return "caught: " + found[1], nil
	}
	return "", fmt.Errorf("go test failed without a failing test:\n%s", output)
}
