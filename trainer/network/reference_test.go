package network

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"trellis/trainer/adam"
)

// reference is what PyTorch computed. Its field "about" says from which weights.
type reference struct {
	Params []struct {
		Name      string
		Shape     []int
		GradL2    float64   `json:"grad_l2"`
		GradSum   float64   `json:"grad_sum"`
		GradFirst []float64 `json:"grad_first"`
	}
	Losses      []float64
	LR          float64
	WeightDecay float64 `json:"weight_decay"`
	N, Latent   int
}

func TestReference(t *testing.T) {
	data, err := os.ReadFile("../testdata/reference.json")
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"conv_autoencoder", "conv_autoencoder_odd"} {
		t.Run(name, func(t *testing.T) {
			var want reference
			if err := json.Unmarshal(all[name], &want); err != nil {
				t.Fatal(err)
			}
			n, err := NewConvAutoencoder(want.Latent)
			if err != nil {
				t.Fatal(err)
			}
			compareWithReference(t, n, want)
		})
	}
}

func compareWithReference(t *testing.T, n *Network, want reference) {
	if len(n.Parameters) != len(want.Params) || len(want.Losses) != 6 {
		t.Fatalf("%d parameters and %d losses, want %d and 6", len(n.Parameters), len(want.Losses), len(want.Params))
	}
	for i, p := range n.Parameters {
		if p.Name != want.Params[i].Name || !slices.Equal(p.Shape, want.Params[i].Shape) {
			t.Fatalf("parameter %d is %s %v, want %s %v", i, p.Name, p.Shape, want.Params[i].Name, want.Params[i].Shape)
		}
	}
	fillByFormula(n)
	pixels, batch := mnist(t), make([]uint32, want.N)
	for i := range batch {
		batch[i] = uint32(i)
	}
	solver := adam.New(len(n.Weights), want.LR, want.WeightDecay)
	for step, wantLoss := range want.Losses {
		loss, err := n.Train(t.Context(), pixels, batch)
		if err != nil {
			t.Fatal(err)
		}
		if difference := math.Abs(loss-wantLoss) / wantLoss; difference > 1e-5 {
			t.Errorf("loss at step %d is %v, want %v: differs by %.1e", step, loss, wantLoss, difference)
		}
		if step == 0 {
			for i, p := range n.Parameters {
				compareGradient(t, p, want.Params[i].GradL2, want.Params[i].GradSum, want.Params[i].GradFirst)
			}
		}
		if err := n.Step(solver); err != nil {
			t.Fatal(err)
		}
	}
}

func compareGradient(t *testing.T, p Parameter, wantNorm, wantSum float64, wantFirst []float64) {
	var squares, sum float64
	for _, g := range p.Gradient {
		squares += float64(g) * float64(g)
		sum += float64(g)
	}
	norm := math.Sqrt(squares)
	// Sums and single entries may cancel: they are compared on the scale of the norm.
	if math.Abs(norm-wantNorm) > 1e-3*wantNorm || math.Abs(sum-wantSum) > 1e-3*wantNorm+1e-3*math.Abs(wantSum) {
		t.Errorf("gradient of %s has norm %v and sum %v, want %v and %v", p.Name, norm, sum, wantNorm, wantSum)
	}
	for i, want := range wantFirst {
		if i < len(p.Gradient) && math.Abs(float64(p.Gradient[i])-want) > 1e-3*math.Abs(want)+1e-5*wantNorm {
			t.Errorf("gradient %d of %s is %v, want %v", i, p.Name, p.Gradient[i], want)
		}
	}
}

// fillByFormula sets the weights from which the reference figures were computed.
func fillByFormula(n *Network) {
	for number, p := range n.Parameters {
		scale := 0.01
		if strings.HasSuffix(p.Name, ".weight") {
			// Here the inputs of a transposed convolution are its input channels, other than in its initialization.
			fanIn := p.Shape[1]
			if strings.HasPrefix(p.Name, "decoder.c") {
				fanIn = p.Shape[0]
			}
			for _, size := range p.Shape[2:] {
				fanIn *= size
			}
			scale = 2 / math.Sqrt(float64(fanIn))
		}
		for i := range p.Values {
			p.Values[i] = float32(scale * math.Sin(0.7*float64(i)*float64(i)+1.3*float64(number)+0.1))
		}
	}
}
