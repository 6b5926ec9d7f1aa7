package output

import (
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// ShortDuration writes a duration to two units at most: 3d4h, 2h5m, 1m20s, 12s, 80ms.
func ShortDuration(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= day:
		d = d.Round(time.Hour)
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	case d >= time.Hour:
		d = d.Round(time.Minute)
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= 10*time.Second:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(100 * time.Millisecond).String()
	default:
		return d.Round(time.Millisecond).String()
	}
}

// DurationOf turns seconds into a duration, as far as one reaches.
func DurationOf(seconds float64) time.Duration {
	const longest = math.MaxInt64 / float64(time.Second)
	if seconds >= longest {
		return math.MaxInt64
	}
	return time.Duration(seconds * float64(time.Second))
}

// ShortSeconds writes seconds as ShortDuration does.
func ShortSeconds(seconds float64) string { return ShortDuration(DurationOf(seconds)) }

// PlainTime is RFC 3339 in UTC, or empty.
func PlainTime(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().Format(time.RFC3339)
}

// ShortTime is a time of the user's clock.
func ShortTime(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().Local().Format(time.DateTime)
}
