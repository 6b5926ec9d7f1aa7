package spec

import (
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"

	"trellis/command/source"
	trellisv1 "trellis/proto/trellis/v1"
)

// otherKind recognizes the spec of a study where that of a reproduction is expected, and the other way around: instead of
// what is wrong with each of its keys, there is one thing to say.
func otherKind(document *yaml.Node, expected proto.Message) []source.Problem {
	_, study := expected.(*trellisv1.StudySpec)
	grid, stages := keyOf(document, "grid"), keyOf(document, "stages")
	switch {
	case study && stages != nil && grid == nil:
		return []source.Problem{{
			Line: stages.Line, Column: stages.Column,
			Message: "this is the spec of a reproduction, which has stages: to run it, use trellis reproduce",
		}}
	case !study && grid != nil && stages == nil:
		return []source.Problem{{
			Line: grid.Line, Column: grid.Column,
			Message: "this is the spec of a study, which has a grid: to run it, use trellis run or trellis submit",
		}}
	}
	return nil
}

// keyOf returns a key of a mapping, or nil if the node has none of that name.
func keyOf(node *yaml.Node, name string) *yaml.Node {
	if node.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == name {
			return node.Content[i]
		}
	}
	return nil
}
