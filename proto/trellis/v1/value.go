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
	axis := &Axis{}
	for _, value := range values {
		axis.Add(ValueOf(value))
	}
	return axis
}

// ListOf is the axis with a list of values. These are of one kind: integers among numbers are the same numbers.
func ListOf(values ...*Value) *Axis {
	axis := &Axis{}
	for _, value := range values {
		axis.Add(value)
	}
	return axis
}

// Add adds a value to the axis's list. With a number, the integers of the list are numbers too.
func (a *Axis) Add(value *Value) {
	switch kind := value.GetKind().(type) {
	case *Value_Number:
		a.ToNumbers()
		a.Numbers = append(a.Numbers, kind.Number)
	case *Value_Integer:
		if len(a.Numbers) > 0 {
			a.Numbers = append(a.Numbers, float64(kind.Integer))
		} else {
			a.Integers = append(a.Integers, kind.Integer)
		}
	case *Value_Text:
		a.Texts = append(a.Texts, kind.Text)
	case *Value_Boolean:
		a.Booleans = append(a.Booleans, kind.Boolean)
	}
}

// ToNumbers makes the integers of the axis's list numbers.
func (a *Axis) ToNumbers() {
	for _, integer := range a.Integers {
		a.Numbers = append(a.Numbers, float64(integer))
	}
	a.Integers = nil
}

// Listed returns how many values the axis's list has. It is 0 for a range.
func (a *Axis) Listed() int {
	return len(a.GetNumbers()) + len(a.GetIntegers()) + len(a.GetTexts()) + len(a.GetBooleans())
}

// GetValues returns the values of the axis's list. There are none if it is a range.
func (a *Axis) GetValues() []*Value {
	if a.Listed() == 0 {
		return nil
	}
	values := make([]*Value, 0, a.Listed())
	for _, number := range a.GetNumbers() {
		values = append(values, NumberValue(number))
	}
	for _, integer := range a.GetIntegers() {
		values = append(values, IntegerValue(integer))
	}
	for _, text := range a.GetTexts() {
		values = append(values, TextValue(text))
	}
	for _, boolean := range a.GetBooleans() {
		values = append(values, BooleanValue(boolean))
	}
	return values
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
