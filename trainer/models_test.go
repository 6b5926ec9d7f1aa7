//go:build !race

package trainer

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"trellis/trainer/adam"
	"trellis/trainer/kernel"
	"trellis/trainer/model"
	"trellis/trainer/network"
)

// reference is what PyTorch computed. Its field "about" says from which weights.
type reference struct {
	Params []struct {
		Name, Layer string
		Shape       []int
		GradL2      float64   `json:"grad_l2"`
		GradSum     float64   `json:"grad_sum"`
		GradFirst   []float64 `json:"grad_first"`
	}
	Losses      []float64
	LR          float64
	WeightDecay float64 `json:"weight_decay"`
	N, Latent   int
}

// formulaNormals are the reference's numbers in place of random ones: of image i, those from i times their number on.
type formulaNormals struct{}

func (formulaNormals) Tile(tile []float32, images []uint32, _ *kernel.NormalState) {
	size := len(tile) / kernel.Lanes
	clear(tile)
	for lane, image := range images {
		for i := range size {
			value := float32(1.2 * math.Sin(12.9898*float64(int(image)*size+i)))
			if value == 0 {
				value = math.SmallestNonzeroFloat32 // Number 0: zero stands for no image.
			}
			tile[i*kernel.Lanes+lane] = value
		}
	}
}

// Losses of six steps and gradients of the first are PyTorch's, of each model that is a network.
func TestReference(t *testing.T) {
	data, err := os.ReadFile("testdata/reference.json")
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	for name, config := range map[string]Config{
		"conv_autoencoder":        {Model: ConvAutoencoder},
		"conv_autoencoder_odd":    {Model: ConvAutoencoder},
		"denoising_autoencoder":   {Model: DenoisingAutoencoder, Values: map[string]float64{"noise": 0.3}},
		"classifier":              {Model: Classifier},
		"variational_autoencoder": {Model: VariationalAutoencoder},
	} {
		t.Run(name, func(t *testing.T) {
			var want reference
			if err := json.Unmarshal(all[name], &want); err != nil {
				t.Fatal(err)
			}
			config.LatentDim = want.Latent
			n, err := newNetwork(&config)
			if err != nil {
				t.Fatal(err)
			}
			compareWithReference(t, n, want)
		})
	}
}

func compareWithReference(t *testing.T, n *network.Network, want reference) {
	frozen, trained := n.Parameters, n.Parameters
	size := 0
	for i, p := range n.Parameters {
		if size == n.Frozen {
			frozen, trained = n.Parameters[:i], n.Parameters[i:]
			break
		}
		size += p.Size()
	}
	if len(trained) != len(want.Params) || len(want.Losses) != 6 {
		t.Fatalf("%d parameters and %d losses, want %d and 6", len(trained), len(want.Losses), len(want.Params))
	}
	// Frozen layers have their own numbering from 0.
	fillByFormula(frozen)
	fillByFormula(trained)
	data := mnist(t, want.N, 1, 1)
	examples := network.Examples{
		Pixels: data.Train.Pixels, Labels: data.Train.Labels, Noise: formulaNormals{}, Draws: formulaNormals{},
	}
	batch := make([]uint32, want.N)
	for i := range batch {
		batch[i] = uint32(i)
	}
	solver := adam.New(len(n.Weights)-n.Frozen, want.LR, want.WeightDecay)
	before := slices.Clone(n.Weights[:n.Frozen])
	for step, wantLoss := range want.Losses {
		loss, err := n.Train(t.Context(), examples, batch)
		if err != nil {
			t.Fatal(err)
		}
		if difference := math.Abs(loss-wantLoss) / wantLoss; difference > 1e-5 {
			t.Errorf("loss at step %d is %v, want %v: differs by %.1e", step, loss, wantLoss, difference)
		}
		score, err := n.Evaluate(t.Context(), examples, batch)
		if err != nil || score != loss {
			t.Errorf("score at step %d is %v (error %v), the loss %v", step, score, err, loss)
		}
		for i, p := range trained {
			if p.Name != want.Params[i].Name || !slices.Equal(p.Shape, want.Params[i].Shape) {
				t.Fatalf("parameter %d is %s %v, want %s %v", i, p.Name, p.Shape, want.Params[i].Name,
					want.Params[i].Shape)
			}
			if step == 0 {
				compareGradient(t, p, want.Params[i].GradL2, want.Params[i].GradSum, want.Params[i].GradFirst)
			}
		}
		if err := n.Step(solver); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(n.Weights[:n.Frozen], before) {
		t.Error("frozen weights have changed")
	}
}

func compareGradient(t *testing.T, p network.Parameter, wantNorm, wantSum float64, wantFirst []float64) {
	t.Helper()
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
func fillByFormula(parameters []network.Parameter) {
	for number, p := range parameters {
		scale := 0.01
		if strings.HasSuffix(p.Name, ".weight") {
			// Here the inputs of a transposed convolution are its input channels, other than in its initialization.
			fanIn := p.Shape[1]
			if len(p.Shape) == 4 && strings.HasPrefix(p.Name, "decoder") {
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

// What a model says of itself holds: its name can be found, its metrics are those that its network computes, and the
// models with whose weights it begins are networks.
func TestModelsAreDescribed(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range Models() {
		definition, err := find(m.Name)
		if err != nil || m.Summary == "" || m.Loss == "" || seen[m.Name] {
			t.Errorf("model %+v: error %v, or it is there twice, or lacks a summary or a loss", m, err)
		}
		seen[m.Name] = true
		for _, axis := range m.Axes {
			if axis.Summary == "" || (axis.Kind == Text) != (axis.Minimum >= axis.Maximum) ||
				axis.Default != nil && !inRange(axis, *axis.Default) {
				t.Errorf("model %s has axis %+v", m.Name, axis)
			}
		}
		for _, name := range m.Pretrained {
			if from, err := find(name); err != nil {
				t.Error(err)
			} else if _, ok := from.(model.Network); !ok {
				t.Errorf("model %s begins with weights of %s, which has none", m.Name, name)
			}
		}
		if _, ok := definition.(model.Network); ok != m.Data {
			t.Errorf("model %s needs data: %v; is a network: %v", m.Name, m.Data, ok)
			continue
		} else if !ok {
			continue
		}
		config := smallModel(t, m.Name)
		n, err := newNetwork(&config)
		if err != nil {
			t.Fatal(err)
		}
		var metrics []string
		for _, metric := range m.Metrics {
			metrics = append(metrics, metric.Name)
		}
		if !slices.Equal(metrics, n.Metrics) {
			t.Errorf("model %s has metrics %q, its network %q", m.Name, metrics, n.Metrics)
		}
	}
	if len(seen) < 5 {
		t.Errorf("there are models %v, want five", seen)
	}
}

// What a model says that it takes is what its network is built for.
func TestModelsTakeWhatTheySay(t *testing.T) {
	for _, described := range Models() {
		definition, err := find(described.Name)
		if err != nil {
			t.Fatal(err)
		}
		trained, ok := definition.(model.Network)
		if !ok {
			if described.Data || described.MinSide+described.MaxSide+described.Classes > 0 {
				t.Errorf("%s has no network, and takes data: %+v", described.Name, described)
			}
			continue
		}
		config := smallModel(t, described.Name)
		plan, err := network.Layout(config.layers(trained))
		if err != nil {
			t.Fatal(err)
		}
		if plan.Labels != described.Classes {
			t.Errorf("%s takes %d classes, its network %d", described.Name, described.Classes, plan.Labels)
		}
		input := network.Digits
		for _, side := range []int{described.MinSide, described.MaxSide} {
			input.Height, input.Width, input.Channels = side, described.MinSide, described.MaxChannels
			if err := described.Check(input); err != nil {
				t.Errorf("%s refuses what it says that it takes: %v", described.Name, err)
			}
			values := resolve(described, config.Values)
			values[Depth] = 2
			if _, err := network.Layout(func(b *network.Builder) { trained.Layers(b, input, 2, values) }); err != nil {
				t.Errorf("%s takes %+v: %v", described.Name, input, err)
			}
		}
	}
}
