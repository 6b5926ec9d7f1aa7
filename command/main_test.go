package command

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"trellis/command/client"
	"trellis/command/configuration"
	"trellis/command/exit"
	"trellis/command/fake"
	"trellis/command/golden"
	"trellis/command/node"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/tracing"
	"trellis/worker"
	"trellis/worker/supervisor"
)

// hastyVariable makes workers give up after seconds what they try for minutes.
const hastyVariable = "HASTY_WORKERS"

// patientVariable makes processes wait until their spans have been sent.
const patientVariable = "PATIENT_TRACES"

// TestMain puts the command trellis, which is this binary, on the PATH of tests.
func TestMain(m *testing.M) {
	if supervisor.Supervising() {
		os.Exit(supervisor.Main())
	}
	testscript.Main(leakChecked{m}, map[string]func(){"trellis": func() {
		if os.Getenv(hastyVariable) != "" {
			worker.RetryTime = 11 * time.Second
		}
		if os.Getenv(patientVariable) != "" {
			tracing.Patience = patience
		}
		os.Exit(Run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}})
}

// leakChecked runs the tests and then looks for goroutines that they have left behind.
type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int {
	// Nothing depends on the settings of whoever runs the tests. Those of scripts have no home.
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "OTEL_") {
			os.Unsetenv(name)
		}
	}
	os.Setenv(configuration.FileVariable, "")
	os.Setenv(hastyVariable, "yes")
	code := l.m.Run()
	if code != 0 {
		return code
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// skipRaced skips a test under the race detector. It is for tests whose processes start nothing beside one another that
// those of other tests don't: results, bits and words are tested without it, at several times the speed.
func skipRaced(t *testing.T) {
	t.Helper()
	if raced {
		t.Skip("the race detector sees the same in other tests of this package or of chaos")
	}
}

// trellis runs a command line in this process.
func trellis(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, err bytes.Buffer
	code = Run(t.Context(), args, strings.NewReader(""), &out, &err)
	return out.String(), err.String(), code
}

// mustTrellis runs a command line that is to succeed, and returns what it writes to standard output.
func mustTrellis(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, code := trellis(t, args...)
	if code != exit.OK {
		t.Fatalf("trellis %s: exit code %d\n%s", strings.Join(args, " "), code, stderr)
	}
	return stdout
}

// patience is how long a process may take for anything. It ends tests that would hang, and decides nothing else.
const patience = time.Minute

// process is trellis in a process of its own.
type process struct {
	command *exec.Cmd
	exited  chan struct{}

	mu sync.Mutex
	// stderr is what the process has written to standard error, line by line; await has seen the first read of them.
	stderr []string
	read   int
	// more is closed when there is another line.
	more chan struct{}
}

// start starts a process and waits for a line of its standard error that matches the pattern. The process is killed at
// the test's end, and what it said is logged if the test has failed.
func start(t *testing.T, pattern string, args ...string) (p *process, match string) {
	t.Helper()
	p = &process{command: exec.Command("trellis", args...), exited: make(chan struct{}), more: make(chan struct{})}
	p.command.Env = append(os.Environ(), "XDG_CACHE_HOME="+t.TempDir(), node.DataHomeVariable+"="+t.TempDir())
	pipe, err := p.command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		lines := bufio.NewScanner(pipe)
		for lines.Scan() {
			p.mu.Lock()
			p.stderr = append(p.stderr, lines.Text())
			close(p.more)
			p.more = make(chan struct{})
			p.mu.Unlock()
		}
		p.command.Wait()
	}()
	t.Cleanup(func() {
		p.command.Process.Kill()
		<-p.exited
		if t.Failed() {
			t.Logf("trellis %s said:\n%s", strings.Join(args, " "), p.said())
		}
	})
	return p, p.await(t, pattern)
}

// await waits for a line of standard error, after those that it has seen before, that matches the pattern. It returns
// the last group of the match.
func (p *process) await(t *testing.T, pattern string) string {
	t.Helper()
	expression := regexp.MustCompile(pattern)
	for {
		p.mu.Lock()
		for p.read < len(p.stderr) {
			p.read++
			if found := expression.FindStringSubmatch(p.stderr[p.read-1]); found != nil {
				p.mu.Unlock()
				return found[len(found)-1]
			}
		}
		more, known := p.more, len(p.stderr)
		p.mu.Unlock()
		select {
		case <-more:
		case <-p.exited:
			if p.lineCount() > known {
				continue
			}
			t.Fatalf("the process has ended without saying %q: %s", pattern, p.said())
		case <-time.After(patience):
			t.Fatalf("the process has not said %q within %v: %s", pattern, patience, p.said())
		}
	}
}

func (p *process) lineCount() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.stderr)
}

// said is what the process has written to standard error so far.
func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.stderr, "\n")
}

// signal sends a signal and waits for the process to end.
func (p *process) signal(t *testing.T, signal os.Signal) int {
	t.Helper()
	if err := p.command.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	return p.wait(t)
}

// wait waits for the process to end by itself and returns its exit code.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		t.Fatalf("the process has not ended within %v: %s", patience, p.said())
	}
	return p.command.ProcessState.ExitCode()
}

// startCoordinator starts a coordinator and returns its address, where it can be started again.
func startCoordinator(t *testing.T, args ...string) (p *process, address string) {
	t.Helper()
	args = append([]string{"coordinator", "--listen", fake.FreeAddress(t)}, args...)
	return start(t, `^The coordinator listens on (\S+)\.$`, args...)
}

// startWorker starts a worker and waits until it has connected.
func startWorker(t *testing.T, address, name string, args ...string) *process {
	t.Helper()
	args = append([]string{"worker", "--coordinator", address, "--name", name, "--slots", "1"}, args...)
	p, _ := start(t, `msg=connected`, args...)
	return p
}

// stop ends a process that is to end by itself after SIGTERM.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if code := p.signal(t, syscall.SIGTERM); code != exit.OK && code != exit.Again && code != exit.Interrupted {
		t.Errorf("exit code %d\n%s", code, p.said())
	}
}

// connect returns a client of the coordinator at an address.
func connect(t *testing.T, address string) *client.Client {
	t.Helper()
	c, err := client.New(address, client.Credentials{}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Connect(t.Context(), client.DefaultWait); err != nil {
		t.Fatal(err)
	}
	return c
}

// writeSpec writes a spec to a file and returns its path.
func writeSpec(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "spec.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// readTrials reads what trials -o json has written.
func readTrials(t *testing.T, text string) []*trellisv1.Trial {
	t.Helper()
	var document struct{ Trials []json.RawMessage }
	if err := json.Unmarshal([]byte(text), &document); err != nil {
		t.Fatal(err)
	}
	var trials []*trellisv1.Trial
	for _, data := range document.Trials {
		trials = append(trials, readMessage(t, string(data), new(trellisv1.Trial)))
	}
	return trials
}

// readMessage reads what a command has written with -o json.
func readMessage[T proto.Message](t *testing.T, text string, message T) T {
	t.Helper()
	if err := golden.ReadMessage([]byte(text), message); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return message
}

// train runs a spec to its end on a coordinator and workers in processes of their own, and returns what trials writes
// with the given arguments.
func train(t *testing.T, spec string, workers int, args ...string) string {
	t.Helper()
	coordinator, address := startCoordinator(t)
	var processes []*process
	for n := range workers {
		processes = append(processes, startWorker(t, address, fmt.Sprintf("worker-%d", n+1)))
	}
	name := strings.TrimSpace(mustTrellis(t, "submit", "--coordinator", address, spec))
	mustTrellis(t, "watch", "--coordinator", address, name)
	text := mustTrellis(t, append([]string{"trials", "--coordinator", address, name}, args...)...)
	for _, p := range append(processes, coordinator) {
		p.stop(t)
	}
	return text
}

// watchUntil follows a study until a response satisfies the condition. A coordinator that has just started serves
// before it leads.
func watchUntil(t *testing.T, c *client.Client, study string, satisfied func(*trellisv1.WatchStudyResponse) bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	found := false
	for deadline := time.Now().Add(patience); !found; {
		err := c.Watch(ctx, &trellisv1.WatchStudyRequest{Study: study}, func(response *trellisv1.WatchStudyResponse) {
			if !found && satisfied(response) {
				found = true
				cancel()
			}
		})
		if !found && (!client.BreaksOff(err) || time.Now().After(deadline)) {
			t.Fatalf("the study has ended (%v) before what was waited for", err)
		}
		time.Sleep(statePause)
	}
}
