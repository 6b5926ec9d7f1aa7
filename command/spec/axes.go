package spec

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/agext/levenshtein"
	"go.yaml.in/yaml/v3"

	"trellis/command/source"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// gatherAxes moves the axes of grids into the map that the message has for them, and a batch size at the top into each
// grid. Keys that no model knows stay where they are, and are reported like all unknown ones, unless the spec is of a
// program.
func (r *specReader) gatherAxes(spec *yaml.Node) {
	if spec.Kind != yaml.MappingNode {
		return
	}
	var grids, fixed, batchKey, batchSize *yaml.Node
	kept := make([]*yaml.Node, 0, len(spec.Content))
	for i := 0; i+1 < len(spec.Content); i += 2 {
		key, value := spec.Content[i], spec.Content[i+1]
		switch key.Value {
		case "model":
			r.model = r.models.Find(value.Value)
		case "program":
			r.program = true
		case "grid":
			grids = value
		case "fixed":
			fixed = value
		case grid.BatchSize, "batchSize":
			if batchKey != nil {
				r.reportTwice(key, batchKey)
			}
			batchKey, batchSize = clone(key), value
			batchKey.Value = grid.BatchSize
			continue
		default:
			// Reported as misspelt: its axes need not be unknown besides.
			r.program = r.program || misspelt(key, "program")
		}
		kept = append(kept, key, value)
	}
	spec.Content = kept
	r.readFixed(fixed)
	if grids == nil || grids.Kind != yaml.SequenceNode {
		return
	}
	for _, its := range grids.Content {
		if its.Kind != yaml.MappingNode {
			continue
		}
		if batchKey != nil && keyOf(its, grid.BatchSize) == nil {
			its.Content = append(its.Content, clone(batchKey), clone(batchSize))
		}
		r.gatherAxesOf(its)
	}
}

// readFixed reads the values of fixed as those of axes. The model is known by now.
func (r *specReader) readFixed(fixed *yaml.Node) {
	if fixed == nil || fixed.Kind != yaml.MappingNode {
		return
	}
	seen := make(map[string]*yaml.Node)
	kept := fixed.Content[:0]
	for i := 0; i+1 < len(fixed.Content); i += 2 {
		key, value := fixed.Content[i], fixed.Content[i+1]
		if name, ok := r.nameOf(key.Value); ok && name != key.Value {
			key = clone(key)
			key.Value = name
		}
		if first, ok := seen[key.Value]; ok {
			r.reportTwice(key, first)
			continue
		}
		seen[key.Value] = key
		kept = append(kept, key, value)
		if r.program || value.Kind != yaml.ScalarNode {
			continue // Of a program, any value will do.
		}
		axis := r.axis(key.Value)
		if axis.GetKind() == trellisv1.Kind_KIND_INTEGER {
			readTruth(value)
		}
		r.checkKind(axis, value)
	}
	fixed.Content = kept
}

// clone copies a node, because reading changes it.
func clone(node *yaml.Node) *yaml.Node {
	if node == nil {
		return nil
	}
	copied := *node
	copied.Content = make([]*yaml.Node, len(node.Content))
	for i, child := range node.Content {
		copied.Content[i] = clone(child)
	}
	return &copied
}

func (r *specReader) reportTwice(key, first *yaml.Node) {
	r.report(key, fmt.Sprintf("%s is given twice, first on line %d", key.Value, first.Line))
}

func (r *specReader) gatherAxesOf(its *yaml.Node) {
	seen := make(map[string]*yaml.Node)
	var axes []*yaml.Node
	add := func(key, value *yaml.Node) {
		if name, ok := r.nameOf(key.Value); ok && name != key.Value {
			key = clone(key)
			key.Value = name
		}
		if first, ok := seen[key.Value]; ok {
			r.reportTwice(key, first)
			return
		}
		seen[key.Value] = key
		if r.program {
			r.checkReserved(key, its)
		}
		axis := r.axis(key.Value)
		if axis.GetKind() == trellisv1.Kind_KIND_INTEGER {
			readTruth(value)
		}
		r.checkKind(axis, value)
		axes = append(axes, key, value)
	}
	kept := its.Content[:0]
	for i := 0; i+1 < len(its.Content); i += 2 {
		key, value := its.Content[i], its.Content[i+1]
		switch {
		case key.Value == "axes" && value.Kind == yaml.MappingNode:
			for j := 0; j+1 < len(value.Content); j += 2 {
				add(value.Content[j], value.Content[j+1])
			}
		case key.Value == "axes" && !isNull(value):
			r.report(value, "expected axes by name, for example {noise: [0.3, 0.5]}, found "+describe(value))
		case key.Kind == yaml.ScalarNode && (r.program || r.isAxis(key.Value)):
			add(key, value)
		default:
			kept = append(kept, key, value)
		}
	}
	if its.Content = kept; len(axes) == 0 {
		return
	}
	// What is missing among them is missing in the grid.
	at := yaml.Node{Line: its.Line, Column: its.Column}
	key, value := at, at
	key.Kind, key.Value = yaml.ScalarNode, "axes"
	value.Kind, value.Content = yaml.MappingNode, axes
	its.Content = append(its.Content, &key, &value)
}

// checkReserved reports the name of a program's parameter that was probably meant to be max_epochs, seed or seeds: it would be
// one parameter more, silently.
func (r *specReader) checkReserved(key, its *yaml.Node) {
	const typos = 2
	plain := strings.ToLower(strings.NewReplacer("_", "", "-", "", ".", "").Replace(key.Value))
	switch {
	case key.Value == grid.MaxEpochs || key.Value == grid.Seed || key.Value == grid.Seeds:
	case plain == grid.Seed || plain == grid.Seeds:
		r.report(key, key.Value+" would be a parameter of the program beside the seed: write seeds at the top level of the spec, for "+
			"example seeds: [1, 2], or choose another name")
	case levenshtein.Distance(plain, "maxepochs", nil) <= typos && keyOf(its, grid.MaxEpochs) == nil:
		r.report(key, key.Value+" would be a parameter of the program, and each run would have one epoch: did you mean max_epochs?")
	}
}

// isAxis says whether a key is the name of an axis of a model.
func (r *specReader) isAxis(key string) bool {
	_, ok := r.nameOf(key)
	return ok
}

// nameOf returns the name of the axis of a model that a key names, as itself or as in JSON: learningRate.
func (r *specReader) nameOf(key string) (name string, ok bool) {
	if r.axis(key) != nil || r.program {
		return key, r.axis(key) != nil
	}
	for _, char := range key {
		if unicode.IsUpper(char) {
			name += "_"
		}
		name += string(unicode.ToLower(char))
	}
	return name, r.axis(name) != nil
}

// checkKind reports values in a list, or alone, that are not of the kind that an axis takes.
func (r *specReader) checkKind(axis *trellisv1.ModelAxis, node *yaml.Node) {
	switch node.Kind {
	case yaml.SequenceNode:
		for _, item := range node.Content {
			if item.Kind == yaml.ScalarNode {
				r.checkKind(axis, item)
			}
		}
	case yaml.MappingNode:
		if values := valueOf(node, "values"); values != nil && values.Kind == yaml.SequenceNode {
			r.checkKind(axis, values)
		}
	case yaml.ScalarNode:
		number := node.Tag == "!!int" || node.Tag == "!!float"
		switch kind := axis.GetKind(); {
		case isNull(node):
		case kind == trellisv1.Kind_KIND_NUMBER && !number:
			r.report(node, "expected a number, found "+describe(node))
		case kind == trellisv1.Kind_KIND_INTEGER && !number:
			r.report(node, "expected a whole number, found "+describe(node))
		}
	}
}

// valueOf returns the value of a key of a mapping, or nil if there is no such key.
func valueOf(node *yaml.Node, name string) *yaml.Node {
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == name {
			return node.Content[i+1]
		}
	}
	return nil
}

// axis returns the axis of that name which the spec's model has, else that of another model, else nil. A program's parameters
// are its own, whatever models call theirs.
func (r *specReader) axis(name string) *trellisv1.ModelAxis {
	if r.program {
		return grid.Axis(nil, name)
	}
	for _, model := range slices.Concat([]*trellisv1.Model{r.model}, r.models) {
		if axis := grid.Axis(model, name); axis != nil {
			return axis
		}
	}
	return nil
}

// oldTruths are the words for true and false that YAML had before version 1.2, in which they are texts.
var oldTruths = map[string]bool{"yes": true, "no": false, "on": true, "off": false}

// IsOldTruth says whether a word stood for true or false in old YAML. A text like it needs quotes.
func IsOldTruth(word string) bool {
	_, old := oldTruths[strings.ToLower(word)]
	return old
}

// readValue reads a parameter's value, which is a number, a text, true or false.
func (r *specReader) readValue(node *yaml.Node, value *trellisv1.Value) {
	if node.Kind == yaml.ScalarNode {
		switch node.Tag {
		case "!!int":
			if x, err := strconv.ParseInt(node.Value, 0, 64); err == nil {
				value.Kind = &trellisv1.Value_Integer{Integer: x}
				return
			}
			if x, err := strconv.ParseFloat(node.Value, 64); err == nil {
				value.Kind = &trellisv1.Value_Number{Number: x}
				return
			}
		case "!!float":
			var x float64
			if err := node.Decode(&x); err == nil && !math.IsNaN(x) && !math.IsInf(x, 0) {
				value.Kind = &trellisv1.Value_Number{Number: x}
				return
			}
		case "!!bool":
			var truth bool
			if err := node.Decode(&truth); err == nil {
				value.Kind = &trellisv1.Value_Boolean{Boolean: truth}
				return
			}
		case "!!str", "!!timestamp":
			if _, err := strconv.ParseFloat(node.Value, 64); node.Style == 0 && errors.Is(err, strconv.ErrRange) {
				r.report(node, node.Value+" is too large for a number; a text that looks like one needs quotes")
				return
			}
			if IsOldTruth(node.Value) && node.Style == 0 {
				r.report(node, fmt.Sprintf("%s would be a text: write %t, or %q for the text", node.Value,
					oldTruths[strings.ToLower(node.Value)], node.Value))
			}
			value.Kind = &trellisv1.Value_Text{Text: node.Value}
			return
		}
	}
	r.report(node, "expected a number, a text, true or false, found "+describe(node))
}

// axisLists are the names of the lists that an axis has, one for each kind of values.
var axisLists = [...]string{
	trellisv1.Kind_KIND_NUMBER: "numbers", trellisv1.Kind_KIND_INTEGER: "integers", trellisv1.Kind_KIND_TEXT: "texts",
	trellisv1.Kind_KIND_BOOLEAN: "booleans",
}

// spellOutKind turns the values of an axis into the list of their kind. It reports values of another kind than those
// before them, and takes them and what is no value out of the list.
func (r *specReader) spellOutKind(node *yaml.Node) {
	if node.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, list := node.Content[i], node.Content[i+1]
		if key.Value != "values" {
			continue
		}
		kind := trellisv1.Kind_KIND_UNSPECIFIED
		if list.Kind == yaml.SequenceNode {
			kind = r.readList(list)
		}
		if kind == trellisv1.Kind_KIND_UNSPECIFIED {
			kind = trellisv1.Kind_KIND_NUMBER
		}
		named := *key
		named.Value = axisLists[kind]
		node.Content[i] = &named
	}
}

// readList writes the items of a list in the one way that protoyaml reads, and returns their kind.
func (r *specReader) readList(list *yaml.Node) trellisv1.Kind {
	var read trellisv1.Axis
	kept := list.Content[:0:0]
	for _, item := range list.Content {
		var value trellisv1.Value
		if r.readValue(item, &value); value.Kind == nil {
			continue
		}
		if problem := grid.Mixed(&read, &value); problem != "" {
			if !r.reported(item) {
				r.report(item, problem)
			}
			continue
		}
		read.Add(&value)
		written := *item
		written.Tag, written.Value, written.Style = tags[grid.KindOf(&value)], value.Written(), 0
		kept = append(kept, &written)
	}
	list.Content = kept
	return grid.ListKind(&read)
}

// reported says whether something is known to be wrong with a node.
func (r *specReader) reported(node *yaml.Node) bool {
	return slices.ContainsFunc(r.problems, func(p source.Problem) bool { return p.Line == node.Line && p.Column == node.Column })
}

// tags are those of values in YAML.
var tags = map[trellisv1.Kind]string{
	trellisv1.Kind_KIND_NUMBER: "!!float", trellisv1.Kind_KIND_INTEGER: "!!int", trellisv1.Kind_KIND_TEXT: "!!str",
	trellisv1.Kind_KIND_BOOLEAN: "!!bool",
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
