package command

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"trellis/command/cli"
)

// checkCommandLine checks that a command line is one that we understand, without running it.
func checkCommandLine(t *testing.T, args []string) {
	t.Helper()
	root := rootCommand(new(cli.Environment))
	command, rest, err := root.Find(args)
	if err != nil || command == root {
		t.Fatalf("%q is no command: %v", args, err)
	}
	if err := command.ParseFlags(rest); err != nil {
		t.Errorf("%q: %v", args, err)
	}
	if err := command.ValidateArgs(command.Flags().Args()); err != nil {
		t.Errorf("%q: %v", args, err)
	}
}

// Three coordinators with a data directory each join one of them, and share one folder of artifacts.
func TestComposeFileOfThree(t *testing.T) {
	data, err := os.ReadFile("../deploy/compose-three.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var compose struct {
		Services map[string]struct{ Command, Volumes, Ports []string }
	}
	if err := yaml.Unmarshal(data, &compose); err != nil {
		t.Fatal(err)
	}
	for name, service := range compose.Services {
		checkCommandLine(t, service.Command)
		line := strings.Join(service.Command, " ")
		if name == "worker" {
			if !strings.Contains(line, "--coordinator=first:7070,second:7070,third:7070") {
				t.Errorf("the worker runs %s", line)
			}
			continue
		}
		volumes := strings.Join(service.Volumes, " ")
		if !strings.Contains(line, "--advertise="+name+":7070") ||
			(name == "first") == strings.Contains(line, "--join=first") ||
			volumes != name+":/var/lib/trellis artifacts:/var/lib/trellis-artifacts" ||
			!strings.Contains(line, "--data=/var/lib/trellis ") ||
			!strings.Contains(line, "--artifacts=/var/lib/trellis-artifacts ") {
			t.Errorf("%s runs %s with %s", name, line, volumes)
		}
		for _, port := range service.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s publishes %s beyond loopback", name, port)
			}
		}
	}
	if len(compose.Services) != 4 {
		t.Errorf("there are %d services", len(compose.Services))
	}
}

func TestComposeFile(t *testing.T) {
	data, err := os.ReadFile("../deploy/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var compose struct {
		Services map[string]struct {
			Command []string
			Build   struct{ Context, Dockerfile string }
			Ports   []string
			Deploy  struct{ Replicas int }
		}
	}
	if err := yaml.Unmarshal(data, &compose); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"coordinator", "worker"} {
		service, ok := compose.Services[name]
		if !ok || len(service.Command) == 0 || service.Command[0] != name {
			t.Fatalf("service %s: %+v", name, service)
		}
		checkCommandLine(t, service.Command)
		for _, port := range service.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("service %s publishes %s beyond loopback", name, port)
			}
		}
	}
	build := compose.Services["coordinator"].Build
	if _, err := os.Stat(filepath.Join("../deploy", build.Context, build.Dockerfile)); err != nil {
		t.Error(err)
	}
	if compose.Services["worker"].Deploy.Replicas < 2 {
		t.Error("one worker is no cluster")
	}
}

func TestUnits(t *testing.T) {
	for _, name := range []string{"coordinator", "worker"} {
		data, err := os.ReadFile("../deploy/trellis-" + name + ".service")
		if err != nil {
			t.Fatal(err)
		}
		settings := make(map[string][]string)
		for line := range strings.Lines(string(data)) {
			if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
				settings[key] = append(settings[key], value)
			}
		}
		if len(settings["ExecStart"]) != 1 {
			t.Fatalf("%s: ExecStart is %q", name, settings["ExecStart"])
		}
		var flags string
		for _, value := range settings["Environment"] {
			if value, ok := strings.CutPrefix(value, "TRELLIS_FLAGS="); ok {
				flags = value
			}
		}
		args := strings.Fields(strings.Replace(settings["ExecStart"][0], "$TRELLIS_FLAGS", flags, 1))
		checkCommandLine(t, args[1:])
		if args[1] != name || settings["KillSignal"][0] != "SIGTERM" || len(settings["TimeoutStopSec"]) != 1 {
			t.Errorf("%s: %q, %q, %q", name, args, settings["KillSignal"], settings["TimeoutStopSec"])
		}
	}
}

// A worker of a Slurm array puts its own job back into the queue when it has handed its runs back, and a coordinator when it was told
// to end, and no other job, and not after scancel.
func TestSlurmScript(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is not installed")
	}
	for _, test := range []struct {
		name, script, array, state string
		// ends is what trellis exits with by itself; 0 in the script below is that it waits for SIGTERM.
		ends, want int
		asks       string
		killed     string // yes: scontrol is killed too.
	}{
		{"no more work", "worker.sh", "", "RUNNING", 100, 0, "", ""},
		{"drained", "worker.sh", "", "RUNNING", 0, 75, "show job 14,requeue 14,", ""},
		{"drained in an array", "worker.sh", "12", "RUNNING", 0, 75, "show job 12_3,requeue 12_3,", ""},
		{"drained, and scontrol killed", "worker.sh", "", "RUNNING", 0, 75, "show job 14,requeue 14,", "yes"},
		{"canceled", "worker.sh", "12", "COMPLETING", 0, 75, "show job 12_3,", ""},
		{"refused", "worker.sh", "", "RUNNING", 7, 7, "", ""},
		{"coordinator ended in time", "coordinator.sh", "", "RUNNING", 0, 75, "show job 14,requeue 14,", ""},
		{"coordinator ended in time, and scontrol killed", "coordinator.sh", "", "RUNNING", 0, 75, "show job 14,requeue 14,", "yes"},
		{"coordinator canceled", "coordinator.sh", "", "COMPLETING", 0, 75, "show job 14,", ""},
		{"coordinator refused", "coordinator.sh", "", "RUNNING", 7, 7, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			write := func(name, text string) {
				if err := os.WriteFile(filepath.Join(folder, name), []byte("#!"+bash+"\n"+text), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			write("trellis", `trap 'exit 75' TERM
echo started >started
[ $ENDS = 100 ] && exit 0
[ $ENDS != 0 ] && exit $ENDS
while :; do sleep 0.05; done
`)
			// Slurm sends SIGTERM to all processes of a job that it is asked to requeue, to scontrol too if that still
			// runs.
			write("scontrol", `printf '%s,' "$*" >>asked
echo "JobId=$2 JobState=$STATE"
[ $1 != requeue ] || kill -TERM $PPID
[ $1$KILLED != requeueyes ] || kill -TERM $$
`)
			script, err := filepath.Abs("../deploy/slurm/" + test.script)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			command := exec.CommandContext(ctx, bash, script, folder, "--name", "node")
			command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			command.Dir = folder
			command.Env = append(os.Environ(), "PATH="+folder+":"+os.Getenv("PATH"), "SLURM_JOB_ID=14", "STATE="+test.state,
				fmt.Sprint("ENDS=", test.ends), "KILLED="+test.killed)
			if test.array != "" {
				command.Env = append(command.Env, "SLURM_ARRAY_JOB_ID="+test.array, "SLURM_ARRAY_TASK_ID=3")
			}
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }() // trellis too, if it is left.
			late := time.After(patience)
			for _, err := os.Stat(filepath.Join(folder, "started")); err != nil; _, err = os.Stat(filepath.Join(folder, "started")) {
				select {
				case <-late:
					t.Fatal("it has not started trellis")
				case <-time.After(20 * time.Millisecond):
				}
			}
			if test.ends == 0 {
				if err := command.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
			}
			_ = command.Wait()
			if ctx.Err() != nil {
				t.Fatal("the script has not ended")
			}
			code := command.ProcessState.ExitCode()
			asked, _ := os.ReadFile(filepath.Join(folder, "asked")) // It asks nothing if nothing is to be done.
			if code != test.want || string(asked) != test.asks {
				t.Errorf("exit code %d after %q, want %d after %q", code, asked, test.want, test.asks)
			}
		})
	}
}
