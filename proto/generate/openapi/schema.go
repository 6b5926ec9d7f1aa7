package main

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// matchRule matches a rule that is a regular expression.
var matchRule = regexp.MustCompile(`^this\.matches\('([^'\\]*)'\)$`)

// number is the schema of numbers: JSON has none that are not finite.
const number = "Number"

// optional marks a member that is unset, and not zero or empty, if it is left out. Schemas have no word for that.
const optional = "x-optional"

// schemas are those of the messages and enums that calls use, by name.
type schemas struct {
	written map[protoreflect.FullName]bool
	all     object
}

// numberSchema describes number.
var numberSchema = object{}.
	with("description", "A number, or one of those that JSON has no number for. A diverged loss is NaN.").
	with("oneOf", []object{
		object{}.with("type", "number"),
		object{}.with("type", "string").with("enum", []string{"NaN", "Infinity", "-Infinity"}),
	})

func reference(name string) object {
	return object{}.with("$ref", "#/components/schemas/"+name)
}

// message returns a reference to a message's schema, or what stands for one of protobuf's own.
func (s *schemas) message(d protoreflect.MessageDescriptor) object {
	switch d.FullName() {
	case "google.protobuf.Timestamp":
		return object{}.with("type", "string").with("format", "date-time")
	case "google.protobuf.Duration":
		return object{}.with("type", "string").with("pattern", `^-?[0-9]{1,12}(\.[0-9]{1,9})?s$`)
	}
	name := nameOf(d)
	if !s.written[d.FullName()] {
		s.written[d.FullName()] = true
		s.all = append(s.all, member{name, nil})
		at := len(s.all) - 1
		s.all[at].value = s.fields(d, nil)
	}
	return reference(name)
}

// nameOf is a descriptor's name without its package.
func nameOf(d protoreflect.Descriptor) string {
	return strings.TrimPrefix(string(d.FullName()), string(d.ParentFile().Package())+".")
}

// fields returns the schema of a message without the fields left out.
func (s *schemas) fields(d protoreflect.MessageDescriptor, leftOut []string) object {
	properties, required := object{}, []string{}
	fields := d.Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if isDeprecated(field) || slices.Contains(leftOut, string(field.Name())) {
			continue
		}
		properties = append(properties, member{string(field.Name()), s.field(field)})
		if rulesOf(field).GetRequired() {
			required = append(required, string(field.Name()))
		}
	}
	schema := object{}.with("type", "object").with("description", described(d)).
		with("properties", properties).with("required", required)
	if strings.HasSuffix(string(d.Name()), "Request") {
		schema = schema.with("additionalProperties", false)
	}
	return schema
}

// described is the comment on a message, with its rules.
func described(d protoreflect.MessageDescriptor) string {
	parts := []string{comment(d)}
	rules, _ := proto.GetExtension(d.Options(), validate.E_Message).(*validate.MessageRules)
	for _, rule := range rules.GetCel() {
		parts = append(parts, sentence(rule.GetMessage()))
	}
	return strings.TrimSpace(strings.Join(parts, " "))
}

func sentence(text string) string {
	if text == "" || strings.HasSuffix(text, ".") {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// field returns the schema of a field.
func (s *schemas) field(field protoreflect.FieldDescriptor) object {
	rules := rulesOf(field)
	description := []string{comment(field)}
	for _, rule := range rules.GetCel() {
		description = append(description, sentence(rule.GetMessage()))
	}
	if oneof := field.ContainingOneof(); oneof != nil && !oneof.IsSynthetic() {
		description = append(description, "At most one of "+strings.Join(members(oneof), ", ")+" is set.")
	}
	var schema object
	switch {
	case field.IsMap():
		schema = object{}.with("type", "object").with("additionalProperties", s.value(field.MapValue(), nil))
		if most := rules.GetMap(); most != nil && most.MaxPairs != nil {
			schema = schema.with("maxProperties", most.GetMaxPairs())
		}
	case field.IsList():
		schema = object{}.with("type", "array").with("items", s.value(field, rules.GetRepeated().GetItems()))
		if its := rules.GetRepeated(); its != nil {
			schema = bounds(schema, "minItems", "maxItems", its.MinItems, its.MaxItems)
		}
		if rules.GetRequired() && rules.GetRepeated().GetMinItems() == 0 {
			schema = schema.with("minItems", 1)
		}
	default:
		schema = s.value(field, rules)
	}
	if field.HasPresence() && field.Message() == nil {
		schema = schema.with(optional, true)
	}
	return schema.with("description", strings.TrimSpace(strings.Join(description, " ")))
}

func members(oneof protoreflect.OneofDescriptor) (names []string) {
	for i := range oneof.Fields().Len() {
		names = append(names, string(oneof.Fields().Get(i).Name()))
	}
	return names
}

func bounds(schema object, least, most string, from, to *uint64) object {
	if from != nil {
		schema = schema.with(least, *from)
	}
	if to != nil {
		schema = schema.with(most, *to)
	}
	return schema
}

// value returns the schema of a field's value, or of one of them.
func (s *schemas) value(field protoreflect.FieldDescriptor, rules *validate.FieldRules) object {
	switch field.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return s.message(field.Message())
	case protoreflect.EnumKind:
		return s.enum(field.Enum())
	case protoreflect.BoolKind:
		return object{}.with("type", "boolean")
	case protoreflect.StringKind:
		its := rules.GetString()
		schema := object{}.with("type", "string")
		if its != nil {
			schema = bounds(schema, "minLength", "maxLength", its.MinLen, its.MaxLen).with("pattern", its.GetPattern())
		}
		for _, rule := range rules.GetCel() {
			if found := matchRule.FindStringSubmatch(rule.GetExpression()); found != nil {
				schema = schema.with("pattern", found[1])
			}
		}
		if rules.GetRequired() && its.GetMinLen() == 0 {
			schema = schema.with("minLength", 1)
		}
		return schema
	case protoreflect.BytesKind:
		return object{}.with("type", "string").with("contentEncoding", "base64")
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		return reference(number)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		least, most := uint64(rules.GetUint32().GetGte()), uint64(math.MaxUint32)
		if _, given := rules.GetUint32().GetLessThan().(*validate.UInt32Rules_Lte); given {
			most = uint64(rules.GetUint32().GetLte())
		}
		return object{}.with("type", "integer").with("format", "uint32").with("minimum", least).with("maximum", most)
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return object{}.with("type", "integer").with("format", "int32").
			with("minimum", math.MinInt32).with("maximum", math.MaxInt32)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return object{}.with("type", "string").with("format", "uint64").with("pattern", "^[0-9]{1,19}$")
	default:
		return object{}.with("type", "string").with("format", "int64").with("pattern", "^-?[0-9]{1,18}$")
	}
}

// enum returns a reference to an enum's schema.
func (s *schemas) enum(d protoreflect.EnumDescriptor) object {
	name := nameOf(d)
	if !s.written[d.FullName()] {
		s.written[d.FullName()] = true
		names, lines := []string{}, []string{comment(d)}
		for i := range d.Values().Len() {
			value := d.Values().Get(i)
			names = append(names, string(value.Name()))
			if text := comment(value); text != "" {
				lines = append(lines, fmt.Sprintf("%s: %s", value.Name(), text))
			}
		}
		s.all = append(s.all, member{name, object{}.with("type", "string").with("enum", names).
			with("description", strings.TrimSpace(strings.Join(lines, "\n")))})
	}
	return reference(name)
}

// rulesOf returns what a field's value has to be.
func rulesOf(field protoreflect.FieldDescriptor) *validate.FieldRules {
	rules, _ := proto.GetExtension(field.Options(), validate.E_Field).(*validate.FieldRules)
	return rules
}

func isDeprecated(field protoreflect.FieldDescriptor) bool {
	options, _ := field.Options().(*descriptorpb.FieldOptions)
	return options.GetDeprecated()
}

// comment is the comment above a declaration, as one paragraph. Indented lines are a drawing, and are left out.
func comment(d protoreflect.Descriptor) string {
	var lines []string
	for line := range strings.Lines(d.ParentFile().SourceLocations().ByDescriptor(d).LeadingComments) {
		if !strings.HasPrefix(line, "     ") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return strings.Join(strings.Fields(strings.Join(lines, " ")), " ")
}
