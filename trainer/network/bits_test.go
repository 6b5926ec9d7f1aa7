package network

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"slices"
	"testing"

	"trellis/trainer/adam"
	"trellis/trainer/kernel"
	"trellis/trainer/stream"
)

// variationalShapes has the layers of the paper's variational autoencoder, without its sampling: the shapes that are
// large, and sum most in other loops than the convolutional one's.
func variationalShapes(b *Builder) {
	w := Window{Kernel: 4, Stride: 2, Padding: 1}
	x := b.Images(Digits.Image)
	h := b.Convolution("encoder.c.0", x, 64, w, kernel.ReLU)
	h = b.Convolution("encoder.c.2", h, 128, w, kernel.ReLU)
	h = b.Reshape(h, 6272)
	z := b.Linear("encoder.l.0", h, 16, kernel.None)
	h = b.Linear("decoder.l.0", z, 6272, kernel.ReLU)
	h = b.Reshape(h, 128, 7, 7)
	h = b.Transposed("decoder.c.0", h, 64, w, kernel.ReLU)
	y := b.Transposed("decoder.c.2", h, 1, w, kernel.Sigmoid)
	b.Assert(y, 1, Side, Side)
	b.Minimize(b.MeanSquaredError(y, x))
}

// stepBits are the bits that a training step leaves: the loss's, and digests of the weights and of both moments.
type stepBits struct{ loss, weights, first, second uint64 }

// Ten training steps have the same bits on each path, and those that were recorded, whatever the batches leave of the
// last tile. If a recorded figure changes, so must trainer.NumericsVersion.
func TestTenStepsBits(t *testing.T) {
	for _, test := range []struct {
		name    string
		define  func(*Builder)
		batches []int
		// portable is after how many steps the portable path stops, and short where it does with -short: a large step
		// takes it seconds, and with the race detector ten times as long.
		portable, short int
		// want are the second step's bits and the last one's.
		want [2]stepBits
	}{
		{
			name:     "convolutional autoencoder",
			define:   func(b *Builder) { convAutoencoder(b, 16) },
			batches:  []int{37, 16, 1, 17, 2, 33, 15, 16, 5, 256},
			portable: 10,
			short:    2,
			want: [2]stepBits{
				{0x3fd26909a0000000, 0x5f8b86c6b79db7b4, 0x69310ec1e57c9b08, 0xcb83c93592c99fe8},
				{0x3fd1edf360000000, 0x7b4449f7bf7d9577, 0xe254b3519384cfa0, 0x30a237c433b98b91},
			},
		},
		{
			name:     "shapes of the variational autoencoder",
			define:   variationalShapes,
			batches:  []int{3, 16, 1, 17, 2, 33, 15, 16, 5, 37},
			portable: 2,
			short:    0,
			want: [2]stepBits{
				{0x3fcc0a9720000000, 0xb65dcc7c969a4e66, 0xd31361d70d5d856d, 0xc3ccec395742c5a0},
				{0x3fbcb35c80000000, 0x5a82b99dacc9bfcf, 0xc1373d34e2741a59, 0x94fcd4b26c6b2cc1},
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var want []stepBits
			for _, path := range kernel.Paths() {
				batches := test.batches
				if path == "portable" {
					batches = batches[:test.portable]
					if testing.Short() {
						batches = batches[:test.short]
					}
				}
				got := trainingBits(t, path, test.define, batches)
				if want == nil {
					want = got
				}
				for i := range got {
					if got[i] != want[i] {
						t.Fatalf("step %d on path %s leaves %#x, on %s %#x", i+1, path, got[i], kernel.Paths()[0],
							want[i])
					}
				}
				if len(got) > 1 && got[1] != test.want[0] {
					t.Errorf("step 2 on path %s leaves %#x, want %#x", path, got[1], test.want[0])
				}
				if len(got) == len(test.batches) && got[len(got)-1] != test.want[1] {
					t.Errorf("the last step on path %s leaves %#x, want %#x", path, got[len(got)-1], test.want[1])
				}
			}
		})
	}
}

// trainingBits trains on batches of the given sizes, and returns what every step left.
func trainingBits(t *testing.T, path string, define func(*Builder), batches []int) []stepBits {
	t.Helper()
	inUse := kernel.Path()
	defer kernel.SetPath(inUse)
	if err := kernel.SetPath(path); err != nil {
		t.Fatal(err)
	}
	n, err := Build(define)
	if err != nil {
		t.Fatal(err)
	}
	n.Initialize(11)
	order := make([]uint32, 60_000)
	stream.New(11, stream.BatchOrder, 1).Permutation(order)
	solver := adam.New(len(n.Weights), 1e-3, 1e-4)
	var bits []stepBits
	for _, size := range batches {
		loss, err := n.Train(t.Context(), mnist(t), order[:size])
		if err != nil {
			t.Fatal(err)
		}
		order = order[size:]
		if err := n.Step(solver); err != nil {
			t.Fatal(err)
		}
		_, first, second := solver.State()
		bits = append(bits, stepBits{math.Float64bits(loss), digest(n.Weights), digest(first), digest(second)})
	}
	return bits
}

func digest(values []float32) uint64 {
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
