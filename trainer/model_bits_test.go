//go:build !race

package trainer

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"testing"

	"trellis/trainer/kernel"
	"trellis/trainer/stream"
)

// stepBits are the bits that a training step leaves: the loss's, and digests of the metrics, the weights and both
// moments.
type stepBits struct{ loss, metrics, weights, first, second uint64 }

// Ten training steps have the same bits on each path, and those that were recorded, whatever the batches leave of the
// last tile. If a recorded figure changes, so must NumericsVersion. Package network has the same for the convolutional
// autoencoder.
func TestTenStepsBits(t *testing.T) {
	skipShort(t)
	batches := []int{3, 16, 1, 17, 2, 33, 15, 16, 5, 37}
	for _, test := range []struct {
		name   string
		config Config
		// portable is after how many steps the portable path stops: a large step takes it seconds.
		portable int
		// want are the first step's bits and the last one's.
		want [2]stepBits
	}{
		{
			"denoising autoencoder", smallModel(t, DenoisingAutoencoder), 10, [2]stepBits{
				{0x3fcd5e4b80000000, 0x9612b07b5ecb5a5, 0x86d4c1919a46b293, 0x3ce9d5e33ec4a12, 0x921d0e537f8f6269},
				{0x3fcc1eb260000000, 0x9612b07b5ecb5a5, 0x6cb4246e75a5d82c, 0x7a78e808f69494a3, 0x850da2d47d9eb2b1},
			},
		},
		{
			"classifier", smallModel(t, Classifier), 10, [2]stepBits{
				{0x4002e9eb00000000, 0xbe77aadd74b553da, 0x94aa223f29022229, 0x3e972960194e3e89, 0x7bcab34b64b90edd},
				{0x40025dc760000000, 0x445eeeaef4975df4, 0x79e7899f20572828, 0x7a5d34424d13dc91, 0x2ade2186102ed889},
			},
		},
		{
			"fine-tuned classifier", withValues(smallModel(t, Classifier), map[string]float64{"fine_tune": 1}), 10,
			[2]stepBits{
				{0x4002e9eb00000000, 0xbe77aadd74b553da, 0x95168d494e4bb78d, 0xc367832c4513ed24, 0x500cbcbe8d84637d},
				{0x4002761c80000000, 0xe40c16e1fa8ebc9a, 0x596f3783dff7492e, 0x6e769520904ac0b4, 0x9ba43e06d0e426f4},
			},
		},
		{
			"shifted classifier", withValues(smallModel(t, Classifier),
				map[string]float64{"fine_tune": 1, "shift": 2}), 1,
			[2]stepBits{
				{0x4002ea3760000000, 0xbe77aadd74b553da, 0x5a89d0e58644036d, 0xff1518d3c530e5cb, 0x19172e3c35fec8f8},
				{0x4002765560000000, 0xe40c16e1fa8ebc9a, 0x9259c38d531a8399, 0x3e2fab9a58684488, 0xc510638f7313716a},
			},
		},
		{
			"variational autoencoder", smallModel(t, VariationalAutoencoder), 1, [2]stepBits{
				{0x406a1b6e80000000, 0x206d2f2a2c6e680b, 0x3234a5e4d331f388, 0xec4a8e3bda3cfbd0, 0x21a9e7b2f16074cb},
				{0x4055f0aca0000000, 0xdb4a1228073cc273, 0x5e3627351611ba73, 0x6c9d4c5d67b23025, 0x2addea6681cf60ca},
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var want []stepBits
			for _, path := range kernel.Paths() {
				sizes := batches
				if path == "portable" {
					sizes = batches[:test.portable]
				}
				got := trainingBits(t, path, test.config, sizes)
				if want == nil {
					want = got
				}
				for i := range got {
					if got[i] != want[i] {
						t.Fatalf("step %d on path %s leaves %#x, on %s %#x", i+1, path, got[i], kernel.Paths()[0],
							want[i])
					}
				}
				if len(got) > 0 && got[0] != test.want[0] {
					t.Errorf("step 1 on path %s leaves %#x, want %#x", path, got[0], test.want[0])
				}
				if last := len(batches) - 1; len(got) > last && got[last] != test.want[1] {
					t.Errorf("the last step on path %s leaves %#x, want %#x", path, got[last], test.want[1])
				}
			}
		})
	}
}

// Noise and samples of validation and of test are drawn apart: the same images have another loss as test images than as
// those of validation. Both have the bits that were recorded, on each path.
func TestEvaluationBits(t *testing.T) {
	skipShort(t)
	for _, test := range []struct {
		model string
		// validation and test are the bits of the same images' losses before any training.
		validation, test uint64
	}{
		{DenoisingAutoencoder, 0x3fccc6e2e0000000, 0x3fccc6e440000000},
		{VariationalAutoencoder, 0x4069512ea0000000, 0x4069f3d5a0000000},
	} {
		t.Run(test.model, func(t *testing.T) {
			config := smallModel(t, test.model)
			config.Data = mnist(t, 1, 3, 1)
			config.Data.Test = config.Data.Validation
			inUse := kernel.Path()
			defer kernel.SetPath(inUse)
			for _, path := range kernel.Paths() {
				if err := kernel.SetPath(path); err != nil {
					t.Fatal(err)
				}
				trainee, err := begin(&config)
				if err != nil {
					t.Fatal(err)
				}
				trainee.KeepBest()
				validation, err := trainee.Validate(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				tested, err := trainee.Test(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for what, bits := range map[string]struct{ got, want uint64 }{
					"validation": {math.Float64bits(validation.Loss), test.validation},
					"test":       {math.Float64bits(tested.Loss), test.test},
				} {
					if bits.got != bits.want {
						t.Errorf("the %s loss on path %s has the bits %#x, want %#x", what, path, bits.got, bits.want)
					}
				}
			}
		})
	}
}

// trainingBits trains on batches of the given sizes, and returns what every step left.
func trainingBits(t *testing.T, path string, config Config, batches []int) []stepBits {
	t.Helper()
	inUse := kernel.Path()
	defer kernel.SetPath(inUse)
	if err := kernel.SetPath(path); err != nil {
		t.Fatal(err)
	}
	config.Data = mnist(t, 200, 1, 1)
	trainee, err := begin(&config)
	if err != nil {
		t.Fatal(err)
	}
	m := trainee.(*training)
	examples := m.trainingExamples(1)
	order := make([]uint32, 200)
	stream.New(11, stream.BatchOrder, 1).Permutation(order)
	var steps []stepBits
	for _, size := range batches {
		loss, err := m.network.Train(t.Context(), examples, order[:size])
		if err != nil {
			t.Fatal(err)
		}
		order = order[size:]
		if err := m.network.Step(m.solver); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, stepBits{
			math.Float64bits(loss), digest(fmt.Sprintf("%x", m.network.MetricValues())),
			digestWeights(m.network.Weights),
			digestWeights(m.first), digestWeights(m.second),
		})
	}
	return steps
}

func digest(text string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(text))
	return h.Sum64()
}

func digestWeights(values []float32) uint64 {
	h := fnv.New64a()
	for chunk := range slices.Chunk(values, 1024) {
		var b []byte
		for _, value := range chunk {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(value))
		}
		h.Write(b)
	}
	return h.Sum64()
}

// A step of any model allocates nothing.
func TestStepsDoNotAllocate(t *testing.T) {
	configs := map[string]Config{"shifted": withValues(smallModel(t, Classifier), map[string]float64{"shift": 2})}
	for _, name := range networks {
		configs[name] = smallModel(t, name)
	}
	for name, config := range configs {
		trainee, err := begin(&config)
		if err != nil {
			t.Fatal(err)
		}
		m := trainee.(*training)
		ctx, examples := t.Context(), m.trainingExamples(1)
		batch := make([]uint32, kernel.Lanes+3)
		if allocations := testing.AllocsPerRun(2, func() {
			if _, err := m.network.Train(ctx, examples, batch); err != nil {
				t.Fatal(err)
			}
			if err := m.network.Step(m.solver); err != nil {
				t.Fatal(err)
			}
			m.network.MetricValues()
		}); allocations != 0 {
			t.Errorf("a step of %s takes %v allocations, want none", name, allocations)
		}
	}
}
