package dataset

import "fmt"

// Images is a sequence of images and their labels.
type Images struct {
	// Pixels holds one image after another, each channel by channel and row by row: Len() x channels x height x width
	// bytes, 0 black to 255 white.
	Pixels []byte
	// Labels holds one byte per image. They are 0 if the data set has no labels: see Data.Unlabeled.
	Labels []byte
}

// Len returns the number of images.
func (i Images) Len() int { return len(i.Labels) }

// slice returns the images from to, to excluded, each of which has size bytes. It aliases i, and can't grow into it.
func (i Images) slice(from, to, size int) Images {
	return Images{Pixels: i.Pixels[from*size : to*size : to*size], Labels: i.Labels[from:to:to]}
}

// Data is a data set in memory. Nobody may change it: splits alias it.
type Data struct {
	Name   string
	Digest string
	// Height and Width are an image's, in pixels.
	Height, Width int
	// Channels of an image. 0: 1.
	Channels int
	// Unlabeled says that the data set has no labels.
	Unlabeled   bool
	Train, Test Images
}

// Size is how many bytes the data set has in memory.
func (d *Data) Size() int {
	return len(d.Train.Pixels) + len(d.Train.Labels) + len(d.Test.Pixels) + len(d.Test.Labels)
}

// Split is a data set divided for training. Its images alias those of the Data.
type Split struct {
	// Digest is the data set's digest.
	Digest string
	// Height and Width are an image's, in pixels.
	Height, Width int
	// Channels of an image. 0: 1.
	Channels int
	// Unlabeled is the data set's.
	Unlabeled               bool
	Train, Validation, Test Images
}

// Split divides the training images: the first train images are for training, and the last validation images for
// validation. The test images stay separate. It returns ErrSplit if either number is below one or if the two parts
// overlap.
func (d *Data) Split(train, validation int) (Split, error) {
	have := d.Train.Len()
	if train < 1 || validation < 1 || train > have || validation > have-train {
		return Split{}, fmt.Errorf("divide %q into %d training and %d validation images, of %d: %w",
			d.Name, train, validation, have, ErrSplit)
	}
	size := max(1, d.Channels) * d.Height * d.Width
	return Split{
		Digest: d.Digest,
		Height: d.Height, Width: d.Width, Channels: d.Channels, Unlabeled: d.Unlabeled,
		Train:      d.Train.slice(0, train, size),
		Validation: d.Train.slice(have-validation, have, size),
		Test:       d.Test.slice(0, d.Test.Len(), size),
	}, nil
}
