package launch

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"trellis/command/cli"
)

// shortestTime is the least time of a job: its worker is told to end one to two minutes before that is up.
const shortestTime = 5 * time.Minute

// jobTime is how long a job may take, as a flag: 4h, 2d, or what Slurm writes.
type jobTime time.Duration

var _ pflag.Value = (*jobTime)(nil)

// Set parses a time.
func (t *jobTime) Set(text string) error {
	limit, ok := slurmTime(text)
	if !ok {
		var other cli.Lifetime
		if other.Set(text) != nil {
			return errors.New("must be a time such as 4h, 2d or, as Slurm writes it, 4:00:00, 2-0 or 240 (minutes)")
		}
		limit = time.Duration(other)
	}
	if limit <= 0 {
		return errors.New("must be above 0")
	}
	*t = jobTime(limit)
	return nil
}

// checkTime refuses times in which a worker gets nothing done. Who says when jobs are told to end knows how long they
// need.
func (o *launchOptions) checkTime(limit time.Duration) error {
	isSignal := func(option string) bool { return strings.HasPrefix(option, "--signal=") }
	ownSignal := slices.ContainsFunc(o.sbatch, isSignal)
	if limit < shortestTime && !ownSignal {
		return fmt.Errorf("must be at least %d minutes: workers hand their runs back up to two minutes before "+
			"the end, and shorter jobs would go back into the queue again and again without training much",
			shortestTime/time.Minute)
	}
	return nil
}

func (t *jobTime) String() string {
	limit := cli.Lifetime(*t)
	return limit.String()
}

// Type is what the help text calls the value.
func (t *jobTime) Type() string { return "time" }

// slurmTime reads a time limit as sbatch does: M, M:S, H:M:S, D-H, D-H:M or D-H:M:S.
func slurmTime(text string) (limit time.Duration, ok bool) {
	const minute, hour, day = 60, 3600, 24 * 3600
	days, rest, hasDays := strings.Cut(text, "-")
	if !hasDays {
		days, rest = "0", text
	}
	fields := strings.Split(rest, ":")
	units := []int64{hour, minute, 1}
	if !hasDays && len(fields) < 3 {
		units = units[1:]
	}
	if len(fields) > len(units) {
		return 0, false
	}
	fields, units = append(fields, days), append(units[:len(fields):len(fields)], day)
	var seconds int64
	for i, field := range fields {
		n, err := strconv.ParseUint(field, 10, 24)
		if err != nil {
			return 0, false
		}
		seconds += int64(n) * units[i]
	}
	return time.Duration(seconds) * time.Second, seconds <= 100*365*day
}
