package spec

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	trellisv1 "trellis/proto/trellis/v1"
)

// gatherAxes moves the axes that only one model has, which stand beside the others in a grid, into the map that the
// message has for them. Keys that no model knows stay where they are, and are reported like all unknown ones.
func (r *specReader) gatherAxes(spec *yaml.Node) {
	if spec.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(spec.Content); i += 2 {
		switch value := spec.Content[i+1]; spec.Content[i].Value {
		case "model":
			r.model = r.models.Find(value.Value)
		case "grid":
			// The model may be named below.
			defer func() {
				for _, grid := range value.Content {
					if value.Kind == yaml.SequenceNode && grid.Kind == yaml.MappingNode {
						r.gatherAxesOf(grid)
					}
				}
			}()
		}
	}
}

func (r *specReader) gatherAxesOf(grid *yaml.Node) {
	message := new(trellisv1.Grid).ProtoReflect().Descriptor()
	seen := make(map[string]*yaml.Node)
	var axes []*yaml.Node
	add := func(key, value *yaml.Node) {
		if first, ok := seen[key.Value]; ok {
			r.report(key, fmt.Sprintf("%s is given twice, first on line %d", key.Value, first.Line))
			return
		}
		seen[key.Value] = key
		if axis := r.ownAxis(key.Value); axis.GetInteger() {
			readTruth(value)
		}
		axes = append(axes, key, value)
	}
	kept := grid.Content[:0]
	for i := 0; i+1 < len(grid.Content); i += 2 {
		key, value := grid.Content[i], grid.Content[i+1]
		switch {
		case key.Value == "axes" && value.Kind == yaml.MappingNode:
			for j := 0; j+1 < len(value.Content); j += 2 {
				add(value.Content[j], value.Content[j+1])
			}
		case fieldOf(message, key) == nil && r.ownAxis(key.Value) != nil:
			add(key, value)
		default:
			kept = append(kept, key, value)
		}
	}
	if grid.Content = kept; len(axes) == 0 {
		return
	}
	// What is missing among them is missing in the grid.
	at := yaml.Node{Line: grid.Line, Column: grid.Column}
	key, value := at, at
	key.Kind, key.Value = yaml.ScalarNode, "axes"
	value.Kind, value.Content = yaml.MappingNode, axes
	grid.Content = append(grid.Content, &key, &value)
}

// ownAxis returns the axis of that name which only the spec's model has, else that of another model, else nil.
func (r *specReader) ownAxis(name string) *trellisv1.ModelAxis {
	for _, model := range slices.Concat([]*trellisv1.Model{r.model}, r.models) {
		for _, axis := range model.GetAxes() {
			if axis.GetName() == name {
				return axis
			}
		}
	}
	return nil
}

// readTruth turns true and false into 1 and 0, in an axis of whole numbers.
func readTruth(node *yaml.Node) {
	if node.Kind == yaml.ScalarNode && node.Tag == "!!bool" {
		node.Tag = "!!int"
		if strings.EqualFold(node.Value, "true") {
			node.Value = "1"
		} else {
			node.Value = "0"
		}
	}
	for _, child := range node.Content {
		readTruth(child)
	}
}
