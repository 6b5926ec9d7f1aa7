package network

import "trellis/trainer/kernel"

// mover makes moved images of a tile's, of one channel each.
type mover struct {
	height, width int
	pixels        []byte
	indices       [kernel.Lanes]uint32
}

func newMover(height, width int) *mover {
	m := &mover{height: height, width: width, pixels: make([]byte, kernel.Lanes*height*width)}
	for i := range m.indices {
		m.indices[i] = uint32(i)
	}
	return m
}

// move returns the images of a tile as their offsets move them, and their indices there. Both change with the next
// call.
func (m *mover) move(examples *Examples, tile []uint32) (pixels []byte, indices []uint32) {
	size := m.height * m.width
	for lane, image := range tile {
		right, down := examples.Offsets.Of(image)
		m.shift(m.pixels[lane*size:][:size], examples.Pixels[int(image)*size:][:size], right, down)
	}
	return m.pixels, m.indices[:len(tile)]
}

// shift writes an image moved to the right and down. What moves in from outside is black, what moves out is lost.
func (m *mover) shift(dst, src []byte, right, down int) {
	clear(dst)
	width := m.width - max(right, -right)
	for row := max(0, down); width > 0 && row < min(m.height, m.height+down); row++ {
		to, from := row*m.width+max(0, right), (row-down)*m.width+max(0, -right)
		copy(dst[to:to+width], src[from:])
	}
}
