package export

import (
	"math"
	"strconv"

	trellisv1 "trellis/proto/trellis/v1"
)

// Column is a column of a table.
type Column struct {
	Name string
	Kind Kind
}

// Cell is a value in a column, or none.
type Cell struct {
	known   bool
	kind    Kind
	integer int64
	number  float64
	text    string
}

func integerCell[T uint32 | uint64 | int64](value T) Cell {
	return Cell{known: true, kind: Integer, integer: int64(value)}
}

func numberCell(value float64) Cell { return Cell{known: true, kind: Number, number: value} }

// textCell has no value if the text is empty.
func textCell(value string) Cell { return Cell{known: value != "", kind: Text, text: value} }

func optionalCell(value *float64) Cell {
	if value == nil {
		return Cell{}
	}
	return numberCell(*value)
}

// inMap is a number by its name, or no value.
func inMap(values map[string]float64, name string) Cell {
	value, ok := values[name]
	return Cell{known: ok, kind: Number, number: value}
}

// parameterCell is a parameter's value in a column of a kind, which may be wider than its own.
func parameterCell(value *trellisv1.Value, kind Kind) Cell {
	if value == nil {
		return Cell{}
	}
	cell := Cell{known: true, kind: kind}
	switch kind {
	case Integer:
		cell.integer = value.GetInteger()
	case Number:
		if cell.number = value.GetNumber(); kindOf(value) == Integer {
			cell.number = float64(value.GetInteger())
		}
	case Boolean:
		if value.GetBoolean() {
			cell.integer = 1
		}
	case Text:
		cell.text = value.Written()
	}
	return cell
}

// String is the value as CSV has it. Numbers have the fewest digits that tell them from others; those that are not
// finite are NaN, inf and -inf.
func (c Cell) String() string {
	switch {
	case !c.known:
		return ""
	case c.kind == Integer:
		return strconv.FormatInt(c.integer, 10)
	case c.kind == Boolean:
		return strconv.FormatBool(c.integer != 0)
	case c.kind == Text:
		return c.text
	}
	return numberText(c.number)
}

func numberText(value float64) string {
	switch {
	case math.IsInf(value, 1):
		return "inf"
	case math.IsInf(value, -1):
		return "-inf"
	}
	return strconv.FormatFloat(value, 'g', -1, 64)
}
