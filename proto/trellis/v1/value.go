package trellisv1

import (
	"fmt"
	"math"
	"strconv"
)

// NumberValue is a parameter's value that is a number.
func NumberValue(x float64) *Value { return &Value{Kind: &Value_Number{x}} }

// IntegerValue is a parameter's value that is a whole number.
func IntegerValue(x int64) *Value { return &Value{Kind: &Value_Integer{x}} }

// TextValue is a parameter's value that is a text.
func TextValue(s string) *Value { return &Value{Kind: &Value_Text{s}} }

// BooleanValue is a parameter's value that is true or false.
func BooleanValue(b bool) *Value { return &Value{Kind: &Value_Boolean{b}} }

// ValueOf is the parameter's value that is a Go value: a float64, an int, a uint32, a string or a bool.
func ValueOf(value any) *Value {
	switch value := value.(type) {
	case float64:
		return NumberValue(value)
	case int:
		return IntegerValue(int64(value))
	case uint32:
		return IntegerValue(int64(value))
	case string:
		return TextValue(value)
	case bool:
		return BooleanValue(value)
	}
	panic(fmt.Sprintf("trellisv1: no parameter has a %T for its value", value))
}

// ValuesOf are parameters' values by name: see ValueOf.
func ValuesOf(values map[string]any) map[string]*Value {
	all := make(map[string]*Value, len(values))
	for name, value := range values {
		all[name] = ValueOf(value)
	}
	return all
}

// AxisOf is the axis with a list of values: see ValueOf.
func AxisOf[T float64 | int | uint32 | string | bool](values ...T) *Axis {
	axis := &Axis{Values: make([]*Value, len(values))}
	for i, value := range values {
		axis.Values[i] = ValueOf(value)
	}
	return axis
}

// Numeric returns the value as a number, if it is a number or an integer. It returns NaN otherwise.
func (v *Value) Numeric() (x float64, ok bool) {
	switch kind := v.GetKind().(type) {
	case *Value_Number:
		return kind.Number, true
	case *Value_Integer:
		return float64(kind.Integer), true
	}
	return math.NaN(), false
}

// Plain returns the value as a Go value: a float64, an int64, a string or a bool. It returns nil if there is none.
func (v *Value) Plain() any {
	switch kind := v.GetKind().(type) {
	case *Value_Number:
		return kind.Number
	case *Value_Integer:
		return kind.Integer
	case *Value_Text:
		return kind.Text
	case *Value_Boolean:
		return kind.Boolean
	}
	return nil
}

// Written returns the value as people and programs write it: numbers with the fewest digits that tell them from others,
// true and false. It returns "" if there is none.
func (v *Value) Written() string {
	switch kind := v.GetKind().(type) {
	case *Value_Number:
		return strconv.FormatFloat(kind.Number, 'g', -1, 64)
	case *Value_Integer:
		return strconv.FormatInt(kind.Integer, 10)
	case *Value_Text:
		return kind.Text
	case *Value_Boolean:
		return strconv.FormatBool(kind.Boolean)
	}
	return ""
}

// Numeric returns the value of a parameter as a number: NaN if it is not one, or the point does not have it.
func (p *Parameters) Numeric(name string) float64 {
	x, _ := p.GetValues()[name].Numeric()
	return x
}
