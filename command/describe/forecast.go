package describe

import (
	"fmt"
	"time"

	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// End says when a study ends by its forecast, as seen at the time at: "ends about 00:41, between 00:36 and 00:52". It
// is empty if that is not known.
func End(f *trellisv1.Forecast, at time.Time) string {
	left := f.GetSeconds()
	if left == nil {
		return ""
	}
	// Minutes are fine enough, unless little is left.
	layout := "15:04"
	if left.GetHigh() < 10*60 {
		layout = "15:04:05"
	}
	end := func(seconds float64) string { return clock(at, seconds, layout) }
	text := "ends about " + end(left.GetExpected())
	if low, high := end(left.GetLow()), end(left.GetHigh()); low != high {
		text += fmt.Sprintf(", between %s and %s", low, high)
	}
	return text
}

// EndShortly is End for a cell of a table: "00:41 (00:36-00:52)".
func EndShortly(f *trellisv1.Forecast, at time.Time) string {
	left := f.GetSeconds()
	if left == nil {
		return ""
	}
	end := func(seconds float64) string { return clock(at, seconds, "15:04") }
	text := end(left.GetExpected())
	if low, high := end(left.GetLow()), end(left.GetHigh()); low != high {
		text += fmt.Sprintf(" (%s-%s)", low, high)
	}
	return text
}

// clock is the user's clock some seconds after a time, with the day unless it is within half a day.
func clock(at time.Time, seconds float64, layout string) string {
	at = at.Local()
	after := output.DurationOf(seconds)
	end := at.Add(after)
	switch {
	case after < 12*time.Hour:
		return end.Format(layout)
	case after < 6*24*time.Hour:
		return end.Format("Mon " + layout)
	default:
		return end.Format(time.DateOnly)
	}
}

// Estimate writes a number that is not known yet, of things: "about 3100 epochs, between 2900 and 3400".
func Estimate(e *trellisv1.Estimate, write func(float64) string, things string) string {
	text, low, high := write(e.GetExpected())+things, write(e.GetLow()), write(e.GetHigh())
	if low == high {
		return text
	}
	return fmt.Sprintf("about %s, between %s and %s", text, low, high)
}

// WholeNumber writes a number of things.
func WholeNumber(value float64) string { return fmt.Sprintf("%.0f", value) }

// Sharing says what a study shares with other studies, in a sentence without its full stop, or nothing. from
// has the numbers of epochs by study; without it, the studies are not named.
func Sharing(progress *trellisv1.Progress, from map[string]uint64) string {
	if progress.GetEpochsShared() == 0 {
		return ""
	}
	source := "other studies"
	if len(from) > 0 {
		source = output.Largest(from)
	}
	return fmt.Sprintf("%s from %s, which took %s there", output.Count(progress.GetEpochsShared(), "epoch"), source,
		output.ShortSeconds(progress.GetSecondsShared()))
}
