package network

import (
	"context"
	"fmt"

	"trellis/trainer/kernel"
)

// CodeSize is the number of values that the frozen layers make of an image, if everything after these layers depends on
// images through them alone. 0: it does not, or there are no frozen layers.
func (n *Network) CodeSize() int {
	if !n.codesSuffice {
		return 0
	}
	return len(n.tiles[0].codes) / kernel.Lanes
}

// Codes appends what the frozen layers make of images, one byte a pixel: CodeSize values for one image after another.
// Examples of these images give the same bits with the codes as with the pixels. It returns ErrNoPart if CodeSize is 0,
// ErrSize if the images are not whole, or ctx's error within a tile's time of ctx's end.
func (n *Network) Codes(ctx context.Context, codes []float32, pixels []byte) ([]float32, error) {
	size := n.CodeSize()
	switch {
	case size == 0:
		return codes, ErrNoPart
	case len(pixels)%n.pixels != 0:
		return codes, fmt.Errorf("%w: got %d pixels, want a multiple of %d", ErrSize, len(pixels), n.pixels)
	}
	var indices [kernel.Lanes]uint32
	for lane := range indices {
		indices[lane] = uint32(lane)
	}
	t := n.tiles[0]
	n.frozen.Begin()
	for len(pixels) > 0 {
		if err := ctx.Err(); err != nil {
			return codes, err
		}
		lanes := min(kernel.Lanes, len(pixels)/n.pixels)
		kernel.FillTile(t.input, pixels, n.pixels, indices[:lanes])
		n.frozen.Tile(0)
		for lane := range lanes {
			for i := range size {
				codes = append(codes, t.codes[i*kernel.Lanes+lane])
			}
		}
		pixels = pixels[lanes*n.pixels:]
	}
	return codes, n.frozen.End()
}
