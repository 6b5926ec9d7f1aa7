package figure

import (
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
)

// minus writes a number with a minus sign instead of a hyphen, in front and in its exponent.
func minus(number string) string { return strings.ReplaceAll(number, "-", "\u2212") }

// linearTicks are where the library sets them, labelled with no more digits than it takes to tell them apart.
type linearTicks struct{}

// Ticks implements plot.Ticker.
func (linearTicks) Ticks(low, high float64) []plot.Tick {
	ticks := plot.DefaultTicks{}.Ticks(low, high)
	for i, tick := range ticks {
		if strings.Contains(tick.Label, ".") && !strings.ContainsAny(tick.Label, "eE") {
			ticks[i].Label = strings.TrimRight(strings.TrimRight(tick.Label, "0"), ".")
		}
		ticks[i].Label = minus(ticks[i].Label)
	}
	return ticks
}

// wholeTicks are labelled whole numbers, at most eleven.
type wholeTicks struct{}

// Ticks implements plot.Ticker.
func (wholeTicks) Ticks(low, high float64) []plot.Tick {
	step := 1
	for i := 0; float64(step*10) < high-low; i++ {
		// 1, 2, 5, 10, 20, 50, ...
		if i%3 == 1 {
			step = step / 2 * 5
		} else {
			step *= 2
		}
	}
	var ticks []plot.Tick
	for value := int(math.Ceil(low/float64(step))) * step; float64(value) <= high; value += step {
		ticks = append(ticks, plot.Tick{Value: float64(value), Label: minus(strconv.Itoa(value))})
	}
	return ticks
}

// logTicks are at 1 to 9 times the powers of ten. Labels are at 1, or at 1, 2 and 5, or at all of them: whatever makes
// three or more. A range with fewer, within a factor of 3, has the ticks of a linear axis.
type logTicks struct{}

// Ticks implements plot.Ticker.
func (logTicks) Ticks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for _, labelled := range []string{"1", "125", "123456789"} {
		ticks = ticks[:0]
		labels := 0
		for power := int(math.Floor(math.Log10(low))); power <= int(math.Ceil(math.Log10(high))); power++ {
			for digit := range 9 {
				// Read, not multiplied: 3e-2 has to be the number that is written so.
				written := strconv.Itoa(digit+1) + "e" + strconv.Itoa(power)
				value, err := strconv.ParseFloat(written, 64)
				if err != nil || value < low || value > high {
					continue
				}
				tick := plot.Tick{Value: value}
				for _, l := range labelled {
					if l == rune('1'+digit) {
						tick.Label = minus(strconv.FormatFloat(value, 'g', -1, 64))
						labels++
					}
				}
				ticks = append(ticks, tick)
			}
		}
		if labels >= 3 {
			return ticks
		}
	}
	return linearTicks{}.Ticks(low, high)
}
