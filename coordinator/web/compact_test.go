package web

import (
	"bytes"
	"encoding/json"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"pgregory.net/rapid"

	trellisv1 "trellis/proto/trellis/v1"
)

// Answers are compacted as json.Compact does it, whatever is in their strings.
func TestCompact(t *testing.T) {
	text := rapid.StringOf(rapid.RuneFrom([]rune{' ', '"', '\\', '\n', '\u2028', ',', ':', '{', 'a', 'é', '<'}))
	rapid.Check(t, func(t *rapid.T) {
		message := &trellisv1.GetCurvesResponse{
			Metric: text.Draw(t, "metric"), Metrics: rapid.SliceOf(text).Draw(t, "metrics"),
			Trials: rapid.SliceOf(rapid.Uint64()).Draw(t, "trials"), Levels: rapid.SliceOf(rapid.Byte()).Draw(t, "levels"),
			Epochs: rapid.SliceOf(rapid.Uint32()).Draw(t, "epochs"), Low: rapid.Float64().Draw(t, "low"),
		}
		// With more spaces than an answer has: how many those are depends on the binary.
		data, err := protojson.MarshalOptions{UseProtoNames: true, Multiline: true, Indent: "  "}.Marshal(message)
		if err != nil {
			t.Fatal(err)
		}
		data = bytes.ReplaceAll(data, []byte("\n"), []byte(" "))
		var want bytes.Buffer
		if err := json.Compact(&want, data); err != nil {
			t.Fatal(err)
		}
		if got := compact(bytes.Clone(data)); !bytes.Equal(got, want.Bytes()) {
			t.Fatalf("%s becomes %s, want %s", data, got, want.Bytes())
		}
		answer, err := marshal(message)
		if err != nil || !bytes.Equal(answer, want.Bytes()) {
			// protojson orders and writes the same in both forms.
			t.Fatalf("the answer is %s, want %s: %v", answer, want.Bytes(), err)
		}
	})
}
