package spec

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"google.golang.org/protobuf/reflect/protoreflect"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/spelling"
)

// spellOutObjective turns the words of an objective, and the direction of early stopping, into what protoyaml reads:
// direction: maximize into DIRECTION_MAXIMIZE, and of: {mean: 5} into a summary and its number of epochs. It reports
// other words.
func (r *specReader) spellOutObjective(spec *yaml.Node) {
	if spec.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(spec.Content); i += 2 {
		section := spec.Content[i+1]
		if name := spec.Content[i].Value; section.Kind != yaml.MappingNode || name != "objective" && name != "early_stopping" {
			continue
		}
		kept := section.Content[:0:0]
		for j := 0; j+1 < len(section.Content); j += 2 {
			key, value := section.Content[j], section.Content[j+1]
			switch key.Value {
			case "direction":
				if !r.spellOutWord(key.Value, value, trellisv1.Direction(0).Descriptor()) {
					continue
				}
			case "of":
				if value.Kind == yaml.MappingNode {
					epochs := r.spellOutMean(value)
					if epochs == nil {
						continue
					}
					at := yaml.Node{Kind: yaml.ScalarNode, Line: value.Line, Column: value.Column}
					word, name := at, at
					word.Value, name.Value = "mean", "epochs"
					kept = append(kept, &name, epochs)
					value = &word
				}
				if !r.spellOutWord(key.Value, value, trellisv1.Objective_Summary(0).Descriptor()) {
					continue
				}
			}
			kept = append(kept, key, value)
		}
		section.Content = kept
	}
}

// spellOutMean returns the number of epochs of {mean: 5}, or nil if that is not what the node is.
func (r *specReader) spellOutMean(node *yaml.Node) *yaml.Node {
	if len(node.Content) == 2 && node.Content[0].Value == "mean" {
		return node.Content[1]
	}
	r.report(node, "expected best, last or {mean: 5}, a mean of the last values")
	return nil
}

// spellOutOrder turns the word of an order into what protoyaml reads: as-written into ORDER_AS_WRITTEN. It reports other
// words.
func (r *specReader) spellOutOrder(spec *yaml.Node) {
	if spec.Kind != yaml.MappingNode {
		return
	}
	kept := spec.Content[:0:0]
	for i := 0; i+1 < len(spec.Content); i += 2 {
		key, value := spec.Content[i], spec.Content[i+1]
		if key.Value != "order" || r.spellOutWord(key.Value, value, trellisv1.Order(0).Descriptor()) {
			kept = append(kept, key, value)
		}
	}
	spec.Content = kept
}

// spellOutWord turns the word of an enum into its name, and says whether there is such a word.
func (r *specReader) spellOutWord(what string, node *yaml.Node, enum protoreflect.EnumDescriptor) bool {
	zero := string(enum.Values().Get(0).Name())
	prefix := strings.TrimSuffix(zero, "UNSPECIFIED")
	var words []string
	for i := 1; i < enum.Values().Len(); i++ {
		name := string(enum.Values().Get(i).Name())
		word := strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, prefix)), "_", "-")
		if node.Kind == yaml.ScalarNode && (node.Value == word || node.Value == name) {
			spelt := *node
			spelt.Value, spelt.Tag, spelt.Style = name, "!!str", 0
			*node = spelt
			return true
		}
		words = append(words, word)
	}
	if node.Kind != yaml.ScalarNode || isNull(node) {
		r.report(node, fmt.Sprintf("expected %s, found %s", strings.Join(words, " or "), describe(node)))
	} else {
		r.report(node, spelling.Unknown(what, node.Value, words))
	}
	return false
}
