package output

import (
	"encoding/json"
	"maps"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// appendFlat appends what people know in a form that is plainer than its message: values as themselves, points and grids as
// mappings from names, axes that are lists as lists, and series with null where they have no value. It reports whether the message is such a one.
func appendFlat(b []byte, m protoreflect.Message) (_ []byte, flat bool, err error) {
	switch message := m.Interface().(type) {
	case *trellisv1.Value:
		return appendPlain(b, message), true, nil
	case *trellisv1.Parameters:
		b = append(b, '{')
		for _, name := range append(grid.NamesOf(message), grid.Seed) {
			b = appendPlain(append(appendString(b, name), ':'), grid.Value(message, name))
			b = append(b, ',')
		}
		b[len(b)-1] = '}'
		return b, true, nil
	case *trellisv1.Series:
		return appendSeries(b, message), true, nil
	case *trellisv1.Grid:
		b = append(b, '{')
		for i, name := range slices.SortedFunc(maps.Keys(message.GetAxes()), grid.CompareNames) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, name), ':')
			if b, err = appendMessage(b, message.GetAxes()[name].ProtoReflect()); err != nil {
				return nil, true, err
			}
		}
		return append(b, '}'), true, nil
	case *trellisv1.Axis:
		if len(message.GetValues()) == 0 {
			break // A range.
		}
		b = append(b, '[')
		for i, value := range message.GetValues() {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendPlain(b, value)
		}
		return append(b, ']'), true, nil
	}
	return b, false, nil
}

// appendSeries appends a series with null where it has no value.
func appendSeries(b []byte, series *trellisv1.Series) []byte {
	b = append(b, `{"values":[`...)
	missing := series.GetMissing()
	for i, value := range series.GetValues() {
		if i > 0 {
			b = append(b, ',')
		}
		if len(missing) > 0 && int(missing[0]) == i {
			b, missing = append(b, "null"...), missing[1:]
			continue
		}
		b = appendPlain(b, trellisv1.NumberValue(value))
	}
	return append(b, "]}"...)
}

// appendPlain appends a value as JSON has it.
func appendPlain(b []byte, value *trellisv1.Value) []byte {
	switch plain := value.Plain().(type) {
	case nil:
		return append(b, "null"...)
	case string:
		return appendString(b, plain)
	case float64:
		// Of the errors that there can be, numbers cause none.
		b, _ = appendFloat(b, plain, func() ([]byte, error) { return json.Marshal(plain) })
		return b
	}
	return append(b, value.Written()...)
}

// isDeprecated says whether a field is only read from old data.
func isDeprecated(field protoreflect.FieldDescriptor) bool {
	options, _ := field.Options().(*descriptorpb.FieldOptions)
	return options.GetDeprecated()
}
