package output

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// appendMessage appends a message's JSON to b. It is that of protojson with the names of the spec and with zeros, which are
// values here, in the order of the fields' declaration, but for two things: enums are words (see EnumWord), and one that is
// unspecified is left out; integers are numbers whatever their size. The same message gives the same bytes.
func appendMessage(b []byte, m protoreflect.Message) ([]byte, error) {
	if m.Descriptor().ParentFile().Package() == "google.protobuf" {
		// Times and durations have a form of their own.
		data, err := protojson.Marshal(m.Interface())
		return append(b, data...), err
	}
	if flat, ok, err := appendFlat(b, m); ok {
		return flat, err
	}
	b = append(b, '{')
	first := true
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		value := m.Get(field)
		if isDeprecated(field) {
			continue
		}
		if !m.Has(field) && field.HasPresence() || isUnspecified(field, value) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(appendString(b, string(field.Name())), ':')
		var err error
		if b, err = appendField(b, field, value); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

// isUnspecified says whether a field is an enum without a value.
func isUnspecified(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
	return field.Kind() == protoreflect.EnumKind && !field.IsList() && !field.IsMap() && value.Enum() == 0
}

func appendField(b []byte, field protoreflect.FieldDescriptor, value protoreflect.Value) ([]byte, error) {
	switch {
	case field.IsList():
		return appendList(b, field, value.List())
	case field.IsMap():
		return appendMap(b, field, value.Map())
	default:
		return appendValue(b, field, value)
	}
}

func appendList(b []byte, field protoreflect.FieldDescriptor, list protoreflect.List) ([]byte, error) {
	b = append(b, '[')
	for i := range list.Len() {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = appendValue(b, field, list.Get(i)); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

// appendMap writes the entries in the order of their keys' texts.
func appendMap(b []byte, field protoreflect.FieldDescriptor, entries protoreflect.Map) ([]byte, error) {
	var keys []protoreflect.MapKey
	for key := range entries.Range {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b protoreflect.MapKey) int { return cmp.Compare(a.String(), b.String()) })
	b = append(b, '{')
	for i, key := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, key.String()), ':')
		var err error
		if b, err = appendValue(b, field.MapValue(), entries.Get(key)); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

func appendValue(b []byte, field protoreflect.FieldDescriptor, value protoreflect.Value) ([]byte, error) {
	switch field.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return appendMessage(b, value.Message())
	case protoreflect.EnumKind:
		return appendString(b, enumWord(field.Enum(), value.Enum())), nil
	case protoreflect.StringKind:
		return appendString(b, value.String()), nil
	case protoreflect.BytesKind:
		return appendString(b, base64.StdEncoding.EncodeToString(value.Bytes())), nil
	case protoreflect.BoolKind:
		return strconv.AppendBool(b, value.Bool()), nil
	case protoreflect.FloatKind:
		return appendFloat(b, value.Float(), func() ([]byte, error) { return json.Marshal(float32(value.Float())) })
	case protoreflect.DoubleKind:
		return appendFloat(b, value.Float(), func() ([]byte, error) { return json.Marshal(value.Float()) })
	default:
		// An integer.
		return fmt.Append(b, value.Interface()), nil
	}
}

// appendFloat writes a number as marshal does, or one of the three that JSON has no number for as a string.
func appendFloat(b []byte, value float64, marshal func() ([]byte, error)) ([]byte, error) {
	switch {
	case math.IsNaN(value):
		return append(b, `"NaN"`...), nil
	case math.IsInf(value, 1):
		return append(b, `"Infinity"`...), nil
	case math.IsInf(value, -1):
		return append(b, `"-Infinity"`...), nil
	}
	data, err := marshal()
	return append(b, data...), err
}

// appendString writes a text without escaping what only HTML takes for something else.
func appendString(b []byte, text string) []byte {
	var out jsonText
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	// A string can always be written: what is not UTF-8 in it is replaced.
	_ = encoder.Encode(text)
	return append(b, out[:len(out)-1]...)
}

// jsonText is written by an encoder, which ends it with a newline.
type jsonText []byte

func (t *jsonText) Write(data []byte) (int, error) {
	*t = append(*t, data...)
	return len(data), nil
}
