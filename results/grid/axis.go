package grid

import (
	"math"
	"math/big"
	"strconv"

	trellisv1 "trellis/proto/trellis/v1"
)

// significantDigits is how many decimal digits the inner points of a range keep. So {log10: {from: 1e-4, to: 1e-2,
// count: 3}} contains 1e-3, and not a neighboring number that no other study would use.
const significantDigits = 12

// axis is the distinct values that one parameter takes, in order, and where each of them stands.
type axis struct {
	values    []*trellisv1.Value
	positions map[ValueKey]uint64
}

// newAxis indexes values. If two are equal, ok is false and i and j are their positions.
func newAxis(values []*trellisv1.Value) (a axis, i, j uint64, ok bool) {
	a = axis{values: values, positions: make(map[ValueKey]uint64, len(values))}
	for j, value := range values {
		if i, twice := a.position(value); twice {
			return a, i, uint64(j), false
		}
		a.positions[KeyOf(value)] = uint64(j)
	}
	return a, 0, 0, true
}

func (a *axis) position(value *trellisv1.Value) (uint64, bool) {
	position, ok := a.positions[KeyOf(value)]
	return position, ok
}

func (a *axis) size() uint64 { return uint64(len(a.values)) }

// rangeOf returns the axis's range, the name of its field, and whether it is logarithmic; nil if the axis is a list or
// has steps.
func rangeOf(a *trellisv1.Axis) (r *trellisv1.Range, field string, logarithmic bool) {
	switch {
	case a.GetLinear() != nil:
		return a.GetLinear(), "linear", false
	case a.GetLog2() != nil:
		return a.GetLog2(), "log2", true
	case a.GetLog10() != nil:
		return a.GetLog10(), "log10", true
	}
	return nil, "", false
}

// nearly is how near to a whole number of steps the end of a range by steps must be to be one of its points.
const nearly = 1e-9

// stepCount returns how many points a range by steps has. It is 0 for one that makes no sense.
func stepCount(s *trellisv1.Step) uint64 {
	steps := (s.GetTo() - s.GetFrom()) / s.GetBy()
	if !(s.GetBy() > 0) || !(steps > 0) || steps > maxInteger {
		return 0
	}
	return uint64(steps+nearly) + 1
}

// steps returns the points of a range by steps: from + i*by, calculated with the decimals as they are written, and to
// exactly where one of them is nearly there. So 0.1 + 2*0.1 is 0.3, and -0.3 + 3*0.1 is 0.
func steps(s *trellisv1.Step) []float64 {
	values := make([]float64, stepCount(s))
	at, by := decimal(s.GetFrom()), decimal(s.GetBy())
	for i := range values {
		values[i], _ = at.Float64()
		if i > 0 && math.Abs(values[i]-s.GetTo()) <= nearly*s.GetBy() {
			values[i] = s.GetTo()
		}
		at.Add(at, by)
	}
	return values
}

// decimal returns the shortest decimal number that is read as x.
func decimal(x float64) *big.Rat {
	number, ok := new(big.Rat).SetString(strconv.FormatFloat(x, 'e', -1, 64))
	if !ok {
		return new(big.Rat) // Not a finite number: there are no points.
	}
	return number
}

// points returns a range's points: from and to exactly, and between them, rounded to 12 significant decimal digits,
//
//	linear:       from + (to - from) * i/(count-1)
//	logarithmic:  from * (to/from) ^ (i/(count-1))
//
// It requires from < to, 0 < from if logarithmic, and 2 <= count.
func points(r *trellisv1.Range, logarithmic bool) []float64 {
	var inner func(i int) float64
	if logarithmic {
		inner = geometric(r)
	} else {
		steps := float64(r.GetCount() - 1)
		inner = func(i int) float64 {
			// The conversions keep compilers from fusing the product and the sum, which some platforms do.
			step := float64((r.GetTo()-r.GetFrom())*float64(i)) / steps
			return round(strconv.FormatFloat(r.GetFrom()+float64(step), 'e', significantDigits-1, 64))
		}
	}
	values := make([]float64, r.GetCount())
	for i := range values {
		switch i {
		case 0:
			values[i] = r.GetFrom()
		case len(values) - 1:
			values[i] = r.GetTo()
		default:
			values[i] = inner(i)
		}
	}
	return values
}

// precision, in bits, of the calculation of logarithmic ranges, and how many of these are kept of a common ratio.
const precision, keptPrecision = 256, 192

// geometric returns the inner points of a logarithmic range; i goes up by one from 1.
func geometric(r *trellisv1.Range) func(i int) float64 {
	if r.GetCount() == 2 {
		return nil
	}
	x := exact(r.GetFrom())
	q := root(new(big.Float).Quo(exact(r.GetTo()), x), int(r.GetCount()-1))
	return func(int) float64 {
		x.Mul(x, q)
		return round(x.Text('e', significantDigits-1))
	}
}

// root returns ratio^(1/m), for m of at least 2.
//
// math.Log and math.Exp are not the same on every platform, so that the last of the 12 digits could differ. This solves
// f(q) = q^m - ratio by Newton's method instead, with so many bits that what is left of the first guess is far below
// anything that is kept.
func root(ratio *big.Float, m int) *big.Float {
	// The ratio itself may be too large for a float64, its root is not.
	mantissa := new(big.Float)
	exponent := ratio.MantExp(mantissa)
	fraction, _ := mantissa.Float64()
	q := exact(math.Exp((math.Log(fraction) + float64(exponent)*math.Ln2) / float64(m)))
	// Relative errors: 1e-12 at first; one step turns e into m/2 * e^2 < 1e4 * e^2; so 1e-20, 1e-36, 1e-68.
	for range 4 {
		// q += q/m * (ratio/q^m - 1)
		correction := new(big.Float).Quo(ratio, power(q, m))
		correction.Sub(correction, exact(1))
		correction.Mul(correction, q)
		q.Add(q, correction.Quo(correction, exact(float64(m))))
	}
	return q.SetPrec(keptPrecision) // Rounds: a root such as 2 becomes exact.
}

// exact returns x to calculate with.
func exact(x float64) *big.Float { return new(big.Float).SetPrec(precision).SetFloat64(x) }

// power returns x^n, for n of at least 1.
func power(x *big.Float, n int) *big.Float {
	result := new(big.Float).SetPrec(x.Prec()).SetInt64(1)
	square := new(big.Float).Set(x)
	for ; n > 0; n >>= 1 {
		if n&1 == 1 {
			result.Mul(result, square)
		}
		square.Mul(square, square)
	}
	return result
}

// round reads back a number that was written with the digits that count.
func round(text string) float64 {
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		panic("grid: a number that strconv or math/big wrote is no number: " + err.Error())
	}
	return value
}
