package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/worker/capacity"
	"trellis/worker/program"
	"trellis/worker/scratch"
)

const (
	// attemptsName is the folder where programs run, within the worker's cache.
	attemptsName = "attempts"
	// aliveInterval is how often an attempt counts a step while its program runs. How long an epoch takes is the program's
	// business: resources.time bounds it.
	aliveInterval = time.Second
)

// errNoNewEpoch says why a run that its program hands back by itself counts as failed there.
var errNoNewEpoch = errors.New("it exited with code 75, which hands its run back, without having reported a new epoch")

// errStoppedEarly ends a program whose metric no longer improves.
var errStoppedEarly = errors.New("its metric no longer improves")

// workProgram runs the program of an attempt in a slot, which it gives back, and tells Run the outcome.
//
// A program that is interrupted is ended, also when it is only suspended: its processes can't be frozen without keeping
// memory and GPUs from the attempts that come after. So its run is returned, with its last checkpoint.
func (w *Worker) workProgram(ctx context.Context, a *attempt, log *slog.Logger, release func()) {
	last := event{attempt: a}
	folder, err := w.makeAttemptFolder(a)
	if err != nil {
		release()
		log.Error("could not run the program", "error", reason(err))
		last.outcome = a.failed(w.name, err)
		w.events.put(last)
		return
	}
	result, err := w.runProgram(ctx, a, folder, log)
	release()
	last.outcome, last.handedBack = w.outcomeOf(ctx, a, result, err, log)
	a.uploads.finish()
	if output := a.output.Load(); output != nil {
		last.outcome.Output = w.saveOutput(a, output, folder, log)
		if err := output.Close(); err != nil {
			log.Warn("could not close a program's output", "error", err)
		}
	}
	if err := os.RemoveAll(folder); err != nil {
		log.Warn("could not remove an attempt's folder", "folder", folder, "error", err)
	}
	w.events.put(last)
}

// outcomeOf returns the outcome of an attempt whose program has ended. handedBack says that the run is returned.
func (w *Worker) outcomeOf(ctx context.Context, a *attempt, result program.Result, err error, log *slog.Logger) (
	outcome *trellisv1.Outcome, handedBack bool,
) {
	var failed *program.Error
	switch {
	case err == nil && result.Returned && result.Epochs <= int(a.assignment.GetEpochs()):
		// Without end, if nobody counts it.
		log.Warn("the program has handed its run back without a new epoch", "epochs", result.Epochs)
		return a.failedAs(w.name, trellisv1.FailureClass_FAILURE_CLASS_RETURNED, errNoNewEpoch), false
	case err == nil && result.Returned:
		log.Info("the program has handed its run back", "epochs", result.Epochs)
		return a.returned(), true
	case err == nil:
		log.Info("trained", "epochs", result.Epochs)
		return a.finished(trellisv1.StopReason_STOP_REASON_MAX_EPOCHS, result.Epochs), false
	case errors.Is(err, errStoppedEarly):
		log.Info("trained", "epochs", result.Epochs, "reason", err)
		return a.finished(trellisv1.StopReason_STOP_REASON_EARLY_STOPPING, result.Epochs), false
	case ctx.Err() != nil:
		log.Debug("stopped", "epochs", result.Epochs, "reason", context.Cause(ctx))
		return a.returned(), true
	case errors.Is(err, errNotServed):
		log.Warn("returned a run: the coordinator does not have what it needs", "error", reason(err))
		return a.returned(), true
	case errors.As(err, &failed):
		log.Error("the program failed", "error", reason(err))
		outcome = a.failedAs(w.name, failed.Class(), err)
		outcome.GetFailure().Message = failureMessage(failed)
		return outcome, false
	default:
		log.Error("could not run the program", "error", reason(err))
		return a.failed(w.name, err), false
	}
}

// runProgram runs the program of an attempt. What it needs is in the folder, which must stay until its checkpoints are
// uploaded.
func (w *Worker) runProgram(ctx context.Context, a *attempt, folder string, log *slog.Logger) (
	result program.Result, err error,
) {
	if !w.config.Programs {
		return result, fmt.Errorf("%w: it was started without --programs", ErrUnfit)
	}
	if ctx.Err() != nil {
		return result, context.Cause(ctx)
	}
	defer a.keepAlive()()
	run := a.assignment.GetConfig()
	ids, give, err := w.gpus.Take(ctx, int(run.GetResources().GetGpus()))
	if errors.Is(err, capacity.ErrGPUs) {
		return result, fmt.Errorf("%w: %w", ErrUnfit, err)
	}
	if err != nil {
		return result, err
	}
	defer give()
	config := ProgramConfig(a.assignment)
	config.Folder, config.Checkpoints, config.GPUs, config.Log = folder, folder, ids, log
	config.Supervisors, config.Revoked = &w.supervisors, a.ctx.Done()
	hurry, settled := w.hurry(a)
	defer settled()
	config.Hurry = hurry.Done()
	if files := run.GetProgram().GetFiles(); files != nil {
		var release func()
		if config.Files, release, err = w.getFiles(ctx, a, files, log); err != nil {
			return result, err
		}
		defer release()
	}
	if config.Python, err = UnpackPython(w.config.CacheDir); err != nil {
		return result, err
	}
	if config.Resume, err = w.fetchResume(ctx, a, folder, log); err != nil {
		return result, err
	}
	checkpoints := &programCheckpoints{
		worker: w, attempt: a, last: config.LastEpoch, best: bestEpoch{objective: run.GetObjective()},
	}
	before := 0
	if config.Resume != "" {
		epoch := int(a.assignment.GetCheckpoint().GetEpoch())
		checkpoints.best.recall(a.assignment.GetHistory(), epoch)
		before = epoch
	}
	stopping := newProgramStopping(run.GetEarlyStopping(), a.assignment.GetHistory(), before)
	// Its worker may have been lost between its last epoch and its outcome.
	if ended := stopping.endedAt(); ended > 0 {
		return program.Result{Epochs: ended}, errStoppedEarly
	}
	if before > 0 {
		if config.FirstEpoch = before + 1; config.FirstEpoch > config.LastEpoch {
			return program.Result{Epochs: before}, nil
		}
	}
	if config.Output, err = program.CreateOutput(filepath.Join(folder, "output"), program.DefaultOutput); err != nil {
		return result, err
	}
	a.output.Store(config.Output)
	log.Info("running a program", "from_epoch", config.FirstEpoch, "gpus", ids)
	a.uploads.begin(nil, time.Now())
	config.WantCheckpoint = checkpoints.wants
	reports := &programReports{
		worker: w, attempt: a, checkpoints: checkpoints, ended: time.Now(), stopping: stopping,
	}
	result, err = reports.run(ctx, config, log)
	if reports.stopped {
		result.Epochs = reports.last // It may have reported more while it ended.
	}
	if !run.GetProgram().GetResumable() {
		result.Checkpoint = nil // It is only there to resume from.
	}
	if a.ctx.Err() == nil {
		// It fails only if the attempt has ended: then nobody needs its checkpoints.
		_ = checkpoints.finish(a.ctx, result.Checkpoint)
	}
	return result, err
}

// failureMessage says why a program failed, with as many of its last lines as there is room for: the last one mostly says
// most.
func failureMessage(failed *program.Error) string {
	const lead = "; its last output:\n"
	message := sendable(failed.Message)
	room, kept := maxMessage-len(message)-len(lead), len(failed.Output)
	for kept > 0 && len(failed.Output[kept-1])+1 <= room {
		kept--
		room -= len(failed.Output[kept]) + 1
	}
	lines := failed.Output[kept:]
	if len(lines) == 0 && len(failed.Output) > 0 && room > 0 { // One line that is too long alone.
		lines = []string{failed.Output[kept-1][:room]}
	}
	if len(lines) == 0 {
		return message
	}
	return sendable(message + lead + strings.Join(lines, "\n"))
}

// makeAttemptFolder makes a folder for what an attempt needs besides its program's own folder. A program before may have
// removed, replaced or closed the folder in which attempts have theirs: then there is another.
func (w *Worker) makeAttemptFolder(a *attempt) (string, error) {
	pattern := fmt.Sprintf("%d-", a.number())
	folder, err := w.attemptsFolder()
	if err != nil {
		return "", err
	}
	path, err := os.MkdirTemp(folder, pattern)
	if err == nil {
		return path, nil
	}
	if folder, err = w.newAttemptsFolder(); err != nil {
		return "", err
	}
	return os.MkdirTemp(folder, pattern)
}

// attemptsFolder returns the folder in which this worker's attempts have theirs.
func (w *Worker) attemptsFolder() (string, error) {
	w.attemptsMu.Lock()
	standing := w.folder.Stands()
	w.attemptsMu.Unlock()
	if !standing {
		return w.newAttemptsFolder()
	}
	return w.folder.Path(), nil
}

// newAttemptsFolder makes the folder in which attempts have theirs. Those of workers that were killed are removed. Several
// workers may share a cache.
func (w *Worker) newAttemptsFolder() (string, error) {
	w.attemptsMu.Lock()
	defer w.attemptsMu.Unlock()
	parent := filepath.Join(w.config.CacheDir, attemptsName)
	err := os.MkdirAll(parent, 0o700)
	if err == nil {
		var folder *scratch.Folder
		if folder, err = scratch.Make(parent, "worker-"); err == nil {
			if w.folder != nil {
				w.log.Warn("a program has removed, replaced or closed the folder of attempts; there is another", "was",
					w.folder.Path(), "folder", folder.Path())
				if w.folder.Stands() {
					w.former = append(w.former, w.folder) // Attempts may still be running in it.
				} else {
					_ = w.folder.Remove() // It removes nothing, and closes it.
				}
			}
			w.folder = folder
			return folder.Path(), nil
		}
	}
	return "", fmt.Errorf("%w: can't make a folder for attempts in %s; remove what is in its place, or choose another "+
		"cache: %w", ErrUnfit, parent, err)
}

// getFiles returns the path of a program's packed files, and what releases them.
func (w *Worker) getFiles(
	ctx context.Context, a *attempt, files *trellisv1.Files, log *slog.Logger,
) (path string, release func(), err error) {
	err = retry(ctx, func() (err error) {
		path, release, err = w.files.Get(ctx, files, func() { a.steps.Add(1) })
		return err
	}, func(err error) {
		log.Warn("could not fetch the program's files; will retry", "sha256", files.GetSha256(), "error", reason(err))
	})
	switch status.Code(err) {
	case codes.NotFound, codes.DataLoss, codes.FailedPrecondition, codes.Unavailable, codes.ResourceExhausted,
		codes.DeadlineExceeded, codes.Unauthenticated:
		err = fmt.Errorf("%w: %w", errNotServed, err)
	}
	if err != nil {
		return "", nil, fmt.Errorf("get the program's files, artifact %s: %w", files.GetSha256(), err)
	}
	return path, release, nil
}

// ProgramConfig is what a program is told of its run.
func ProgramConfig(assignment *trellisv1.Assignment) program.Config {
	run := assignment.GetConfig()
	last := run.GetParameters().GetMaxEpochs()
	if run.GetLastEpoch() > 0 {
		last = run.GetLastEpoch()
	}
	return program.Config{
		Program: run.GetProgram(), Parameters: run.GetParameters().GetValues(),
		Study: assignment.GetStudy(), Run: assignment.GetRun(), Attempt: assignment.GetAttempt(),
		Seed:      int64(run.GetParameters().GetSeed()),
		MaxEpochs: int(run.GetParameters().GetMaxEpochs()), FirstEpoch: 1, LastEpoch: int(last),
		Objective: run.GetObjective(), Resources: run.GetResources(),
	}
}

// keepAlive counts steps until the returned function is called.
func (a *attempt) keepAlive() (stop func()) {
	done := make(chan struct{})
	var counting sync.WaitGroup
	counting.Go(func() {
		ticker := time.NewTicker(aliveInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				a.steps.Add(1)
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		counting.Wait()
	}
}
