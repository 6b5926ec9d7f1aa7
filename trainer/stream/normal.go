package stream

import "trellis/trainer/kernel"

// Normals draws standard normal numbers for images. Each image has a generator of its own, so that its numbers do not
// depend on what else is drawn, nor in which order. kernel.Normal has the distribution.
type Normals struct {
	// Keys of the images' generators, from the stream for the purpose and epoch.
	first, second uint64
}

// NewNormals returns the numbers for a purpose and epoch of the run with that seed.
func NewNormals(seed uint32, purpose Purpose, epoch int) *Normals {
	s := New(seed, purpose, epoch)
	return &Normals{first: s.source.Uint64(), second: s.source.Uint64()}
}

// Tile fills a tile, (value, lane), with the numbers of up to kernel.Lanes images, always the same. None is zero. Lanes
// without an image become zero. It works in state.
func (n *Normals) Tile(tile []float32, images []uint32, state *kernel.NormalState) {
	for lane := range state[0] {
		image := uint64(0)
		if lane < len(images) {
			image = uint64(images[lane])
		}
		low, high := mix(n.first+image), mix(n.second+image)
		state[0][lane], state[1][lane] = uint32(low), uint32(low>>32)
		state[2][lane], state[3][lane] = uint32(high), uint32(high>>32)
	}
	kernel.Normal(tile, state)
	if len(images) == kernel.Lanes {
		return
	}
	for at := 0; at < len(tile); at += kernel.Lanes {
		clear(tile[at+len(images) : at+kernel.Lanes])
	}
}

// mix makes neighboring numbers unlike.
// Source: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014, with Stafford's constants.
func mix(x uint64) uint64 {
	x *= 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
