package program

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"trellis/proto/template"
	"trellis/worker/supervisor"
)

// codeReturned is the exit code of a program that hands its run back: EX_TEMPFAIL of sysexits.h.
const codeReturned = 75

// errNoTime stops a program that has run as long as it may.
var errNoTime = errors.New("its time is up")

// Run runs a program until it ends, and calls report for what it reports, one at a time and in order. Reports arrive
// while it runs and also after it was told to stop. If report returns an error, the program is stopped, and Run returns
// that error. When the context is done, it is stopped too, and Run returns the context's cause, unless the program has
// reported all epochs and exits with code 0 nevertheless. Other failures are of type *Error.
//
// When Run returns, no process of the program is left and its folder is gone.
//
// If the error's kind is BadResume, nothing was started: Run may be called again with the same Output.
func Run(ctx context.Context, c Config, report func(Report) error) (result Result, err error) {
	if c.Output != nil {
		defer func() {
			if !isBadResume(err) {
				c.Output.end()
			}
		}()
	}
	result = Result{Epochs: c.FirstEpoch - 1}
	a := &attempt{
		config: &c, log: c.Log, report: report, epochs: result.Epochs, metrics: map[string]bool{},
		stopping: make(chan struct{}),
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if err := a.check(); err != nil {
		return result, err
	}
	command, err := arguments(&c)
	if err != nil {
		return result, err
	}
	// It starts while the folder is filled.
	spawn := supervisor.Spawn
	if c.Supervisors != nil {
		spawn = c.Supervisors.Take
	}
	process, err := spawn()
	if err != nil {
		return result, broken("start the supervisor", err)
	}
	ran := false
	defer func() {
		if !ran {
			_ = process.Close()
		}
	}()
	if a.folder, err = makeFolder(ctx, &c); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return result, err
	}
	defer func() {
		if err := a.folder.remove(); err != nil {
			a.log.Warn("can't remove the attempt's folder", "folder", a.folder.path, "error", err)
		}
	}()
	if a.work, err = os.OpenRoot(a.folder.work); err != nil {
		return result, broken("open the attempt's folder", err)
	}
	defer a.work.Close()
	// Before the program starts: it may remove the file.
	if a.reports, err = newFollower(a.folder.reports); err != nil {
		return result, broken("open the reports file", err)
	}
	defer a.reports.close()
	if ctx.Err() != nil {
		return result, context.Cause(ctx)
	}
	err = a.start(process, command)
	if errors.Is(err, supervisor.ErrNotStarted) { // It was killed while it was kept ready.
		_ = process.Close()
		if process, err = supervisor.Spawn(); err != nil {
			ran = true
			return result, broken("start the supervisor", err)
		}
		err = a.start(process, command)
	}
	if err != nil {
		return result, err
	}
	wanted, end := whileWanted(ctx, c.Revoked)
	defer end()
	exit, err := a.follow(ctx, wanted, process)
	result.Elapsed = time.Since(a.began)
	if err == nil && exit.Left == 0 {
		_ = process.Close()
	}
	ran = true
	a.finish(wanted, &result, exit)
	return result, a.outcome(&result, exit, err)
}

// whileWanted returns a context for what is reported: also while the program is being stopped, but not for an attempt that
// was revoked.
func whileWanted(ctx context.Context, revoked <-chan struct{}) (context.Context, context.CancelFunc) {
	wanted, end := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		select {
		case <-revoked:
			end()
		case <-wanted.Done():
		}
	}()
	return wanted, end
}

// isBadResume says whether an error is of kind BadResume.
func isBadResume(err error) bool {
	var failed *Error
	return errors.As(err, &failed) && failed.Kind == BadResume
}

// check checks what needs no folder.
func (a *attempt) check() error {
	if a.config.FirstEpoch < 1 || a.config.LastEpoch < a.config.FirstEpoch {
		return &Error{Kind: BadCommand, Message: fmt.Sprintf("there are no epochs from %d to %d", a.config.FirstEpoch,
			a.config.LastEpoch)}
	}
	if text := a.config.Program.GetReports().GetPattern(); text != "" {
		expression, err := template.CompilePattern(text)
		if err != nil {
			return &Error{Kind: BadCommand, Message: fmt.Sprintf("pattern %q: %v", text, err), Err: err}
		}
		a.pattern = expression
	}
	return nil
}

// unsafe are the characters that have no place in the name of a control group.
var unsafe = regexp.MustCompile(`[^A-Za-z0-9]+`)

// start starts the command.
func (a *attempt) start(process *supervisor.Process, command []string) error {
	variables := environment(a.config, a.folder, os.Environ())
	path, err := find(command[0], a.folder.work, variables)
	if err != nil {
		return err
	}
	processes := a.config.Processes
	if processes == 0 {
		processes = DefaultProcesses
	}
	a.began = time.Now()
	err = process.Start(supervisor.Command{
		Path: path, Arguments: command, Environment: variables, Folder: a.folder.work,
		Name:   fmt.Sprintf("%.12s-%d", unsafe.ReplaceAllString(a.config.Run, ""), a.config.Attempt),
		Memory: a.config.Resources.GetMemory(), CPUs: a.config.Resources.GetCpus(), Processes: processes,
		Watch: a.config.Watch, Remove: a.folder.path,
	})
	var failed *supervisor.StartError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &failed):
		return broken("start the program", err)
	case failed.Errno == syscall.ENOENT:
		return &Error{Kind: NoCommand, Err: err, Message: fmt.Sprintf("the interpreter of %s (its first line, #!, or "+
			"its loader) does not exist on this worker", path)}
	case failed.Errno == syscall.EACCES, failed.Errno == syscall.EPERM:
		// It has the mode to be executed: this was looked at before.
		return &Error{Kind: NoCommand, Err: err, Message: path + " can't be executed on this worker: " +
			"the file system of its cache may be mounted with noexec"}
	case failed.Errno == syscall.ENOEXEC:
		return &Error{Kind: NoCommand, Err: err, Message: path + " is neither a program of this machine's kind nor " +
			"a script that begins with #! and its interpreter"}
	case failed.Errno == syscall.E2BIG:
		return &Error{
			Kind: BadCommand, Err: err, Message: "its arguments and environment are larger than the system takes",
		}
	default:
		return broken("start the program", err)
	}
}

// follow takes the program's output and reports until it has ended, and stops it when it should. What is reported counts
// while wanted is not done.
func (a *attempt) follow(ctx, wanted context.Context, process *supervisor.Process) (supervisor.Exit, error) {
	ended, read := make(chan struct{}), make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() { a.stopper(ctx, process, ended) })
	go func() {
		defer close(read)
		a.readOutput(wanted, process.Output())
	}()
	if a.pattern == nil {
		others.Go(func() {
			take := func(text []byte, number int) error { return a.takeReport(wanted, text, number) }
			if err := a.reports.follow(ended, take); err != nil {
				a.stop(err, errors.Is(err, errTooMuch))
			}
		})
	}
	exit, err := process.Wait()
	// Who is left, where there are no subreapers, could hold the output open forever.
	_ = process.Output().SetReadDeadline(time.Now().Add(lastOutput))
	<-read
	if err != nil || exit.Left > 0 {
		process.Abandon()
	}
	close(ended)
	others.Wait()
	if a.pattern == nil && a.epochs < a.config.LastEpoch && !a.reports.intact() {
		a.stop(&Error{Kind: BadReport, Message: "it has removed, replaced or shortened its reports file " +
			"(TRELLIS_REPORTS), which lines must be appended to"}, true)
	}
	return exit, err
}

// lastOutput is how long output may take to end when the program is over.
const lastOutput = time.Second

// readOutput reads what the program writes until all who could write have ended, or nothing more comes when it is over.
func (a *attempt) readOutput(ctx context.Context, output *os.File) {
	lines := &splitter{take: func(text []byte, number int) { a.takeOutput(ctx, text, number) }}
	buffer := make([]byte, 64<<10)
	failed, late := false, false
	for {
		n, err := output.Read(buffer)
		a.tail.write(buffer[:n])
		if a.config.Output != nil && !failed {
			if _, err := a.config.Output.Write(buffer[:n]); err != nil {
				failed = true
				a.log.Warn("can't keep the program's output", "error", err)
			}
		}
		if a.pattern != nil {
			lines.write(buffer[:n])
		}
		if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && !late {
			// It may have passed while the receiver of reports had something to do.
			late = true
			_ = output.SetReadDeadline(time.Now().Add(lastOutput))
			continue
		}
		if late = false; err != nil {
			if a.pattern != nil {
				lines.flush()
			}
			return
		}
	}
}

// stopper ends the program when it should end: politely first.
func (a *attempt) stopper(ctx context.Context, process *supervisor.Process, ended <-chan struct{}) {
	var timeUp <-chan time.Time
	if limit := a.config.Resources.GetTime(); limit != nil && limit.AsDuration() > 0 {
		timer := time.NewTimer(limit.AsDuration())
		defer timer.Stop()
		timeUp = timer.C
	}
	select {
	case <-ended:
		return
	case <-ctx.Done():
		a.stop(context.Cause(ctx), false)
	case <-timeUp:
		a.stop(errNoTime, false)
	case <-a.stopping:
	}
	if !a.now {
		process.Terminate()
		grace := DefaultGrace
		if given := a.config.Program.GetGrace(); given != nil {
			grace = given.AsDuration()
		}
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-ended:
			return
		case <-timer.C:
		case <-a.config.Hurry:
		}
	}
	process.Kill()
}

// finish fills in what is known when the program has ended, and packs its last checkpoint.
func (a *attempt) finish(ctx context.Context, result *Result, exit supervisor.Exit) {
	result.Epochs = a.epochs
	result.Enforced, result.Memory, result.CPU = exit.Enforced, exit.Memory, exit.CPU
	if a.unwanted == nil {
		return
	}
	checkpoint, err := a.packCheckpoint(ctx, a.unwanted.epoch, a.unwanted.checkpoint)
	if err != nil && ctx.Err() == nil {
		a.log.Warn("can't pack the last checkpoint", "epoch", a.unwanted.epoch, "error", err)
	}
	result.Checkpoint = checkpoint
}

// outcome says whether the attempt has succeeded. One that has reported all epochs has, however its program ended after
// that: what it was to find out is known, and another attempt would find the same. How it ended is said in its output.
func (a *attempt) outcome(result *Result, exit supervisor.Exit, lost error) error {
	cause := a.cause // All that could set it have ended.
	late := errors.Is(cause, errNoTime)
	complete := a.epochs == a.config.LastEpoch
	var received receiverError
	var failed *Error
	switch {
	case lost != nil:
		// Most often the program has done it, or has taken the memory. The worker itself is well.
		return a.fail(&Error{
			Kind: Killed, Err: lost, Signal: int(syscall.SIGKILL),
			Message: "it was killed together with its parent process, the worker's supervisor of programs: it may have " +
				"done so itself, or memory ran out",
		}, exit)
	case exit.Left > 0:
		message := fmt.Sprintf("%d of its processes can't be killed", exit.Left)
		return a.fail(&Error{Kind: Broken, Message: message}, exit)
	case errors.As(cause, &received):
		return received.err
	case errors.Is(cause, errBeyond):
		result.Beyond = true
		a.log.Warn("stopped the program: it reports more epochs than it was asked for", "last", a.config.LastEpoch)
	case errors.As(cause, &failed):
		return a.fail(failed, exit)
	case cause != nil && !late && !(complete && exit.Code == 0):
		return cause // The context's.
	case exit.Code == codeReturned && !late:
		result.Returned = true
		return nil
	default:
		ended := a.ending(exit, late, result.Elapsed)
		switch {
		case ended != nil && complete:
			a.note(ended)
		case ended != nil:
			return a.fail(ended, exit)
		case !complete:
			return a.fail(a.unfinished(), exit)
		}
	}
	if errors.As(a.missing, &failed) {
		return a.fail(failed, exit)
	}
	return a.checkObjective(exit)
}

// ending returns how the program ended, if that was not by itself and with code 0.
func (a *attempt) ending(exit supervisor.Exit, late bool, elapsed time.Duration) *Error {
	limit := a.config.Resources.GetMemory()
	switch {
	case late && (exit.Code != 0 || a.epochs < a.config.LastEpoch):
		limit := a.config.Resources.GetTime().AsDuration()
		return &Error{
			Kind: OutOfTime, Limit: uint64(limit), Used: uint64(elapsed),
			Message: fmt.Sprintf("it ran for more than %v, which is its resources.time", limit),
		}
	case exit.OutOfMemory && exit.Code != 0:
		return outOfMemory(limit, exit.Memory)
	case exit.Signal != 0:
		signal := syscall.Signal(exit.Signal)
		return &Error{
			Kind: Killed, Signal: exit.Signal,
			Message: fmt.Sprintf("it was killed by signal %d (%v)", exit.Signal, signal),
		}
	case exit.Code != 0:
		return &Error{Kind: Exited, Code: exit.Code, Message: fmt.Sprintf("it exited with code %d", exit.Code)}
	}
	return nil
}

// note says at the end of the output, and in the log, how a program ended that had reported all epochs.
func (a *attempt) note(ended *Error) {
	a.log.Warn("the program failed after it had reported all epochs; its results count", "error", ended.Message)
	output := a.config.Output
	if output == nil {
		return
	}
	line := fmt.Sprintf("trellis: %s, after it had reported all epochs: its results count\n", ended.Message)
	if last, err := output.Read(output.Kept().Total-1, 1); err == nil && string(last.Data) != "\n" && len(last.Data) > 0 {
		line = "\n" + line
	}
	if _, err := output.Write([]byte(line)); err != nil {
		a.log.Warn("can't keep the program's output", "error", err)
	}
}

// checkObjective makes an attempt fail that never reported what trials are ranked by.
func (a *attempt) checkObjective(exit supervisor.Exit) error {
	metric := a.config.Objective.GetMetric()
	// An attempt that resumes may have reported it before.
	if metric == "" || a.metrics[metric] || a.config.FirstEpoch > 1 {
		return nil
	}
	message := fmt.Sprintf("it never reported %s, which the objective names", metric)
	if names := a.reported(); len(names) > 0 {
		message += "; it reported " + strings.Join(names, ", ")
	}
	return a.fail(&Error{Kind: NoObjective, Message: message}, exit)
}

func (a *attempt) unfinished() *Error {
	kind, message := NoReports, ""
	switch {
	case a.epochs >= a.config.FirstEpoch:
		kind = Unfinished
		message = fmt.Sprintf("it exited with code 0 after epoch %d, but the last epoch is %d", a.epochs,
			a.config.LastEpoch)
	case a.pattern != nil:
		message = fmt.Sprintf("it exited with code 0, and no line of its output matches the pattern %s", a.pattern)
	default:
		message = "it exited with code 0 and reported nothing: reports are lines such as " + example +
			" at the end of the file that TRELLIS_REPORTS names"
	}
	return &Error{Kind: kind, Message: message}
}

func outOfMemory(limit, used uint64) *Error {
	message := "it was killed because the machine ran out of memory"
	if limit > 0 {
		message = fmt.Sprintf("it used %s of memory, and its resources.memory is %s", size(max(used, limit)),
			size(limit))
	}
	return &Error{Kind: OutOfMemory, Limit: limit, Used: used, Message: message}
}

// size writes bytes as people do.
func size(bytes uint64) string {
	const step = 1024
	units := []string{"bytes", "KiB", "MiB", "GiB", "TiB"}
	value, unit := float64(bytes), 0
	for value >= step && unit < len(units)-1 {
		value, unit = value/step, unit+1
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", value), ".0") + " " + units[unit]
}

// fail completes an error with what was refused and the last lines of output.
func (a *attempt) fail(failed *Error, exit supervisor.Exit) *Error {
	complete := *failed
	if exit.Refused > 0 {
		complete.Message += fmt.Sprintf("; %d times it was refused a process more than it may have", exit.Refused)
	}
	complete.Output = a.tail.lines()
	return &complete
}
