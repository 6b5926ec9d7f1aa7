package launch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"

	"trellis/command/exit"
)

// scheduler runs jobs. What is known about a launch is what it says: nothing else is kept.
type scheduler interface {
	// submit submits a batch script, and returns its number.
	submit(ctx context.Context, script string) (id string, err error)
	// jobs returns the jobs of a launch that have not ended, or of all launches of this user if name is empty. Each job of an
	// array is one.
	jobs(ctx context.Context, name string) ([]job, error)
	// script returns the batch script of a job.
	script(ctx context.Context, id string) (string, error)
	cancel(ctx context.Context, ids []string) error
}

// job is one job, which starts one worker.
type job struct {
	// id is 12, or 12_3 in an array.
	id string
	// launch is the name of its launch.
	launch string
	phase  phase
}

// phase is how far a job has come.
type phase int

const (
	queued phase = iota
	running
	ending
)

// jobPrefix begins the names of jobs, so that they are known among others of the user. A name ends with that of the launch.
const jobPrefix = "trellis-"

// slurm is Slurm, by its commands.
type slurm struct{}

var _ scheduler = slurm{}

var jobNumber = regexp.MustCompile(`^\d+$`)

func (slurm) submit(ctx context.Context, script string) (string, error) {
	out, err := run(ctx, script, "sbatch", "--parsable")
	if err != nil {
		return "", err
	}
	id, _, _ := strings.Cut(strings.TrimSpace(out), ";") // In a federation, the cluster follows.
	if !jobNumber.MatchString(id) {
		return "", fmt.Errorf("sbatch --parsable answered %q, not the number of a job", out)
	}
	return id, nil
}

// phases are the states in which a job is queued or running. One in any other has ended, or will.
var phases = map[string]phase{
	"PENDING": queued, "REQUEUED": queued, "REQUEUE_FED": queued, "REQUEUE_HOLD": queued, "SPECIAL_EXIT": queued,
	"RUNNING": running, "CONFIGURING": running, "SUSPENDED": running, "RESIZING": running, "SIGNALING": running,
}

func (slurm) jobs(ctx context.Context, name string) (jobs []job, err error) {
	args := []string{"squeue", "--noheader", "--array", "--me", "--format=%i|%T|%j"}
	if name != "" {
		args = append(args, "--name="+jobPrefix+name)
	}
	out, err := run(ctx, "", args...)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(out) {
		fields := strings.SplitN(strings.TrimSpace(line), "|", 3)
		if len(fields) < 3 {
			continue
		}
		launch, ours := strings.CutPrefix(fields[2], jobPrefix)
		if !ours || name != "" && launch != name {
			continue
		}
		its, live := phases[fields[1]]
		if !live {
			its = ending
		}
		jobs = append(jobs, job{id: fields[0], launch: launch, phase: its})
	}
	return jobs, nil
}

func (slurm) script(ctx context.Context, id string) (string, error) {
	number, _, _ := strings.Cut(id, "_")
	return run(ctx, "", "scontrol", "write", "batch_script", number, "-")
}

// canceledAtOnce is how many jobs one command names.
const canceledAtOnce = 200

func (slurm) cancel(ctx context.Context, ids []string) error {
	for some := range slices.Chunk(ids, canceledAtOnce) {
		if _, err := run(ctx, "", append([]string{"scancel"}, some...)...); err != nil {
			return err
		}
	}
	return nil
}

// run runs a command of Slurm. It gets none of our variables, which it would pass on to jobs: there may be a token in them.
func run(ctx context.Context, stdin string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, args[0], args[1:]...)
	var out, failed bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(stdin), &out, &failed
	command.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, "TRELLIS_")
	})
	err := command.Run()
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case errors.Is(err, exec.ErrNotFound):
		return "", exit.Usagef("%s is not here: run this command where Slurm's commands are", args[0])
	case err != nil:
		return "", fmt.Errorf("%s: %w: %s", args[0], err, strings.TrimSpace(failed.String()))
	}
	return out.String(), nil
}
