package cli

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const (
	day  = 24 * time.Hour
	year = 365 * day
)

// Lifetime is how long a credential is valid, as a flag: 1y, 90d, 12h or any of Go's durations.
type Lifetime time.Duration

var _ pflag.Value = (*Lifetime)(nil)

// ExpiresFlag adds --expires.
func ExpiresFlag(cmd *cobra.Command, lifetime *Lifetime, otherwise time.Duration, usage string) {
	*lifetime = Lifetime(otherwise)
	cmd.Flags().Var(lifetime, "expires", usage)
}

// Set parses a lifetime.
func (l *Lifetime) Set(text string) error {
	wrong := errors.New("must be a duration above 0 such as 12h, 90d or 1y")
	for suffix, unit := range map[string]time.Duration{"d": day, "y": year} {
		if number, ok := strings.CutSuffix(text, suffix); ok {
			n, err := strconv.ParseUint(number, 10, 16)
			if err != nil || n == 0 || n > uint64(100*year/unit) {
				return wrong
			}
			*l = Lifetime(time.Duration(n) * unit)
			return nil
		}
	}
	duration, err := time.ParseDuration(text)
	if err != nil || duration <= 0 {
		return wrong
	}
	*l = Lifetime(duration)
	return nil
}

func (l *Lifetime) String() string {
	switch d := time.Duration(*l); {
	case d == 0:
		return ""
	case d%year == 0:
		return strconv.Itoa(int(d/year)) + "y"
	case d%day == 0:
		return strconv.Itoa(int(d/day)) + "d"
	default:
		return d.String()
	}
}

// Type is what the help text calls the value.
func (l *Lifetime) Type() string { return "lifetime" }
