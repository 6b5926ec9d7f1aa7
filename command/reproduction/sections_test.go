package reproduction

import (
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/paper"
)

// TestTestLossThatIsNotKnown: a trial whose epochs were trained for others may have none, which is not 0.
func TestTestLossThatIsNotKnown(t *testing.T) {
	trained := func(loss *float64) Trained {
		return Trained{
			Study: &trellisv1.Study{Name: "s"},
			Trial: &trellisv1.Trial{TestLoss: loss, Parameters: &trellisv1.Parameters{Values: map[string]float64{"noise": 0.1}}},
		}
	}
	row := func(loss *float64) (grid, denoising paper.Result) {
		m := &Material{Autoencoder: trained(loss), Denoising: []Trained{trained(loss)}}
		results := gridResults(m)
		return results[len(results)-1], denoisingResults(m)[0]
	}
	if grid, denoising := row(proto.Float64(0.5)); grid.Ours != "0.5" || denoising.Ours != "0.5" || denoising.Difference != "+0.4731" {
		t.Errorf("with a loss: %+v and %+v", grid, denoising)
	}
	grid, denoising := row(nil)
	for _, result := range []paper.Result{grid, denoising} {
		if result.Ours != "not known" || result.Difference != "" || result.Note == "" {
			t.Errorf("without a loss: %+v", result)
		}
	}
}
