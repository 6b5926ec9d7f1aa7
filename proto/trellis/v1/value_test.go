package trellisv1

import (
	"testing"

	"google.golang.org/protobuf/proto"
)

// An axis has its values in one list of their kind. Integers among numbers are numbers, whichever came first.
func TestListOf(t *testing.T) {
	one, half := IntegerValue(1), NumberValue(0.5)
	for _, test := range []struct {
		values []*Value
		want   *Axis
	}{
		{nil, &Axis{}},
		{[]*Value{one, IntegerValue(-2)}, &Axis{Integers: []int64{1, -2}}},
		{[]*Value{one, half, one}, &Axis{Numbers: []float64{1, 0.5, 1}}},
		{[]*Value{half, one}, &Axis{Numbers: []float64{0.5, 1}}},
		{[]*Value{TextValue("a"), TextValue("")}, &Axis{Texts: []string{"a", ""}}},
		{[]*Value{BooleanValue(false), BooleanValue(true)}, &Axis{Booleans: []bool{false, true}}},
	} {
		got := ListOf(test.values...)
		if !proto.Equal(got, test.want) || got.Listed() != len(test.values) {
			t.Errorf("the axis of %v is %v, want %v", test.values, got, test.want)
		}
		if again := ListOf(got.GetValues()...); !proto.Equal(again, got) {
			t.Errorf("the axis of the values of %v is %v", got, again)
		}
	}
}
