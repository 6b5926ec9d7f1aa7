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
	"strconv"
	"strings"

	"trellis/command/exit"
)

// scheduler runs jobs. What is known about a launch is what it says: nothing else is kept.
type scheduler interface {
	// submit submits a batch script, and returns its number.
	submit(ctx context.Context, script string) (id string, err error)
	// largest is how many jobs an array may have.
	largest(ctx context.Context) int
	// jobs returns the jobs of a launch, or of all launches of this user if name is empty, also those that have just ended. Each
	// job of an array is one.
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
	// options tells launches of other options apart, which have the same name. See batch.digest.
	options string
	phase   phase
}

// array is the number of the job's array.
func (j job) array() string {
	number, _, _ := strings.Cut(j.id, "_")
	return number
}

// phase is how far a job has come.
type phase int

const (
	queued phase = iota
	running
	ending
	ended
	failed
)

// live says whether a job has not ended.
func (p phase) live() bool { return p < ended }

// jobPrefix begins the names of jobs, so that they are known among others of the user. A name ends with that of the launch.
const jobPrefix = "trellis-"

// commentPrefix begins the comments of jobs. The digest of their options follows.
const commentPrefix = "trellis-launch:"

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

// defaultArray is the number of jobs of an array that Slurm allows if its configuration says nothing else.
const defaultArray = 1000

var maxArraySize = regexp.MustCompile(`(?m)^MaxArraySize\s*=\s*(\d+)`)

func (slurm) largest(ctx context.Context) int {
	configuration, err := run(ctx, "", "scontrol", "show", "config")
	if err != nil {
		return defaultArray
	}
	match := maxArraySize.FindStringSubmatch(configuration)
	if match == nil {
		return defaultArray
	}
	size, err := strconv.Atoi(match[1]) // The index of an array's last job is less than that.
	if err != nil {
		return defaultArray
	}
	return max(1, size-1)
}

// phases are the states of jobs that mean something else than that the job is about to end.
var phases = map[string]phase{
	"PENDING": queued, "REQUEUED": queued, "REQUEUE_FED": queued, "REQUEUE_HOLD": queued, "SPECIAL_EXIT": queued,
	"RUNNING": running, "CONFIGURING": running, "SUSPENDED": running, "RESIZING": running, "SIGNALING": running,
	"COMPLETED": ended, "CANCELLED": ended, "PREEMPTED": ended, "REVOKED": ended,
	"FAILED": failed, "TIMEOUT": failed, "DEADLINE": failed, "OUT_OF_MEMORY": failed, "NODE_FAIL": failed, "BOOT_FAIL": failed,
	"LAUNCH_FAILED": failed, "RECONFIG_FAIL": failed,
}

func (slurm) jobs(ctx context.Context, name string) (jobs []job, err error) {
	args := []string{"squeue", "--noheader", "--array", "--me", "--states=all", "--format=%i|%T|%j|%k"}
	if name != "" {
		args = append(args, "--name="+jobPrefix+name)
	}
	out, err := run(ctx, "", args...)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(out) {
		fields := strings.SplitN(strings.TrimSpace(line), "|", 4)
		if len(fields) < 4 {
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
		options, _ := strings.CutPrefix(fields[3], commentPrefix)
		jobs = append(jobs, job{id: fields[0], launch: launch, options: options, phase: its})
	}
	return jobs, nil
}

func (slurm) script(ctx context.Context, id string) (string, error) {
	return run(ctx, "", "scontrol", "write", "batch_script", job{id: id}.array(), "-")
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

// inherited says whether Slurm's commands get a variable. They get none of ours, which they would pass on to jobs: there may be
// a token in them. Of theirs, they get those alone that say where Slurm is: the others stand for options, or are those of a job
// that launch itself runs in, and would change the name of jobs or where they go.
func inherited(variable string) bool {
	name, _, _ := strings.Cut(variable, "=")
	switch name {
	case "SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT":
		return true
	}
	for _, prefix := range []string{"TRELLIS_", "SLURM_", "SBATCH_", "SQUEUE_", "SCANCEL_", "SCONTROL_"} {
		if strings.HasPrefix(name, prefix) {
			return false
		}
	}
	return true
}

// run runs a command of Slurm.
func run(ctx context.Context, stdin string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, args[0], args[1:]...)
	var out, failed bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(stdin), &out, &failed
	command.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool { return !inherited(variable) })
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
