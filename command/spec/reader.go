package spec

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"buf.build/go/protoyaml"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	"trellis/command/output"
	"trellis/command/source"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/results/spelling"
)

// specReader looks at each part of a spec before protoyaml reads it. It spells out the short forms (an axis as a list
// or a single value, a grid that is not in a list, a model's own axes beside the others, pruning as one word) and finds
// what protoyaml would report in terms of Go and protobuf.
type specReader struct {
	models grid.Models
	// model is the one that the spec names, nil if there is none of that name.
	model *trellisv1.Model
	// program says that the spec is of a program, whose grids may have any axis.
	program bool

	// files is the folder of the program's files, nil if the spec names none.
	files *FilesFolder

	problems []source.Problem
}

var _ protoyaml.CustomUnmarshaler = (*specReader)(nil)

// Unmarshal leaves the reading to protoyaml, by returning false, unless node cannot be read as the message.
func (r *specReader) Unmarshal(node *yaml.Node, message proto.Message) (bool, error) {
	if node.Kind == yaml.AliasNode {
		r.report(node, "aliases are not supported in a spec: repeat the value")
		return true, nil
	}
	switch message := message.(type) {
	case *trellisv1.Axis:
		spellOutAxis(node)
		r.spellOutKind(node)
	case *trellisv1.Value:
		r.readValue(node, message)
		return true, nil
	case *trellisv1.StudySpec:
		spellOutGrid(node)
		r.gatherAxes(node)
		r.spellOutPruning(node)
		spellOutShares(node)
		r.spellOutObjective(node)
		r.spellOutOrder(node)
	case *trellisv1.Program:
		r.takeFiles(node)
		spellOutCommand(node)
		spellOutEnvironment(node)
	case *trellisv1.Resources:
		r.spellOutSizes(node)
	case *durationpb.Duration:
		return r.checkDuration(node), nil
	}
	if isNull(node) {
		return false, nil
	}
	if node.Kind != yaml.MappingNode {
		r.report(node, "expected "+shapeOf(message.ProtoReflect().Descriptor())+", found "+describe(node))
		return true, nil
	}
	r.checkFields(node, message.ProtoReflect().Descriptor())
	r.checkChoices(node, message.ProtoReflect().Descriptor())
	return false, nil
}

// checkFields reports keys and values that protoyaml would refuse, and takes them out of the node.
func (r *specReader) checkFields(node *yaml.Node, message protoreflect.MessageDescriptor) {
	seen := make(map[protoreflect.FieldNumber]*yaml.Node)
	kept := node.Content[:0]
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		field := fieldOf(message, key)
		if field == nil {
			r.report(key, r.unknownKey(message, key))
			continue
		}
		if first, ok := seen[field.Number()]; ok {
			r.report(key, fmt.Sprintf("%s is given twice, first on line %d", key.Value, first.Line))
			continue
		}
		seen[field.Number()] = key
		if r.checkValue(value, field) {
			kept = append(kept, key, value)
		}
	}
	node.Content = kept
}

// checkChoices reports keys that exclude each other, and takes all but the first out of the node.
func (r *specReader) checkChoices(node *yaml.Node, message protoreflect.MessageDescriptor) {
	chosen := make(map[protoreflect.Name]*yaml.Node)
	kept := node.Content[:0]
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if choice := fieldOf(message, key).ContainingOneof(); choice != nil && !choice.IsSynthetic() {
			if first, ok := chosen[choice.Name()]; ok {
				r.report(key, fmt.Sprintf("%s cannot be combined with %s on line %d: choose one", key.Value,
					first.Value,
					first.Line))
				continue
			}
			chosen[choice.Name()] = key
		}
		kept = append(kept, key, value)
	}
	node.Content = kept
}

// checkValue reports a value that the field cannot hold. Those of messages are checked when protoyaml comes to them.
func (r *specReader) checkValue(node *yaml.Node, field protoreflect.FieldDescriptor) bool {
	switch {
	case field.IsList():
		if node.Kind != yaml.SequenceNode {
			expected := "a list"
			if field.Name() == "command" {
				expected = "a list, for example [python, train.py]"
			}
			if field.Message() != nil {
				expected = shapeOf(field.Message()) + ", or a list of them"
			}
			r.report(node, fmt.Sprintf("expected %s, found %s", expected, describe(node)))
			return false
		}
		valid := true
		if field.Message() == nil {
			for _, item := range node.Content {
				valid = r.checkScalar(item, field) && valid
			}
		}
		return valid
	case field.IsMap():
		if node.Kind != yaml.MappingNode {
			expected := "values by name, for example {noise: 0.5}"
			if field.MapValue().Message() == nil {
				expected = `variables by name, for example {OMP_NUM_THREADS: "1"}`
			}
			r.report(node, fmt.Sprintf("expected %s, found %s", expected, describe(node)))
			return false
		}
		if field.MapValue().Message() != nil {
			return true
		}
		valid := true
		for i := 1; i < len(node.Content); i += 2 {
			valid = r.checkScalar(node.Content[i], field.MapValue()) && valid
		}
		return valid
	case field.Message() != nil:
		return true
	default:
		return r.checkScalar(node, field)
	}
}

func (r *specReader) checkScalar(node *yaml.Node, field protoreflect.FieldDescriptor) bool {
	var expected string
	switch field.Kind() {
	case protoreflect.Uint32Kind:
		value, err := strconv.ParseFloat(node.Value, 64)
		if node.Kind == yaml.ScalarNode && err == nil && value == float64(uint32(value)) {
			return true
		}
		expected = "a whole number, 0 or more"
		if value > math.MaxUint32 {
			expected = "a whole number up to 4294967295"
		}
	case protoreflect.Uint64Kind:
		value, err := strconv.ParseFloat(node.Value, 64)
		if node.Kind == yaml.ScalarNode && err == nil && value == math.Trunc(value) && 0 <= value && value < 1<<64 {
			return true
		}
		expected = "a whole number, 0 or more"
	case protoreflect.BoolKind:
		if node.Kind == yaml.ScalarNode && node.Tag == "!!bool" {
			return true
		}
		expected = "true or false"
	case protoreflect.DoubleKind:
		if _, err := strconv.ParseFloat(node.Value, 64); node.Kind == yaml.ScalarNode && err == nil {
			return true
		}
		expected = "a number"
	default:
		if node.Kind == yaml.ScalarNode && !isNull(node) {
			return true
		}
		expected = "a string"
	}
	r.report(node, fmt.Sprintf("expected %s, found %s", expected, describe(node)))
	return false
}

// checkDuration reports whether it has found a problem.
func (r *specReader) checkDuration(node *yaml.Node) bool {
	if node.Kind == yaml.ScalarNode {
		if _, err := protoyaml.ParseDuration(node.Value); err == nil {
			return false
		}
	}
	r.report(node, fmt.Sprintf("expected a duration with a unit, for example 50ms or 2s, found %s", describe(node)))
	return true
}

func (r *specReader) report(node *yaml.Node, message string) {
	r.problems = append(r.problems, source.Problem{Line: node.Line, Column: node.Column, Message: message})
}

// spellOutAxis turns a list or a single value into {values: [...]}.
func spellOutAxis(node *yaml.Node) {
	if node.Kind == yaml.MappingNode || isNull(node) {
		return
	}
	values := *node
	if node.Kind == yaml.ScalarNode {
		values = *listOf(node)
	}
	key := &yaml.Node{Kind: yaml.ScalarNode, Value: "values", Line: node.Line, Column: node.Column}
	*node = yaml.Node{
		Kind: yaml.MappingNode, Line: node.Line, Column: node.Column, Content: []*yaml.Node{key, &values},
	}
}

// spellOutGrid turns a single grid into a list of one.
func spellOutGrid(node *yaml.Node) {
	if node.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if value := node.Content[i+1]; node.Content[i].Value == "grid" && value.Kind == yaml.MappingNode {
			node.Content[i+1] = listOf(value)
		}
	}
}

// pruningNone is how a spec says that nothing is pruned, which is the default.
const pruningNone = "none"

// spellOutPruning turns the name of a method into the method with its default settings, and takes none out of the spec.
// It reports other words.
func (r *specReader) spellOutPruning(spec *yaml.Node) {
	if spec.Kind != yaml.MappingNode {
		return
	}
	methods := fieldNames(new(trellisv1.Pruning).ProtoReflect().Descriptor())
	kept := spec.Content[:0]
	for i := 0; i+1 < len(spec.Content); i += 2 {
		key, value := spec.Content[i], spec.Content[i+1]
		isWord := value.Kind == yaml.ScalarNode && !isNull(value)
		switch {
		case key.Value != "pruning" || !isWord:
			kept = append(kept, key, value)
		case value.Value == pruningNone:
		case slices.Contains(methods, value.Value):
			method, settings := *value, yaml.Node{Kind: yaml.MappingNode, Line: value.Line, Column: value.Column}
			kept = append(kept, key, &yaml.Node{
				Kind: yaml.MappingNode, Line: value.Line, Column: value.Column,
				Content: []*yaml.Node{&method, &settings},
			})
		default:
			r.report(value, spelling.Unknown("pruning", value.Value, append([]string{pruningNone}, methods...)))
		}
	}
	spec.Content = kept
}

// spellOutShares turns the percentage of audit into a share: 1% is 0.01. What is no percentage stays as it is.
func spellOutShares(spec *yaml.Node) {
	if spec.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(spec.Content); i += 2 {
		value := spec.Content[i+1]
		digits, percent := strings.CutSuffix(value.Value, "%")
		if spec.Content[i].Value != "audit" || value.Kind != yaml.ScalarNode || !percent {
			continue
		}
		if number, err := strconv.ParseFloat(strings.TrimSpace(digits), 64); err == nil {
			share := *value
			// Rounded, so that 7% is 0.07.
			share.Value, share.Tag, share.Style = strconv.FormatFloat(number/100, 'g', 15, 64), "!!float", 0
			spec.Content[i+1] = &share
		}
	}
}

// listOf returns a list whose only item is node, at node's position.
func listOf(node *yaml.Node) *yaml.Node {
	item := *node
	return &yaml.Node{Kind: yaml.SequenceNode, Line: node.Line, Column: node.Column, Content: []*yaml.Node{&item}}
}

func isNull(node *yaml.Node) bool {
	return node.Kind == yaml.ScalarNode && node.Tag == "!!null"
}

// fieldOf returns the field that key names, as proto or JSON spells it, or nil.
func fieldOf(message protoreflect.MessageDescriptor, key *yaml.Node) protoreflect.FieldDescriptor {
	if key.Kind != yaml.ScalarNode {
		return nil
	}
	field := message.Fields().ByTextName(key.Value)
	if field == nil {
		field = message.Fields().ByJSONName(key.Value)
	}
	if field == nil || isDeprecated(field) {
		return nil
	}
	return field
}

// describe says what a node is, in the words of someone who has written it.
func describe(node *yaml.Node) string {
	switch {
	case node.Kind == yaml.MappingNode:
		return "a mapping"
	case node.Kind == yaml.SequenceNode:
		return "a list"
	case node.Kind == yaml.AliasNode:
		return "an alias"
	case isNull(node):
		return "nothing"
	case node.Tag == "!!int" || node.Tag == "!!float" || node.Tag == "!!bool":
		return node.Value
	default:
		return strconv.Quote(output.Shorten(node.Value, 60))
	}
}
