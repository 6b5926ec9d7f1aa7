package launch

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"time"

	deploy "trellis/deploy/slurm"
)

// batch is what becomes a batch script.
type batch struct {
	// options are those of sbatch: --time=4:00:00.
	options []string
	// variables are those of the script.
	variables []string
	// args are those of trellis worker.
	args []string
	// mark is the digest of all that.
	mark string
}

// digest tells launches of other options apart.
func (b batch) digest(elastic bool) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %t", b.options, b.variables, b.args, elastic))
	return hex.EncodeToString(sum[:8])
}

// begins is the line of the worker's script before which nothing is done.
const begins = "set -u\n"

// script is the worker's own script, with its options and arguments in it: sbatch needs nothing else.
func (b batch) script(jobs int) string {
	var options, settings strings.Builder
	for _, option := range append([]string{array(jobs)}, b.options...) {
		fmt.Fprintf(&options, "#SBATCH %s\n", option)
	}
	for _, variable := range b.variables {
		name, value, _ := strings.Cut(variable, "=")
		fmt.Fprintf(&settings, "export %s=%s\n", name, quoted(value))
	}
	settings.WriteString("set --")
	for _, arg := range b.args {
		settings.WriteString(" " + quoted(arg))
	}
	before, after, found := strings.Cut(named.ReplaceAllString(deploy.WorkerScript, ""), begins)
	if !found {
		panic("launch: worker.sh has no line " + begins)
	}
	// Of two options the last one counts: those of the command line.
	return before + options.String() + begins + settings.String() + "\n" + after
}

// named is the name of jobs that the script has by itself.
var named = regexp.MustCompile(`(?m)^#SBATCH --job-name=.*\n`)

func array(jobs int) string { return fmt.Sprintf("--array=1-%d", jobs) }

var arrayLine = regexp.MustCompile(`(?m)^#SBATCH --array=.*$`)

// resized is the script of a launch, for so many jobs.
func resized(script string, jobs int) (string, error) {
	if !arrayLine.MatchString(script) {
		return "", fmt.Errorf("its batch script has no line with #SBATCH --array=, so trellis launch has not written it")
	}
	return arrayLine.ReplaceAllString(script, "#SBATCH "+array(jobs)), nil
}

var plain = regexp.MustCompile(`^[A-Za-z0-9_./:=@%+,-]+$`)

// quoted is a text as one word of the shell.
func quoted(text string) string {
	if plain.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// timeLimit is a duration as Slurm reads it, D-HH:MM:SS, rounded up to seconds.
func timeLimit(limit time.Duration) string {
	seconds := int64((limit + time.Second - 1) / time.Second)
	const minute, hour, day = 60, 3600, 24 * 3600
	return fmt.Sprintf("%d-%02d:%02d:%02d", seconds/day, seconds%day/hour, seconds%hour/minute, seconds%minute)
}
