package output

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ShortBytes writes a size for people: 512 B, 1.5 MiB, 20 GiB.
func ShortBytes(bytes uint64) string {
	units := []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	if bytes < 1024 {
		return fmt.Sprintf("%d B", bytes)
	}
	size, unit := float64(bytes), -1
	for size >= 1024 && unit+1 < len(units) {
		size /= 1024
		unit++
	}
	if size < 9.95 {
		return fmt.Sprintf("%.1f %s", size, units[unit])
	}
	return fmt.Sprintf("%.0f %s", size, units[unit])
}

// PlainNumber writes a number in full: reading it gives the same bits.
func PlainNumber(value float64) string {
	return strconv.FormatFloat(value, 'g', -1, 64)
}

// ShortNumber writes a number with four digits.
func ShortNumber(value float64) string {
	return strconv.FormatFloat(value, 'g', 4, 64)
}

// ShortLoss writes a loss with six decimals, as they are compared by eye.
func ShortLoss(value float64) string {
	if math.IsNaN(value) || math.IsInf(value, 0) || value != 0 && math.Abs(value) < 1e-4 || math.Abs(value) >= 1e4 {
		return ShortNumber(value)
	}
	return strconv.FormatFloat(value, 'f', 6, 64)
}

// Optional writes a number, or nothing if there is none.
func Optional(value *float64, write func(float64) string) string {
	if value == nil {
		return ""
	}
	return write(*value)
}

// Numbers writes numbers with spaces between them.
func Numbers(values []float64, write func(float64) string) string {
	texts := make([]string, len(values))
	for i, value := range values {
		texts[i] = write(value)
	}
	return strings.Join(texts, " ")
}

// Percent writes a share of 1: 95%.
func Percent(share float64) string { return ShortNumber(100*share) + "%" }
