package spec

import (
	"fmt"
	"slices"
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/results/spelling"
)

// required says what to write where a value is missing, by the field's name.
var required = map[string]string{
	"name":          "name: my-search",
	"model":         "model: conv-autoencoder",
	"grid":          "grid: {latent_dim: [8, 16], learning_rate: 1e-3, max_epochs: 50}",
	"latent_dim":    "latent_dim: [8, 16]",
	"learning_rate": "learning_rate: {log10: {from: 1e-4, to: 1e-2, count: 3}}",
	"max_epochs":    "max_epochs: [50, 100]",
	"method":        "pruning: asha, or pruning: none, which is the default",
	"command":       "command: [python, train.py]",
	"pattern":       `pattern: 'epoch (?P<epoch>\d+) .* val_acc=(?P<val_acc>\S+)'`,
}

// plainViolation puts a broken rule in the words of someone who has written the spec: the rules that protovalidate
// words itself speak of protobuf. The rules that we have written speak for themselves.
func plainViolation(violation *protovalidate.Violation) *protovalidate.Violation {
	name := fieldName(violation.Proto.GetField())
	message := grid.RuleInWords(violation)
	switch rule := violation.Proto.GetRuleId(); {
	case rule == "required":
		message = name + " is missing or empty"
		if example, ok := required[name]; ok {
			message += ": for example, " + example
		}
	case rule == "string.in":
		message = unknownChoice(name, violation.FieldValue.String(), violation.RuleValue)
	case strings.HasPrefix(message, "must "):
		message = name + " " + message
	}
	plain := *violation
	plain.Proto = proto.CloneOf(violation.Proto)
	plain.Proto.Message = proto.String(message)
	return &plain
}

// atData puts what does not fit the images, if the spec's grid does not have it, at the data. Else it would stand at
// the first axis of the grid, which may be any.
func atData(message proto.Message, violation *protovalidate.Violation) *protovalidate.Violation {
	spec, ok := message.(*trellisv1.StudySpec)
	path := violation.Proto.GetField().GetElements()
	if !ok || violation.Proto.GetRuleId() != "data.network" || len(path) < 2 || !path[1].HasStringKey() ||
		path[0].GetIndex() >= uint64(len(spec.GetGrid())) {
		return violation
	}
	axis := path[1].GetStringKey()
	if spec.GetGrid()[path[0].GetIndex()].GetAxes()[axis] != nil {
		return violation
	}
	said := strings.Replace(violation.Proto.GetMessage(), " does not fit", " (the grid has no "+axis+") does not fit", 1)
	return grid.Violation(spec, violation.Proto.GetRuleId(), said, "data")
}

// fieldName is the last name on the way to a violation's field. The values of an axis are named like the axis.
func fieldName(path *validate.FieldPath) string {
	elements := path.GetElements()
	for _, element := range slices.Backward(elements) {
		if element.HasStringKey() {
			return element.GetStringKey()
		}
		if name := element.GetFieldName(); !slices.Contains(axisLists[:], name) {
			return name
		}
	}
	return "the spec"
}

// unknownChoice says that value is none of the choices, and which there are.
func unknownChoice(what, value string, choices protoreflect.Value) string {
	var names []string
	if list, ok := choices.Interface().(protoreflect.List); ok {
		for i := range list.Len() {
			names = append(names, list.Get(i).String())
		}
	}
	return spelling.Unknown(what, value, names)
}

// unknownKey says that message has no such key, and which one was likely meant.
func (r *specReader) unknownKey(message protoreflect.MessageDescriptor, key *yaml.Node) string {
	if key.Kind != yaml.ScalarNode {
		return "expected a name as the key, found " + describe(key)
	}
	if names := grid.AxisNames(r.model); message.Name() == "Grid" && len(spelling.Nearest(key.Value, names)) > 0 {
		return spelling.Unknown("key", key.Value, names)
	}
	misplaced := fmt.Sprintf("unknown key %q here", output.Shorten(key.Value, 60))
	if place, ok := placeOf(key); ok {
		return misplaced + ": it belongs " + place
	}
	if message.Name() == "Grid" {
		return spelling.Unknown("key", key.Value, grid.AxisNames(r.model))
	}
	if r.axis(key.Value) != nil {
		return misplaced + ": it belongs under grid"
	}
	return spelling.Unknown("key", key.Value, fieldNames(message))
}

// misspelt says whether a key at the top of a spec is unknown, and is told to be a misspelt name.
func misspelt(key *yaml.Node, name string) bool {
	spec := new(trellisv1.StudySpec).ProtoReflect().Descriptor()
	return key.Kind == yaml.ScalarNode && fieldOf(spec, key) == nil &&
		slices.Equal(spelling.Nearest(key.Value, fieldNames(spec)), []string{name})
}

// placeOf says where in a spec a key belongs.
func placeOf(key *yaml.Node) (string, bool) {
	spec := new(trellisv1.StudySpec).ProtoReflect().Descriptor()
	if fieldOf(spec, key) != nil {
		return "at the top level of the spec", true
	}
	if above := sectionOf(spec, key); above != nil {
		return "under " + strings.Join(above, ", "), true
	}
	return "", false
}

// sectionOf returns the names of the keys, from the top, under which a key is known somewhere below the top of a part
// of a spec, or nil.
func sectionOf(message protoreflect.MessageDescriptor, key *yaml.Node) []string {
	for i := range message.Fields().Len() {
		field := message.Fields().Get(i)
		if !isSection(field.Message()) || key.Value == "epochs" {
			continue // The epochs of an objective are written as of: {mean: 5}.
		}
		name := string(field.Name())
		if fieldOf(field.Message(), key) != nil {
			return []string{name}
		}
		if below := sectionOf(field.Message(), key); below != nil {
			return append([]string{name}, below...)
		}
	}
	return nil
}

// isSection says whether a message's keys say by themselves what they are about. Those of axes do not.
func isSection(message protoreflect.MessageDescriptor) bool {
	if message == nil || message.IsMapEntry() {
		return false
	}
	switch message.Name() {
	case "Axis", "Value", "Duration", "Objective":
		return false
	default:
		return true
	}
}

// pruningForms is what may follow pruning.
func pruningForms(message protoreflect.MessageDescriptor) string {
	words := append([]string{pruningNone}, fieldNames(message)...)
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last] + ", or a method with its settings, for example " +
		"{asha: {reduction_factor: 4, min_epochs: 5}}"
}

// shapeOf says how a part of a spec is written, for where something else was found.
func shapeOf(message protoreflect.MessageDescriptor) string {
	switch message.Name() {
	case "StudySpec":
		return "a spec: keys such as name, data, model and grid"
	case "Grid":
		return "a grid: its axes, for example {latent_dim: [8, 16], learning_rate: 1e-3, max_epochs: 50}"
	case "Settle":
		return "a confidence and a budget, for example {confidence: 0.95, max_seeds: 10}"
	case "Budget":
		return "how much to train, for example {trials: 500}, {epochs: 20000} or {time: 8h}"
	case "Objective":
		return "a metric and a direction, for example {metric: validation_accuracy, direction: maximize}"
	case "Pruning":
		return pruningForms(message)
	case "Program":
		return "a program: its command and what it runs beside, for example {command: [python, train.py], files: .}"
	case "Files":
		return "a folder, for example files: ."
	case "ReportPattern":
		return `a pattern, for example {pattern: 'epoch (?P<epoch>\d+) .* val_acc=(?P<val_acc>\S+)'}`
	case "Resources":
		return "what a run needs, for example {cpus: 2, gpus: 1, memory: 8GiB, time: 2h}"
	case "Range":
		return "a range, for example {from: 1e-4, to: 1e-2, count: 3}"
	default:
		return "a mapping with " + output.Enumerate(fieldNames(message))
	}
}

func fieldNames(message protoreflect.MessageDescriptor) []string {
	var names []string
	if message.Name() == "Axis" {
		names = append(names, "values")
	}
	for i := range message.Fields().Len() {
		field := message.Fields().Get(i)
		if !isDeprecated(field) && !(message.Name() == "Axis" && field.IsList()) {
			names = append(names, string(field.Name()))
		}
	}
	return names
}

// isDeprecated says whether a field is only read from old data.
func isDeprecated(field protoreflect.FieldDescriptor) bool {
	options, _ := field.Options().(*descriptorpb.FieldOptions)
	return options.GetDeprecated()
}
