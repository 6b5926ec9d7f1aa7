package spec

import (
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// Every way to write what is pruned, and what it means.
func TestPruningForms(t *testing.T) {
	asha := func(least, factor uint32) *trellisv1.Pruning {
		return &trellisv1.Pruning{Method: &trellisv1.Pruning_Asha{
			Asha: &trellisv1.SuccessiveHalving{MinEpochs: least, ReductionFactor: factor},
		}}
	}
	median := func(least uint32) *trellisv1.Pruning {
		return &trellisv1.Pruning{Method: &trellisv1.Pruning_Median{Median: &trellisv1.MedianStopping{MinEpochs: least}}}
	}
	for text, want := range map[string]*trellisv1.Pruning{
		"none":   nil,
		`"none"`: nil,
		"asha":   asha(0, 0),
		"median": median(0),
		"{asha: {reduction_factor: 4, min_epochs: 5}}": asha(5, 4),
		"{asha: {}}":               asha(0, 0),
		"{asha: }":                 asha(0, 0),
		"{median: {minEpochs: 3}}": median(3),
	} {
		t.Run(text, func(t *testing.T) {
			spec, err := Parse("spec.yaml", []byte(
				"name: good\nmodel: synthetic\ngrid: {latent_dim: 4, learning_rate: 1e-3, max_epochs: 40}\n"+
					"settle: {confidence: 0.9, max_seeds: 7}\npruning: "+text+"\n"))
			if err != nil {
				t.Fatal(err)
			}
			if got := spec.GetPruning(); !proto.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			if settle := (&trellisv1.Settle{Confidence: 0.9, MaxSeeds: 7}); !proto.Equal(spec.GetSettle(), settle) {
				t.Errorf("got %v, want %v", spec.GetSettle(), settle)
			}
		})
	}
}
