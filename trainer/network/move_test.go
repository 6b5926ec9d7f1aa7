package network

import (
	"slices"
	"testing"

	"trellis/trainer/kernel"
)

// An image of three rows and four columns, moved by hand.
func TestMoverShifts(t *testing.T) {
	image := []byte{
		1, 2, 3, 4,
		5, 6, 7, 8,
		9, 10, 11, 12,
	}
	for _, test := range []struct {
		right, down int
		want        []byte
	}{
		{0, 0, image},
		{1, 0, []byte{
			0, 1, 2, 3,
			0, 5, 6, 7,
			0, 9, 10, 11,
		}},
		{-1, 0, []byte{
			2, 3, 4, 0,
			6, 7, 8, 0,
			10, 11, 12, 0,
		}},
		{0, 1, []byte{
			0, 0, 0, 0,
			1, 2, 3, 4,
			5, 6, 7, 8,
		}},
		{2, -1, []byte{
			0, 0, 5, 6,
			0, 0, 9, 10,
			0, 0, 0, 0,
		}},
		{-3, 2, []byte{
			0, 0, 0, 0,
			0, 0, 0, 0,
			4, 0, 0, 0,
		}},
		{4, 0, make([]byte, 12)},
		{-5, 1, make([]byte, 12)},
		{0, 3, make([]byte, 12)},
		{1, -4, make([]byte, 12)},
	} {
		got := slices.Repeat([]byte{99}, 12)
		newMover(Image{1, 3, 4}).shift(got, image, test.right, test.down)
		if !slices.Equal(got, test.want) {
			t.Errorf("moved by %d and %d it is %v, want %v", test.right, test.down, got, test.want)
		}
	}
}

// byNumber moves each image by offsets that its number alone tells.
type byNumber struct{}

func (byNumber) Of(image uint32) (right, down int) { return int(image%5) - 2, int(image/5%5) - 2 }

// Training on images that are moved has the bits of training on images that were moved before, whatever else is in the
// batch, and what is not moved stays.
func TestTrainingMovesImages(t *testing.T) {
	n, err := Build(func(b *Builder) {
		x := b.Images(Digits.Image)
		b.Shift(2)
		x = b.Linear("l", b.Reshape(x, Side*Side), 10, kernel.None)
		b.Minimize(b.NegativeLogLikelihood(b.LogSoftmax(x), b.Labels(10)))
	})
	if err != nil {
		t.Fatal(err)
	}
	n.Initialize(1)
	images := mnist(t)
	const count, size = 40, Side * Side
	moved, m := Examples{Labels: images.Labels}, newMover(Digits.Image)
	for image := range uint32(count) {
		at := make([]byte, size)
		right, down := byNumber{}.Of(image)
		m.shift(at, images.Pixels[image*size:][:size], right, down)
		moved.Pixels = append(moved.Pixels, at...)
	}
	for _, batch := range [][]uint32{{7}, {3, 9, 39, 0, 38, 12, 1, 2, 31, 4, 5, 6, 7, 8, 33, 10, 11, 21, 22}} {
		want, err := n.Train(t.Context(), moved, batch)
		if err != nil {
			t.Fatal(err)
		}
		gradients := slices.Clone(n.Gradients)
		images.Offsets = byNumber{}
		got, err := n.Train(t.Context(), images, batch)
		if err != nil || got != want || !slices.Equal(n.Gradients, gradients) {
			t.Errorf("loss is %v (error %v), want %v and the same gradients", got, err, want)
		}
		images.Offsets = nil
		if unmoved, err := n.Train(t.Context(), images, batch); err != nil || unmoved == want {
			t.Errorf("loss of the unmoved images is %v (error %v), and so is that of the moved ones", unmoved, err)
		}
	}
}

// Each channel moves like an image of its own.
func TestMoverMovesChannels(t *testing.T) {
	image := Image{3, 2, 3}
	examples := &Examples{Offsets: byNumber{}}
	for i := range 30 * image.Size() {
		examples.Pixels = append(examples.Pixels, byte(i+1))
	}
	got, indices := newMover(image).move(examples, []uint32{6, 29})
	for lane, number := range []uint32{6, 29} {
		right, down := examples.Offsets.Of(number)
		plane := image.Height * image.Width
		for channel := range image.Channels {
			from, want := int(number)*image.Size()+channel*plane, make([]byte, plane)
			newMover(Image{1, 2, 3}).shift(want, examples.Pixels[from:][:plane], right, down)
			if its := got[int(indices[lane])*image.Size()+channel*plane:][:plane]; !slices.Equal(its, want) {
				t.Errorf("channel %d of image %d is %v, want %v", channel, number, its, want)
			}
		}
	}
}
