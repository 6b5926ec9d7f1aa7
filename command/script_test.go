package command

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"trellis/command/client"
	"trellis/command/golden"
	"trellis/command/node"
)

// nowhere is an address on which nothing listens.
const nowhere = "127.0.0.1:1"

// racedScripts are those that make race runs: their commands start goroutines that no other raced test starts. The
// others are of words and of what is refused, or start the same.
var racedScripts = []string{
	"launch",   // looks at the queue and the coordinator, in turn
	"programs", // a program's output, files and checkpoints, and logs that are followed
	"rotation", // tokens and certificates that are replaced
	"run",      // all in one process
	"show",     // a watch that programs read
}

// scripts returns the scripts that are to be run, for testscript.
func scripts() (folder string, files []string) {
	const all = "testdata/script"
	if !raced {
		return all, nil
	}
	for _, name := range racedScripts {
		files = append(files, filepath.Join(all, name+".txtar"))
	}
	return "", files
}

// Each script in testdata/script is what a user types, and what comes of it. Beside testscript's own commands there
// are:
//
//	coordinator [flag...]   starts a coordinator on a free port, to which the script's other commands then connect
//	worker [flag...]        starts a worker and waits until it has connected
//	exits CODE COMMAND...   runs a command that is to end with an exit code
//
// What they start is killed when the script ends.
func TestScripts(t *testing.T) {
	folder, files := scripts()
	testscript.Run(t, testscript.Params{
		Dir:                 folder,
		Files:               files,
		UpdateScripts:       *golden.Update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("XDG_CACHE_HOME", env.WorkDir+"/.cache")
			env.Setenv(node.DataHomeVariable, env.WorkDir+"/.data")
			env.Setenv("EXAMPLES", mustGetwd(t)+"/../examples")
			// Until a script starts a coordinator there is none, whatever listens at the default address.
			env.Setenv(client.AddressVariable, nowhere)
			// MNIST lies in the module cache, which the go command finds by these. GORACE has options of the race detector.
			for _, name := range []string{"GOMODCACHE", "GOPATH", "GOROOT", "GOFLAGS", "GOPROXY", "GORACE", "PATH"} {
				if value, ok := goEnv(name); ok {
					env.Setenv(name, value)
				}
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"coordinator": func(ts *testscript.TestScript, _ bool, args []string) {
				args = append([]string{"coordinator", "--listen", "127.0.0.1:0"}, args...)
				ts.Setenv(client.AddressVariable, startInScript(ts, `^The coordinator listens on (\S+)\.$`, args))
			},
			"worker": func(ts *testscript.TestScript, _ bool, args []string) {
				startInScript(ts, `msg=connected`, append([]string{"worker"}, args...))
			},
			"distinct": func(ts *testscript.TestScript, _ bool, args []string) {
				checkDistinct(ts, args[0])
			},
			"exits": func(ts *testscript.TestScript, _ bool, args []string) {
				if len(args) < 2 {
					ts.Fatalf("usage: exits CODE COMMAND...")
				}
				err := ts.Exec(args[1], args[2:]...)
				code := "0"
				if exit, ok := err.(*exec.ExitError); ok {
					code = exit.String()
				} else if err != nil {
					ts.Fatalf("%v", err)
				}
				if code != args[0] && code != "exit status "+args[0] {
					ts.Fatalf("%s, want %s", code, args[0])
				}
			},
		},
	})
}

// checkDistinct wants so many trials in the last output, which is that of trials -o json, all SUCCEEDED and at other
// points.
func checkDistinct(ts *testscript.TestScript, want string) {
	var list struct {
		Trials []struct {
			Index      json.Number
			State      string
			Parameters map[string]any
		}
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &list))
	trials := list.Trials
	points, indexes := map[string]bool{}, map[json.Number]bool{}
	for _, trial := range trials {
		point, err := json.Marshal(trial.Parameters)
		ts.Check(err)
		if points[string(point)], indexes[trial.Index] = true, true; trial.State != "succeeded" {
			ts.Fatalf("trial %s is %s", trial.Index, trial.State)
		}
	}
	if len(points) != len(trials) || len(indexes) != len(trials) || strconv.Itoa(len(trials)) != want {
		ts.Fatalf("%d trials with %d points and %d indexes, want %s", len(trials), len(points), len(indexes), want)
	}
}

func mustGetwd(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// goEnv returns a variable of this process, or of the go command.
func goEnv(name string) (string, bool) {
	if value, ok := os.LookupEnv(name); ok {
		return value, true
	}
	output, err := exec.Command("go", "env", name).Output()
	value := string(output)
	for len(value) > 0 && value[len(value)-1] == '\n' {
		value = value[:len(value)-1]
	}
	return value, err == nil && value != ""
}

// startInScript starts trellis and returns what the pattern finds in its standard error.
func startInScript(ts *testscript.TestScript, pattern string, args []string) string {
	path, err := exec.LookPath("trellis")
	ts.Check(err)
	command := exec.Command(path, args...)
	command.Dir = ts.Getenv("WORK")
	command.Env = append(os.Environ(), "XDG_CACHE_HOME="+ts.Getenv("XDG_CACHE_HOME"),
		node.DataHomeVariable+"="+ts.Getenv(node.DataHomeVariable),
		client.AddressVariable+"="+ts.Getenv(client.AddressVariable))
	pipe, err := command.StderrPipe()
	ts.Check(err)
	ts.Check(command.Start())
	expression := regexp.MustCompile(pattern)
	lines := bufio.NewScanner(pipe)
	var match []string
	for match == nil && lines.Scan() {
		match = expression.FindStringSubmatch(lines.Text())
		ts.Logf("%s: %s", args[0], lines.Text())
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for lines.Scan() {
		}
	}()
	ts.Defer(func() {
		command.Process.Kill()
		<-drained
		command.Wait()
	})
	if match == nil {
		ts.Fatalf("trellis %v has ended without saying %s", args, pattern)
	}
	return match[len(match)-1]
}
