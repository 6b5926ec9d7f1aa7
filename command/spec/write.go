package spec

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// YAML writes a spec as people do: axes as lists, a single grid without a list round it, nothing that is not set.
func YAML(spec *trellisv1.StudySpec) ([]byte, error) {
	data, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("write the spec: %w", err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		return nil, fmt.Errorf("turn JSON into YAML: %w", err)
	}
	top := document.Content[0]
	plainValues(top)
	output.BlockStyle(top)
	quoteTruths(top)
	plainNumbers(top, spec.GetProgram() != nil)
	plainWords(top)
	shortenSpec(top)
	return output.EncodeYAML(top)
}

// plainValues writes the values of parameters as themselves.
func plainValues(node *yaml.Node) {
	for _, child := range node.Content {
		plainValues(child)
	}
	if node.Kind != yaml.MappingNode || len(node.Content) != 2 {
		return
	}
	if list := node.Content[1]; list.Kind == yaml.SequenceNode {
		for _, value := range list.Content {
			switch node.Content[0].Value {
			case "integers":
				value.Tag = "!!int"
			case "numbers":
				value.Tag = ""
			}
		}
	}
	if node.Content[1].Kind != yaml.ScalarNode {
		return
	}
	line, column, value := node.Line, node.Column, node.Content[1]
	switch node.Content[0].Value {
	case "integer":
		value.Tag = "!!int"
	case "number":
		// It may be written like a whole number: the model knows what it is.
		value.Tag = ""
	case "text", "boolean":
	default:
		return
	}
	*node = *value
	node.Line, node.Column = line, column
}

// quoteTruths puts quotes round texts that could be taken for true or false.
func quoteTruths(node *yaml.Node) {
	if node.Kind == yaml.ScalarNode && IsOldTruth(node.Value) {
		node.Style = yaml.DoubleQuotedStyle
	}
	for _, child := range node.Content {
		quoteTruths(child)
	}
}

// plainNumbers writes all numbers as the other listings do. With points, those of parameters show that they are not whole
// numbers by kind: nothing but the spec says so of a program's.
func plainNumbers(node *yaml.Node, points bool) {
	parameter := node.Kind == yaml.ScalarNode && node.Tag == ""
	if node.Tag == "!!float" || parameter {
		if value, err := strconv.ParseFloat(node.Value, 64); err == nil {
			node.Value = output.PlainNumber(value)
			if points && parameter && !strings.ContainsAny(node.Value, ".e") {
				node.Value += ".0"
			}
		}
	}
	for _, child := range node.Content {
		plainNumbers(child, points)
	}
}

// plainWords writes the words of an order and an objective and the sizes of files as people do: direction: maximize, of: {mean: 5}.
func plainWords(spec *yaml.Node) {
	for i := 0; i+1 < len(spec.Content); i += 2 {
		switch section := spec.Content[i+1]; spec.Content[i].Value {
		case "order":
			if value := trellisv1.Order(0).Descriptor().Values().ByName(protoreflect.Name(section.Value)); value != nil {
				section.Value = strings.ReplaceAll(output.WordOf(value), "_", "-")
			}
		case "objective", "early_stopping":
			plainWord(section, "direction", trellisv1.Direction(0).Descriptor())
			plainWord(section, "of", trellisv1.Objective_Summary(0).Descriptor())
			plainMean(section)
		case "program":
			for _, name := range []string{"size", "count"} {
				if number := child(child(section, "files"), name); number != nil {
					number.Tag = "!!int"
				}
			}
		case "budget":
			for _, name := range []string{"trials", "epochs"} {
				if number := child(section, name); number != nil {
					number.Tag = "!!int"
				}
			}
		case "resources":
			if memory := child(section, "memory"); memory != nil {
				memory.Tag = "!!int"
			}
		}
	}
}

// plainWord writes the value of an enum as a spec has it.
func plainWord(section *yaml.Node, key string, enum protoreflect.EnumDescriptor) {
	word := child(section, key)
	if word == nil {
		return
	}
	if value := enum.Values().ByName(protoreflect.Name(word.Value)); value != nil {
		word.Value = output.WordOf(value)
	}
}

// plainMean writes a mean with its number of epochs.
func plainMean(section *yaml.Node) {
	of, epochs := child(section, "of"), child(section, "epochs")
	if of == nil || epochs == nil {
		return
	}
	key := *of
	*of = yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle, Content: []*yaml.Node{&key, epochs}}
	for i := 0; i+1 < len(section.Content); i += 2 {
		if section.Content[i+1] == epochs {
			section.Content = slices.Delete(section.Content, i, i+2)
			return
		}
	}
}

// child returns the value of a key of a mapping, or nil.
func child(node *yaml.Node, key string) *yaml.Node {
	if node == nil || node.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return node.Content[i+1]
		}
	}
	return nil
}

// shortenSpec turns what has a short form into it, writes what is below the axes in one line, and a model's own axes
// beside the others.
func shortenSpec(node *yaml.Node) {
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i].Value, node.Content[i+1]
		if key == "grid" && len(value.Content) == 1 {
			*value = *value.Content[0]
		}
		switch {
		case key == "grid" && value.Kind == yaml.SequenceNode:
			for _, grid := range value.Content {
				shortenSpec(grid)
			}
		case key == "grid", key == "axes":
			shortenSpec(value)
		case value.Kind == yaml.MappingNode && len(value.Content) == 2 && value.Content[1].Kind == yaml.SequenceNode:
			*value = *value.Content[1]
		case value.Kind == yaml.MappingNode:
			value.Style = yaml.FlowStyle
		}
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == "axes" {
			node.Content = slices.Replace(node.Content, i, i+2, inOrder(node.Content[i+1].Content)...)
			return
		}
	}
}

// inOrder are the axes of a grid, keys and values, in the order in which they are shown.
func inOrder(axes []*yaml.Node) []*yaml.Node {
	pairs := slices.Collect(slices.Chunk(axes, 2))
	slices.SortFunc(pairs, func(a, b []*yaml.Node) int { return grid.CompareNames(a[0].Value, b[0].Value) })
	return slices.Concat(pairs...)
}

// WithoutDefaults returns a spec without what would be filled in if it was left out: what a person would write of the spec
// of a study.
func WithoutDefaults(spec *trellisv1.StudySpec) *trellisv1.StudySpec {
	models := Models()
	full, short := models.WithDefaults(spec), proto.CloneOf(spec)
	// shorter takes something out of a spec, unless that changes it.
	shorter := func(take func(*trellisv1.StudySpec)) {
		tried := proto.CloneOf(short)
		if take(tried); proto.Equal(models.WithDefaults(tried), full) {
			short = tried
		}
	}
	fields := spec.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if field := fields.Get(i); spec.ProtoReflect().Has(field) {
			shorter(func(s *trellisv1.StudySpec) { s.ProtoReflect().Clear(field) })
		}
	}
	names := map[string]bool{}
	for _, its := range spec.GetGrid() {
		for name := range its.GetAxes() {
			names[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		shorter(func(s *trellisv1.StudySpec) {
			for _, its := range s.GetGrid() {
				delete(its.GetAxes(), name)
			}
		})
	}
	return short
}
