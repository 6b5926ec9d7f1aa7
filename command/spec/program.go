package spec

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// spellOutEnvironment turns numbers and truth values among the variables of a program into texts: OMP_NUM_THREADS: 1.
func spellOutEnvironment(program *yaml.Node) {
	if program.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(program.Content); i += 2 {
		if variables := program.Content[i+1]; program.Content[i].Value == "environment" &&
			variables.Kind == yaml.MappingNode {
			for j := 1; j < len(variables.Content); j += 2 {
				asText(variables.Content[j])
			}
		}
	}
}

// spellOutCommand turns numbers and truth values among the parts of a program's command into texts: [sleep, 1].
func spellOutCommand(program *yaml.Node) {
	if program.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(program.Content); i += 2 {
		if parts := program.Content[i+1]; program.Content[i].Value == "command" && parts.Kind == yaml.SequenceNode {
			for _, part := range parts.Content {
				asText(part)
			}
		}
	}
}

// asText makes a number or truth value the text that is written.
func asText(node *yaml.Node) {
	if node.Kind == yaml.ScalarNode && !isNull(node) {
		node.Tag, node.Style = "!!str", yaml.DoubleQuotedStyle
	}
}

// sizeUnits are what a size in bytes may end in.
var sizeUnits = []struct {
	suffix string
	bytes  float64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}}

// spellOutSizes turns a size such as 8GiB into a number of bytes. It reports what is no size, and takes it out.
func (r *specReader) spellOutSizes(resources *yaml.Node) {
	if resources.Kind != yaml.MappingNode {
		return
	}
	kept := resources.Content[:0]
	for i := 0; i+1 < len(resources.Content); i += 2 {
		key, value := resources.Content[i], resources.Content[i+1]
		if key.Value == "memory" && value.Kind == yaml.ScalarNode && !isNull(value) {
			bytes, ok := ParseSize(value.Value)
			if !ok {
				r.report(value, fmt.Sprintf("expected a size in bytes, for example 8GiB or 500MiB, found %s", describe(value)))
				continue
			}
			size := *value
			size.Value, size.Tag, size.Style = strconv.FormatUint(bytes, 10), "!!int", 0
			value = &size
		}
		kept = append(kept, key, value)
	}
	resources.Content = kept
}

// ParseSize reads a size in bytes, such as 8GiB.
func ParseSize(text string) (bytes uint64, ok bool) {
	number, scale := strings.TrimSpace(text), 1.0
	for _, unit := range sizeUnits {
		if rest, found := strings.CutSuffix(number, unit.suffix); found {
			number, scale = strings.TrimSpace(rest), unit.bytes
			break
		}
	}
	value, err := strconv.ParseFloat(number, 64)
	if value *= scale; err != nil || !(value >= 1) || value > math.MaxInt64/2 {
		return 0, false
	}
	return uint64(math.Round(value)), true
}
