package grid

import (
	"cmp"
	"fmt"
	"math"

	trellisv1 "trellis/proto/trellis/v1"
)

// ValueKey identifies a parameter's value, in maps. A whole number and the same number have the same key. That of no
// value at all is the zero ValueKey.
type ValueKey struct {
	kind trellisv1.Kind
	bits uint64
	text string
}

// KeyOf returns the key of a value.
func KeyOf(v *trellisv1.Value) ValueKey {
	switch kind := v.GetKind().(type) {
	case *trellisv1.Value_Number:
		// The sum takes -0 to 0, which it is equal to.
		return ValueKey{kind: trellisv1.Kind_KIND_NUMBER, bits: math.Float64bits(kind.Number + 0)}
	case *trellisv1.Value_Integer:
		return ValueKey{kind: trellisv1.Kind_KIND_NUMBER, bits: math.Float64bits(float64(kind.Integer))}
	case *trellisv1.Value_Text:
		return ValueKey{kind: trellisv1.Kind_KIND_TEXT, text: kind.Text}
	case *trellisv1.Value_Boolean:
		if kind.Boolean {
			return ValueKey{kind: trellisv1.Kind_KIND_BOOLEAN, bits: 1}
		}
		return ValueKey{kind: trellisv1.Kind_KIND_BOOLEAN}
	}
	return ValueKey{}
}

// append writes the key so that different keys never become the same bytes, even one after the other.
func (k ValueKey) append(data []byte) []byte {
	data = append(data, byte(k.kind))
	for shift := 0; shift < 64; shift += 8 {
		data = append(data, byte(k.bits>>shift))
	}
	if k.kind == trellisv1.Kind_KIND_TEXT {
		for n, shift := uint32(len(k.text)), 0; shift < 32; shift += 8 {
			data = append(data, byte(n>>shift))
		}
		data = append(data, k.text...)
	}
	return data
}

// KindOf returns the kind of a value.
func KindOf(v *trellisv1.Value) trellisv1.Kind {
	switch v.GetKind().(type) {
	case *trellisv1.Value_Number:
		return trellisv1.Kind_KIND_NUMBER
	case *trellisv1.Value_Integer:
		return trellisv1.Kind_KIND_INTEGER
	case *trellisv1.Value_Text:
		return trellisv1.Kind_KIND_TEXT
	case *trellisv1.Value_Boolean:
		return trellisv1.Kind_KIND_BOOLEAN
	}
	return trellisv1.Kind_KIND_UNSPECIFIED
}

// Compare orders values: numbers and integers by size, false before true, texts by their bytes; and values of different
// kinds, where no value comes first, by kind.
func Compare(a, b *trellisv1.Value) int {
	x, y := KeyOf(a), KeyOf(b)
	if x.kind != y.kind {
		return cmp.Compare(x.kind, y.kind)
	}
	if x.kind == trellisv1.Kind_KIND_NUMBER {
		return cmp.Compare(math.Float64frombits(x.bits), math.Float64frombits(y.bits))
	}
	return cmp.Or(cmp.Compare(x.bits, y.bits), cmp.Compare(x.text, y.text))
}

// Value returns a point's value of a parameter, max_epochs and the seed among them, or nil if it has none.
func Value(p *trellisv1.Parameters, name string) *trellisv1.Value {
	switch name {
	case MaxEpochs:
		return trellisv1.IntegerValue(int64(p.GetMaxEpochs()))
	case Seed:
		return trellisv1.IntegerValue(int64(p.GetSeed()))
	}
	return p.GetValues()[name]
}

// keyIn returns the key of a point's value of a parameter.
func keyIn(p *trellisv1.Parameters, name string) ValueKey {
	switch name {
	case MaxEpochs:
		return ValueKey{kind: trellisv1.Kind_KIND_NUMBER, bits: math.Float64bits(float64(p.GetMaxEpochs()))}
	case Seed:
		return ValueKey{kind: trellisv1.Kind_KIND_NUMBER, bits: math.Float64bits(float64(p.GetSeed()))}
	}
	return KeyOf(p.GetValues()[name])
}

// Key identifies a point by its values of the parameters of these names, in maps.
func Key(p *trellisv1.Parameters, names []string) string {
	var room [160]byte
	data := room[:0]
	for _, name := range names {
		data = keyIn(p, name).append(data)
	}
	return string(data)
}

// WithMaxEpochs returns a copy of a point with another max_epochs. They share the values of the other parameters.
func WithMaxEpochs(p *trellisv1.Parameters, epochs uint32) *trellisv1.Parameters {
	return &trellisv1.Parameters{MaxEpochs: epochs, Seed: p.GetSeed(), Values: p.GetValues()}
}

// maxInteger is the largest whole number that a parameter takes: up to it, all whole numbers are different as numbers.
const maxInteger = 1 << 53

// canonical returns the value as points have it: -0 is the same point as 0, and must have the same digits. problem says
// what is wrong with it.
func canonical(v *trellisv1.Value) (_ *trellisv1.Value, problem string) {
	switch kind := v.GetKind().(type) {
	case *trellisv1.Value_Number:
		if math.IsNaN(kind.Number) || math.IsInf(kind.Number, 0) {
			return nil, fmt.Sprintf("%v is not a number that a parameter can have", kind.Number)
		}
		if kind.Number == 0 && math.Signbit(kind.Number) {
			return trellisv1.NumberValue(0), ""
		}
	case *trellisv1.Value_Integer:
		if kind.Integer < -maxInteger || kind.Integer > maxInteger {
			return nil, fmt.Sprintf("%d is too large: a whole number may have up to 53 bits", kind.Integer)
		}
	case *trellisv1.Value_Text:
		if len(kind.Text) > maxText {
			return nil, fmt.Sprintf("a text may have at most %d bytes", maxText)
		}
		for _, char := range kind.Text {
			if char < ' ' || char == 0x7f {
				return nil, fmt.Sprintf("%q has a control character", kind.Text)
			}
		}
	case nil:
		return nil, "a value is missing: must be a number, a text, true or false"
	}
	return v, ""
}

// maxText is the maximum length of a text, in bytes.
const maxText = 1000
