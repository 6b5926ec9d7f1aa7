package launch

import (
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/exit"
	"trellis/command/spec"
)

// checkWords refuses values that would not be one word in a batch script's options.
func (o *launchOptions) checkWords() error {
	for _, word := range []struct{ flag, value string }{{"partition", o.partition}, {"folder", o.folder}} {
		if !isWord(word.value) {
			return exit.Usagef("invalid argument %q for --%s: must have no quotation marks, backslashes and control "+
				"characters", word.value, word.flag)
		}
	}
	return nil
}

func isWord(value string) bool {
	return !strings.ContainsAny(value, `"\`) && !strings.ContainsFunc(value, unicode.IsControl)
}

// reserved are options of sbatch that launch sets itself, or with which it would lose sight of its jobs.
var reserved = []string{
	"job-name", "array", "clusters", "comment", "output", "error", "uid", "gid", "parsable", "quiet", "wait", "wrap",
	"test-only", "help", "usage", "version",
}

// saidTwice is an option of sbatch that a flag of launch, if it is given, stands for already.
type saidTwice struct {
	name, flag string
	given      bool
}

func (o *launchOptions) twice() []saidTwice {
	return []saidTwice{
		{"partition", "partition", o.partition != ""},
		{"time", "time", o.time > 0},
		{"mem", "memory", o.memory != ""},
		{"gres", "gpus", o.gpus > 0},
		{"gpus-per-node", "gpus", o.gpus > 0},
		{"gpus-per-task", "gpus", o.gpus > 0},
	}
}

// parseMemory reads a size with its unit, such as 16GiB or, as sbatch takes it, 16G. Numbers alone are bytes elsewhere,
// and megabytes in Slurm.
func parseMemory(text string) (bytes uint64, ok bool) {
	if strings.HasSuffix(text, "B") {
		return spec.ParseSize(text)
	}
	return spec.ParseSize(text + "iB")
}

var longOption = regexp.MustCompile(`^--([a-z][a-z-]*)(=.*)?$`)

// checkOptions refuses options of sbatch that are not one long option, or that are reserved. Sbatch takes names that
// are cut off too.
func (o *launchOptions) checkOptions() error {
	if o.time > 0 {
		if err := o.checkTime(time.Duration(o.time)); err != nil {
			return exit.Usagef("--time %w", err)
		}
	}
	for _, option := range o.sbatch {
		match := longOption.FindStringSubmatch(option)
		if match == nil || !isWord(option) {
			return exit.Usagef("invalid argument %q for --sbatch: must be a long option such as --account=abc, without "+
				"quotation marks and backslashes", option)
		}
		for _, name := range reserved {
			if strings.HasPrefix(name, match[1]) {
				return exit.Usagef("invalid argument %q for --sbatch: launch slurm needs to set --%s itself", option, name)
			}
		}
		for _, its := range o.twice() {
			if its.given && strings.HasPrefix(its.name, match[1]) {
				return exit.Usagef("--%s and --sbatch=%s both say what Slurm gives a worker: leave one out",
					its.flag, option)
			}
		}
		if limit, ok := slurmTime(strings.TrimPrefix(match[2], "=")); ok && match[1] == "time" {
			if err := o.checkTime(limit); err != nil {
				return exit.Usagef("invalid argument %q for --sbatch: %w", option, err)
			}
		}
	}
	return nil
}

// ours are the worker's flags that follow from those of launch, which would not know what they say.
var ours = map[string]string{
	"coordinator": "--coordinator", "authority": "--authority", "certificate": "--worker-token", "insecure": "--insecure",
	"token-file": "--worker-token", "slots": "--slots", "cpus": "--slots", "memory": "--memory", "gpus": "--gpus",
	"label": "--label", "programs": "--programs", "study": "--study", "exit-when-idle": "--until-idle", "name": "",
}

// checkRest refuses flags of the worker that launch sets.
func (o *launchOptions) checkRest() error {
	for _, arg := range o.rest {
		name, _, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		instead, known := ours[name]
		switch {
		case !strings.HasPrefix(arg, "--") || !known:
		case instead == "":
			return exit.Usagef("invalid flag --%s after --: workers are known by their names, which have the numbers of "+
				"their jobs", name)
		default:
			return exit.Usagef("invalid flag --%s after --: say it with %s of launch slurm, before --", name, instead)
		}
	}
	return nil
}

// checkWorkerFlags refuses what the worker would refuse, rather than have each job fail.
func checkWorkerFlags(cmd *cobra.Command, rest []string) error {
	worker, _, err := cmd.Root().Find([]string{"worker"})
	if err != nil {
		return err
	}
	if err := worker.ParseFlags(rest); err != nil {
		return exit.Usagef("after --: %w", cli.FlagError(worker, err))
	}
	if args := worker.Flags().Args(); len(args) > 0 {
		return exit.Usagef("unexpected argument %q after --: must be flags of trellis worker", args[0])
	}
	return nil
}
