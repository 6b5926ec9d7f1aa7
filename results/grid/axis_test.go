//go:build !race

package grid

import (
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
)

// TestPoints compares with literals, that is to the last bit.
func TestPoints(t *testing.T) {
	for _, test := range []struct {
		name        string
		r           *trellisv1.Range
		logarithmic bool
		want        []float64
	}{
		{"decades", newRange(1e-4, 1e-2, 3), true, []float64{1e-4, 1e-3, 1e-2}},
		{"more decades", newRange(1e-7, 1, 8), true, []float64{1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1}},
		{
			"half decades", newRange(1e-3, 1e-1, 5), true,
			[]float64{1e-3, 0.00316227766017, 1e-2, 0.0316227766017, 1e-1},
		},
		{"thirds of a decade", newRange(1, 10, 4), true, []float64{1, 2.15443469003, 4.64158883361, 10}},
		{"doublings", newRange(4, 32, 4), true, []float64{4, 8, 16, 32}},
		{"thirds of a doubling", newRange(1, 2, 4), true, []float64{1, 1.25992104989, 1.58740105197, 2}},
		{
			"ends with many digits", newRange(0.123456789012345, 1.23456789012345, 3), true,
			[]float64{0.123456789012345, 0.39040464589, 1.23456789012345},
		},
		{"from the smallest number", newRange(5e-324, 1000, 3), true, []float64{5e-324, 7.02898033744e-161, 1000}},
		{"the widest range's ends", newRange(5e-324, 1000, 2), true, []float64{5e-324, 1000}},
		{"two ends", newRange(3, 7, 2), true, []float64{3, 7}},
		{"tenths", newRange(0, 1, 11), false, []float64{0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1}},
		{"thirds", newRange(0, 1, 4), false, []float64{0, 0.333333333333, 0.666666666667, 1}},
		{"whole", newRange(4, 32, 5), false, []float64{4, 11, 18, 25, 32}},
		{"small steps", newRange(1e-5, 3e-5, 3), false, []float64{1e-5, 2e-5, 3e-5}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := points(test.r, test.logarithmic); !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

// TestRoot: q^m is the ratio, to nearly all bits: nothing is left of a first guess that differs between platforms.
func TestRoot(t *testing.T) {
	for _, ratio := range []float64{1.0000001, 2, 10, 1e6, 1e300} {
		for _, m := range []int{2, 3, 10, 99, 9999} {
			q := root(exact(ratio), m)
			deviation := new(big.Float).Quo(power(new(big.Float).SetPrec(precision).Set(q), m), exact(ratio))
			deviation.Sub(deviation, exact(1))
			if got, _ := deviation.Float64(); math.Abs(got) > float64(m)*0x1p-191 {
				t.Errorf("root %d of %v is off by %g", m, ratio, got)
			}
		}
	}
	if q := root(exact(1024), 10); q.Cmp(exact(2)) != 0 {
		t.Errorf("root 10 of 1024 is %v", q)
	}
}

// TestPointsAgreeWithFormula: with 12 digits, ascending, and within rounding of the formula in plain float64.
func TestPointsAgreeWithFormula(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		logarithmic := rapid.Bool().Draw(t, "logarithmic")
		from := rapid.Float64Range(1e-12, 100).Draw(t, "from")
		to := from * rapid.Float64Range(1.01, 1e6).Draw(t, "ratio")
		r := newRange(from, to, rapid.Uint32Range(2, 1000).Draw(t, "count"))
		values := points(r, logarithmic)
		if len(values) != int(r.Count) || values[0] != from || values[len(values)-1] != to {
			t.Fatalf("%d points from %v to %v", len(values), values[0], values[len(values)-1])
		}
		for i := 1; i < len(values)-1; i++ {
			part := float64(i) / float64(r.Count-1)
			want := from + (to-from)*part
			if logarithmic {
				want = from * math.Pow(to/from, part)
			}
			if math.Abs(values[i]-want) > 1e-11*want {
				t.Fatalf("point %d is %v; the formula gives %v", i, values[i], want)
			}
			if values[i] <= values[i-1] {
				t.Fatalf("point %d is %v, after %v", i, values[i], values[i-1])
			}
			text := strconv.FormatFloat(values[i], 'e', significantDigits-1, 64)
			if again, err := strconv.ParseFloat(text, 64); err != nil || again != values[i] {
				t.Fatalf("point %d is %v, which has more than %d digits", i, values[i], significantDigits)
			}
		}
	})
}

// TestNearestWhole against trying every count.
func TestNearestWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		logarithmic := rapid.Bool().Draw(t, "logarithmic")
		from := rapid.Uint32Range(1, 50).Draw(t, "from")
		to := from + rapid.Uint32Range(1, 200).Draw(t, "span")
		if rapid.Bool().Draw(t, "powers") {
			to = from << rapid.Uint32Range(1, 8).Draw(t, "doublings")
		}
		r := newRange(float64(from), float64(to), rapid.Uint32Range(2, 300).Draw(t, "count"))
		want, best := uint32(0), uint32(math.MaxUint32)
		for count := uint32(2); count <= to-from+1; count++ {
			distance := max(count, r.Count) - min(count, r.Count)
			candidate := newRange(r.From, r.To, count)
			if distance <= best && !slices.ContainsFunc(points(candidate, logarithmic),
				func(x float64) bool { return x != math.Trunc(x) }) {
				want, best = count, distance
			}
		}
		if got := nearestWhole(r, logarithmic); got != want {
			t.Fatalf("got %d, want %d", got, want)
		}
	})
}

func TestGrouped(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0", 12: "12", 123: "123", 1234: "1,234", 123456: "123,456", 1_000_000_000_000: "1,000,000,000,000",
		math.MaxUint64: "18,446,744,073,709,551,615",
	} {
		if got := grouped(n); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestCountSaturates(t *testing.T) {
	c := count{1 << 32}
	if c.times(1 << 31); c.n != 1<<63 || c.String() != "9,223,372,036,854,775,808" {
		t.Errorf("got %s", c)
	}
	c.plus(1 << 62)
	if c.n != 1<<63+1<<62 {
		t.Errorf("got %s", c)
	}
	if c.plus(1 << 62); c.String() != "more than 18,446,744,073,709,551,614" {
		t.Errorf("got %s", c)
	}
	c = count{1 << 32}
	if c.times(1 << 33); c.n != math.MaxUint64 {
		t.Errorf("got %s", c)
	}
	if c.times(0); c.n != 0 {
		t.Errorf("nothing times something is %s", c)
	}
}

// Points of ranges by steps are the decimals that people mean, not the sums of rounded numbers.
func TestSteps(t *testing.T) {
	for _, test := range []struct {
		from, to, by float64
		want         string
	}{
		{0.1, 0.5, 0.1, "0.1 0.2 0.3 0.4 0.5"},
		{0, 1, 0.1, "0 0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9 1"},
		{-0.3, 0.3, 0.1, "-0.3 -0.2 -0.1 0 0.1 0.2 0.3"},
		{1e-5, 5e-5, 1e-5, "1e-05 2e-05 3e-05 4e-05 5e-05"},
		{0.7, 1.4, 0.35, "0.7 1.05 1.4"},
		{0, 1, 0.3, "0 0.3 0.6 0.9"}, // to is not one of the points.
		{0.5, 2, 0.5, "0.5 1 1.5 2"},
		{2, 8, 3, "2 5 8"},
		{2, 9, 3, "2 5 8"},
		{-10, -4, 2, "-10 -8 -6 -4"},
	} {
		axis := &trellisv1.Axis{Step: &trellisv1.Step{From: test.from, To: test.to, By: test.by}}
		b := builder{}
		values := b.values(axis, "seeds").values
		if err := b.err(); err != nil {
			t.Fatal(err)
		}
		var got []string
		whole := true
		for _, value := range values {
			x, _ := value.Numeric()
			got = append(got, strconv.FormatFloat(x, 'g', -1, 64))
			whole = whole && isWhole(x)
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("from %v to %v by %v: %v, want %s", test.from, test.to, test.by, got, test.want)
		}
		for _, value := range values {
			if whole != (KindOf(value) == trellisv1.Kind_KIND_INTEGER) {
				t.Errorf("from %v to %v by %v: %v", test.from, test.to, test.by, value)
			}
		}
	}
}

// The points of a program have values of one kind on each axis, in whatever way and in whichever grid they are written.
func TestKindsOfValues(t *testing.T) {
	axes := func(axis *trellisv1.Axis) *trellisv1.Grid {
		return &trellisv1.Grid{Axes: map[string]*trellisv1.Axis{"a": axis, "max_epochs": integers(1)}}
	}
	mixed := trellisv1.ListOf(trellisv1.IntegerValue(1), trellisv1.IntegerValue(2), trellisv1.NumberValue(2.5))
	for name, test := range map[string]struct {
		grids []*trellisv1.Grid
		kind  trellisv1.Kind
		want  string
	}{
		"texts":                       {[]*trellisv1.Grid{axes(trellisv1.AxisOf("b", "a", ""))}, trellisv1.Kind_KIND_TEXT, "b a "},
		"booleans":                    {[]*trellisv1.Grid{axes(trellisv1.AxisOf(true, false))}, trellisv1.Kind_KIND_BOOLEAN, "true false"},
		"integers":                    {[]*trellisv1.Grid{axes(trellisv1.AxisOf(3, 1))}, trellisv1.Kind_KIND_INTEGER, "3 1"},
		"whole numbers among numbers": {[]*trellisv1.Grid{axes(mixed)}, trellisv1.Kind_KIND_NUMBER, "1 2 2.5"},
		"numbers in another grid": {
			[]*trellisv1.Grid{axes(trellisv1.AxisOf(1, 2)), axes(trellisv1.AxisOf(0.5))}, trellisv1.Kind_KIND_NUMBER, "1 2 0.5",
		},
	} {
		spec := programSpec(&trellisv1.Program{})
		spec.Grid = test.grids
		trials, _, err := Expand(spec, nil, "1", nil)
		if err != nil {
			t.Fatal(name, err)
		}
		var got []string
		for _, trial := range trials {
			value := trial.GetParameters().GetValues()["a"]
			got = append(got, value.Written())
			if KindOf(value) != test.kind {
				t.Errorf("%s: %v", name, value)
			}
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: %v, want %s", name, got, test.want)
		}
	}
}
