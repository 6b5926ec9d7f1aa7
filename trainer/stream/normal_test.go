package stream

import (
	"math"
	"slices"
	"testing"

	"trellis/trainer/kernel"
)

// imageOf draws an image's numbers in a lane, with others beside it.
func imageOf(n *Normals, image uint32, lane, count int) []float32 {
	tile, images := make([]float32, count*kernel.Lanes), make([]uint32, lane+1)
	images[lane] = image
	n.Tile(tile, images, new(kernel.NormalState))
	values := make([]float32, count)
	for i := range values {
		values[i] = tile[i*kernel.Lanes+lane]
	}
	return values
}

func TestNormalsOfAnImage(t *testing.T) {
	n := NewNormals(1, TrainingNoise, 3)
	want := imageOf(n, 17, 0, 784)
	for lane := range kernel.Lanes {
		if got := imageOf(n, 17, lane, 784); !slices.Equal(got, want) {
			t.Errorf("an image's numbers in lane %d differ from those in lane 0", lane)
		}
	}
	for _, count := range []int{1, 2, 3, 5, 783} {
		if got := imageOf(n, 17, 2, count); !slices.Equal(got, want[:count]) {
			t.Errorf("the first %d numbers are not those of a longer draw", count)
		}
	}
	for name, other := range map[string][]float32{
		"image":   imageOf(n, 18, 0, 784),
		"seed":    imageOf(NewNormals(2, TrainingNoise, 3), 17, 0, 784),
		"purpose": imageOf(NewNormals(1, TrainingSample, 3), 17, 0, 784),
		"epoch":   imageOf(NewNormals(1, TrainingNoise, 4), 17, 0, 784),
	} {
		if slices.Equal(other, want) {
			t.Errorf("another %s has the same numbers", name)
		}
	}
}

func TestNormalsOfEmptyLanesAreZero(t *testing.T) {
	n, tile := NewNormals(1, TrainingNoise, 3), make([]float32, 9*kernel.Lanes)
	for images := range kernel.Lanes + 1 {
		n.Tile(tile, make([]uint32, images), new(kernel.NormalState))
		for i, value := range tile {
			if (value == 0) != (i%kernel.Lanes >= images) {
				t.Fatalf("with %d images, value %d is %v", images, i, value)
			}
		}
	}
}

// Drawn numbers of neighboring images, epochs and pixels are independent as far as their correlations say.
func TestNormalsAreIndependent(t *testing.T) {
	const images, pixels = 320, 784
	draw := func(epoch int) []float64 {
		n, tile := NewNormals(9, TrainingNoise, epoch), make([]float32, pixels*kernel.Lanes)
		values := make([]float64, images*pixels)
		for first := 0; first < images; first += kernel.Lanes {
			var tileImages [kernel.Lanes]uint32
			for lane := range tileImages {
				tileImages[lane] = uint32(first + lane)
			}
			n.Tile(tile, tileImages[:], new(kernel.NormalState))
			for i, value := range tile {
				values[(first+i%kernel.Lanes)*pixels+i/kernel.Lanes] = float64(value)
			}
		}
		return values
	}
	first, second := draw(1), draw(2)
	correlation := func(a, b []float64) float64 {
		var sum float64
		for i := range b {
			sum += a[i] * b[i]
		}
		return sum / float64(len(b))
	}
	const n = images * pixels
	for name, test := range map[string]struct{ got, deviation float64 }{
		"mean":              {correlation(slices.Repeat([]float64{1}, n), first), 1},
		"variance":          {correlation(first, first) - 1, math.Sqrt2},
		"next number":       {correlation(first, first[1:]), 1},
		"number after that": {correlation(first, first[2:]), 1},
		"next image":        {correlation(first, first[pixels:]), 1},
		"next epoch":        {correlation(first, second), 1},
	} {
		if limit := 5 * test.deviation / math.Sqrt(n); math.Abs(test.got) > limit {
			t.Errorf("%s: %v, want less than %v away from 0", name, test.got, limit)
		}
	}
}

// Recorded bits. If they change, so must trainer.NumericsVersion.
func TestNormalsRecordedBits(t *testing.T) {
	var got []uint32
	for _, value := range imageOf(NewNormals(5, TestNoise, 0), 1000, 0, 5) {
		got = append(got, math.Float32bits(value))
	}
	if want := []uint32{0x3daaecc2, 0xbd558dcf, 0x3fd6cfe9, 0xbf060110, 0xc0168b3d}; !slices.Equal(got, want) {
		t.Errorf("got %#x, want %#x", got, want)
	}
}

func TestNormalsDoNotAllocate(t *testing.T) {
	n, tile, images := NewNormals(1, TrainingNoise, 1), make([]float32, 784*kernel.Lanes), make([]uint32, 7)
	state := new(kernel.NormalState)
	if allocations := testing.AllocsPerRun(10, func() { n.Tile(tile, images, state) }); allocations != 0 {
		t.Errorf("a tile's numbers take %v allocations, want none", allocations)
	}
}
