//go:build unix

package supervisor

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// The supervisor's files besides standard input.
const (
	eventsFile = 3
	outputFile = 4
)

// maxCommand is how many bytes a command may have. The kernel takes fewer.
const maxCommand = 64 << 20

// patience is how long processes may take to die of SIGKILL until they are given up.
const patience = 30 * time.Second

// Main is the supervisor. It returns the exit code.
func Main() int {
	// Descriptors that are open here would be open in the command.
	syscall.CloseOnExec(eventsFile)
	syscall.CloseOnExec(outputFile)
	// Caught and dropped, not ignored: what is ignored here would be ignored by the command.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	orders := bufio.NewReaderSize(os.Stdin, 64<<10)
	s := &supervision{events: os.NewFile(eventsFile, "events")}
	line, err := readLine(orders, maxCommand)
	if err != nil {
		return 0 // The worker did not need it.
	}
	if err := json.Unmarshal(line, &s.command); err != nil {
		return 2
	}
	s.send(event{Taken: true})
	return s.run(orders)
}

// readLine reads a line of at most limit bytes.
func readLine(r *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		case len(line) > limit:
			return nil, errors.New("line too long")
		}
	}
}

// status is how the command ended. alone says that no other process was left then.
type status struct {
	syscall.WaitStatus
	alone bool
}

// supervision is one command and all that comes of it.
type supervision struct {
	command Command
	events  *os.File
	groups  groups
	pid     int
	exit    Exit
	// worker is closed when the worker is gone, kill when it orders to kill.
	worker, kill chan struct{}
	// over gets the status of the command, and is closed when no process is left.
	over chan status
}

func (s *supervision) run(orders *bufio.Reader) int {
	becomeReaper()
	before := systemOOMKills()
	s.groups = makeGroups(&s.command, &s.exit.Enforced)
	release, err := s.start()
	// The command's copies of it are the only ones from now on: it must end with them.
	syscall.Close(outputFile)
	if err != nil {
		s.groups.remove()
		s.send(event{Failed: err})
		return 0
	}
	s.send(event{Started: &started{PID: s.pid, Groups: s.groups.folders()}})
	s.worker, s.kill, s.over = make(chan struct{}), make(chan struct{}), make(chan status, 1)
	go s.reap()
	go s.obey(orders)
	watched := s.watch()

	var command status
	select {
	case command = <-s.over:
	case <-s.kill:
	case <-s.worker:
	case <-watched.exceeded:
	}
	if !command.alone {
		s.killAll(&command)
	}
	watched.stop()
	s.exit.Code, s.exit.Signal = command.ExitStatus(), 0
	if command.Signaled() {
		s.exit.Code, s.exit.Signal = -1, int(command.Signal())
	}
	s.account(watched, command.Signaled() && systemOOMKills() > before)
	release()
	s.groups.remove()
	select {
	case <-s.worker:
		if s.command.Remove != "" {
			RemoveAll(s.command.Remove)
		}
	default:
		s.send(event{Ended: &s.exit})
	}
	if s.exit.Left > 0 {
		s.killForever()
	}
	return 0
}

// account fills in what was used.
func (s *supervision) account(watched *watcher, bySystem bool) {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_CHILDREN, &usage) == nil {
		s.exit.CPU = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
		s.exit.Memory = maxRSS(&usage)
	}
	s.exit.Memory = max(s.exit.Memory, watched.peak)
	s.exit.OutOfMemory = watched.over || bySystem
	if s.groups.outOfMemory() {
		s.exit.OutOfMemory = true
		s.exit.Memory = max(s.exit.Memory, s.groups.peak())
	}
	s.exit.Refused = s.groups.refused()
}

func (s *supervision) send(e event) {
	// If the worker is gone, nobody needs it.
	_ = json.NewEncoder(s.events).Encode(e)
}

// reap waits for all processes. As long as one that came of the command lives, there is a child to wait for: its
// parent, or itself, because orphans become children of the subreaper before their parent can be waited for.
func (s *supervision) reap() {
	defer close(s.over)
	for {
		var ended syscall.WaitStatus
		pid, err := wait(&ended, 0)
		if err != nil {
			return
		}
		if pid != s.pid {
			continue
		}
		for err == nil && pid > 0 {
			pid, err = wait(new(syscall.WaitStatus), syscall.WNOHANG)
		}
		s.over <- status{ended, err != nil}
	}
}

// wait waits for any child. An error says that there is none.
func wait(status *syscall.WaitStatus, options int) (pid int, err error) {
	for {
		pid, err = syscall.Wait4(-1, status, options, nil)
		if !errors.Is(err, syscall.EINTR) {
			return pid, err
		}
	}
}

// obey follows the worker's orders until it is gone.
func (s *supervision) obey(orders *bufio.Reader) {
	killed := false
	for {
		line, err := readLine(orders, maxCommand)
		switch order := string(line); {
		case err != nil:
			close(s.worker)
			return
		case order == orderTerminate+"\n":
			_ = syscall.Kill(-s.pid, syscall.SIGTERM)
		case order == orderKill+"\n" && !killed:
			killed = true
			close(s.kill)
		}
	}
}

// killAll kills everything and waits until it is gone. If the command's status comes, it is put into command.
func (s *supervision) killAll(command *status) {
	pause := time.Millisecond
	for deadline := time.Now().Add(patience); ; {
		s.groups.kill()
		killTree(s.pid)
		select {
		case got, more := <-s.over:
			if !more {
				return
			}
			*command = got
			continue
		case <-time.After(pause):
		}
		pause = min(2*pause, 50*time.Millisecond)
		if time.Now().After(deadline) {
			s.exit.Left = max(1, len(descendants()))
			return
		}
	}
}

// killForever goes on killing what did not die.
func (s *supervision) killForever() {
	for {
		killTree(s.pid)
		select {
		case _, more := <-s.over:
			if !more {
				s.groups.remove()
				return
			}
		case <-time.After(time.Second):
		}
	}
}
