//go:build unix

package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// Process is a supervisor, and then the command that it has started.
type Process struct {
	supervisor *exec.Cmd
	orders     *os.File
	events     *json.Decoder
	eventsFile *os.File
	output     *os.File
	started    started

	mu sync.Mutex
	// cores are those that were taken for the command.
	cores []int
	// ended says that the supervisor takes no more orders.
	ended bool
}

// Spawn starts a supervisor, which takes some milliseconds: do something else before Start. Close it in any case.
func Spawn() (*Process, error) {
	executable, err := self()
	if err != nil {
		return nil, err
	}
	var files [6]*os.File // Pairs of pipe ends: orders, events, output.
	defer func() {
		if err != nil {
			for _, file := range files {
				if file != nil {
					file.Close()
				}
			}
		}
	}()
	for i := 0; i < len(files); i += 2 {
		if files[i], files[i+1], err = os.Pipe(); err != nil {
			return nil, err
		}
	}
	command := exec.Command(executable)
	command.Args = []string{Argument0}
	command.Dir = "/"
	// It does little, and must not do it with as many threads as there are cores.
	command.Env = []string{"GOMAXPROCS=2"}
	// Options of the race detector, which a build without it ignores.
	if options, ok := os.LookupEnv("GORACE"); ok {
		command.Env = append(command.Env, "GORACE="+options)
	}
	command.Stdin = files[0]
	command.Stderr = os.Stderr
	command.ExtraFiles = []*os.File{files[3], files[5]}
	// A session of its own: signals of the terminal are for the worker, which then tells the supervisor what to do.
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err = command.Start(); err != nil {
		return nil, err
	}
	for _, i := range []int{0, 3, 5} {
		files[i].Close()
	}
	return &Process{
		supervisor: command, orders: files[1], events: json.NewDecoder(files[2]), eventsFile: files[2],
		output: files[4],
	}, nil
}

// self is the path of this very binary, also if another has its name by now.
func self() (string, error) {
	if runtime.GOOS == "linux" {
		return "/proc/self/exe", nil
	}
	return os.Executable()
}

// Start starts the command. A StartError says that the command can't be started, ErrNotStarted that the supervisor ended
// before it took the command, and others that it is lost.
func (p *Process) Start(command Command) error {
	command.Cores = takeCores(command.CPUs)
	p.mu.Lock()
	p.cores = command.Cores
	p.mu.Unlock()
	line, err := json.Marshal(command)
	if err != nil {
		return err
	}
	if _, err := p.orders.Write(append(line, '\n')); err != nil {
		// It reads the whole line before it starts anything.
		return fmt.Errorf("%w: %w", ErrNotStarted, err)
	}
	// The pipe takes the command also while a killed supervisor still ends.
	var taken, event event
	if err := p.events.Decode(&taken); err != nil || !taken.Taken {
		return errors.Join(ErrNotStarted, err)
	}
	switch err := p.events.Decode(&event); {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrLost, err)
	case event.Failed != nil:
		return event.Failed
	case event.Started == nil:
		return ErrLost
	}
	p.started = *event.Started
	return nil
}

// PID is the number of the command's process and of its process group.
func (p *Process) PID() int { return p.started.PID }

// Output is what the command and all that it has started write to standard output and error. It ends when all have.
func (p *Process) Output() *os.File { return p.output }

// Terminate sends SIGTERM to the command's process group.
func (p *Process) Terminate() { p.order(orderTerminate) }

// Kill kills the command and all that came of it.
func (p *Process) Kill() { p.order(orderKill) }

func (p *Process) order(order string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		// If the supervisor is gone, Wait says so.
		_, _ = io.WriteString(p.orders, order+"\n")
	}
}

// Wait waits until the command has ended, and all that came of it. If the supervisor was killed, they are killed as far
// as they are in a control group, and the error is ErrLost.
func (p *Process) Wait() (Exit, error) {
	var event event
	err := p.events.Decode(&event)
	if err != nil || event.Ended == nil {
		killGroups(p.started.Groups)
		return Exit{}, ErrLost
	}
	return *event.Ended, nil
}

// end ends what the worker tells the supervisor, which ends the command.
func (p *Process) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.orders.Close()
	releaseCores(p.cores)
	p.cores = nil
}

// Close ends the supervisor, and the command if it runs, and waits for it.
func (p *Process) Close() error {
	p.end()
	p.output.Close()
	// Events end with the supervisor: it has no more than it had to say.
	_, _ = io.Copy(io.Discard, p.eventsFile)
	p.eventsFile.Close()
	return p.supervisor.Wait()
}

// Abandon is Close for a supervisor whose command can't be killed: it goes on trying, and nobody waits for it.
func (p *Process) Abandon() {
	p.end()
	p.output.Close()
	p.eventsFile.Close()
	go func() { _ = p.supervisor.Wait() }()
}
