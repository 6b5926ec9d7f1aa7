package network

import "trellis/trainer/kernel"

// mover makes moved images of a tile's.
type mover struct {
	Image
	pixels  []byte
	indices [kernel.Lanes]uint32
}

func newMover(image Image) *mover {
	m := &mover{Image: image, pixels: make([]byte, kernel.Lanes*image.Size())}
	for i := range m.indices {
		m.indices[i] = uint32(i)
	}
	return m
}

// move returns the images of a tile as their offsets move them, and their indices there. Both change with the next
// call.
func (m *mover) move(examples *Examples, tile []uint32) (pixels []byte, indices []uint32) {
	size := m.Size()
	for lane, image := range tile {
		right, down := examples.Offsets.Of(image)
		to, from := m.pixels[lane*size:][:size], examples.Pixels[int(image)*size:][:size]
		for plane := m.Height * m.Width; len(to) > 0; to, from = to[plane:], from[plane:] {
			m.shift(to[:plane], from[:plane], right, down)
		}
	}
	return m.pixels, m.indices[:len(tile)]
}

// shift writes a channel of an image moved to the right and down. What moves in from outside is black, what moves out
// is lost.
func (m *mover) shift(dst, src []byte, right, down int) {
	clear(dst)
	width := m.Width - max(right, -right)
	for row := max(0, down); width > 0 && row < min(m.Height, m.Height+down); row++ {
		to, from := row*m.Width+max(0, right), (row-down)*m.Width+max(0, -right)
		copy(dst[to:to+width], src[from:])
	}
}
