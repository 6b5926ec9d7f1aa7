package output

import (
	"encoding/json"
	"slices"
	"testing"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"trellis/command/fake"
	trellisv1 "trellis/proto/trellis/v1"
)

// What JSON and YAML say is what the coordinator has said, NaN and all.
func TestOutputKeepsValues(t *testing.T) {
	for _, want := range slices.Concat(fake.Trials(), fake.MeasuredTrials()) {
		data, err := marshalJSON(want, "")
		if err != nil {
			t.Fatal(err)
		}
		node, err := yamlNode(want)
		if err != nil {
			t.Fatal(err)
		}
		text, err := EncodeYAML(node)
		if err != nil {
			t.Fatal(err)
		}
		var document map[string]any
		if err := yaml.Unmarshal(text, &document); err != nil {
			t.Fatal(err)
		}
		fromYAML, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		for name, data := range map[string][]byte{"JSON": data, "YAML": fromYAML} {
			got := new(trellisv1.Trial)
			if err := protojson.Unmarshal(data, got); err != nil || !proto.Equal(got, want) {
				t.Errorf("%s: got %v, %v, want %v", name, got, err, want)
			}
		}
	}
}
