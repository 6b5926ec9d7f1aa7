package grid

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// notWhole says which point of an integer axis's range is not a whole number and which count would mend that. It
// returns "" if all are.
func notWhole(r *trellisv1.Range, logarithmic bool) string {
	for _, end := range []struct {
		name  string
		value float64
	}{{"from", r.GetFrom()}, {"to", r.GetTo()}} {
		if !isWhole(end.value) {
			return fmt.Sprintf("%s: %s is not a whole number, which this parameter takes", end.name, written(end.value))
		}
	}
	i := firstFraction(r, logarithmic)
	if i < 0 {
		return ""
	}
	better := proto.CloneOf(r)
	better.Count = nearestWhole(r, logarithmic)
	return fmt.Sprintf("point %d of %d is %s, and this parameter takes whole numbers: count: %d gives %s, or write a list",
		i+1, r.GetCount(), written(points(r, logarithmic)[i]), better.Count, list(points(better, logarithmic)))
}

// firstFraction returns the position of the first point that is not whole, -1 if there is none. Both ends are whole.
func firstFraction(r *trellisv1.Range, logarithmic bool) int {
	if !logarithmic {
		// Exactly: rounding could hide the fraction of a large number.
		if uint64(r.GetTo()-r.GetFrom())%uint64(r.GetCount()-1) == 0 {
			return -1
		}
		return 1
	}
	for i, point := range points(r, true) {
		if !isWhole(point) {
			return i
		}
	}
	return -1
}

// nearestWhole returns the count nearest to the range's, rather more than fewer, for which all points are whole.
func nearestWhole(r *trellisv1.Range, logarithmic bool) uint32 {
	candidate := proto.CloneOf(r)
	fits := func(count int) bool {
		if count < 2 || count > MaxAxisValues {
			return false
		}
		candidate.Count = uint32(count)
		if logarithmic {
			// Rules out nearly all counts at once, which the exact calculation would take long for.
			second := r.GetFrom() * math.Pow(r.GetTo()/r.GetFrom(), 1/float64(count-1))
			if math.Abs(second-math.Round(second)) > 1e-6*second {
				return false
			}
		}
		return firstFraction(candidate, logarithmic) < 0
	}
	count := int(r.GetCount())
	for distance := 0; count-distance >= 2 || count+distance <= MaxAxisValues; distance++ {
		if fits(count + distance) {
			return uint32(count + distance)
		}
		if fits(count - distance) {
			return uint32(count - distance)
		}
	}
	return 2 // The two ends, which are whole.
}

func isWhole(x float64) bool { return x == math.Trunc(x) }

// written writes a number as a spec would, with the digits that count.
func written(x float64) string { return strconv.FormatFloat(x, 'g', significantDigits, 64) }

// list writes the points, or the first and the last of many.
func list(values []float64) string {
	texts := make([]string, 0, len(values))
	for _, value := range values {
		texts = append(texts, written(value))
	}
	if len(texts) > 8 {
		texts = append(texts[:3], "...", texts[len(texts)-1])
	}
	return strings.Join(texts, ", ")
}
