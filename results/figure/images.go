package figure

import (
	"fmt"
	"image"
	"math"
)

// Images are grey images of Height x Width pixels, one after the other, each row by row from the top. 0 is black and 1
// is white; values outside, as noise brings them about, are shown as the nearer of the two.
type Images struct {
	Pixels        []float32
	Height, Width int
}

// Len is the number of whole images.
func (images Images) Len() int {
	if images.Height <= 0 || images.Width <= 0 {
		return 0
	}
	return len(images.Pixels) / images.Height / images.Width
}

// maxSide is the largest height and width of an image. Pictures of that size still fit a page.
const maxSide = 1024

// check says what is wrong with images, naming them as the caller does.
func (images Images) check(what string) error {
	switch {
	case images.Height <= 0 || images.Width <= 0 || images.Height > maxSide || images.Width > maxSide:
		return fmt.Errorf("%s: images of %dx%d pixels (height x width): each has to be from 1 to %d",
			what, images.Height, images.Width, maxSide)
	case len(images.Pixels) == 0:
		return fmt.Errorf("%s: no images: at least one is needed", what)
	case len(images.Pixels)%(images.Height*images.Width) != 0:
		return fmt.Errorf("%s: %d pixels aren't a whole number of images of %dx%d = %d pixels",
			what, len(images.Pixels), images.Height, images.Width, images.Height*images.Width)
	}
	for i, value := range images.Pixels {
		if math.IsNaN(float64(value)) || math.IsInf(float64(value), 0) {
			n, within := i/(images.Height*images.Width), i%(images.Height*images.Width)
			return fmt.Errorf("%s: image %d (counted from 0) is %v at row %d, column %d: pixels have to be finite numbers",
				what, n, value, within/images.Width, within%images.Width)
		}
	}
	return nil
}

// scale is the whole factor by which images are enlarged: that which brings the longer side nearest to 224 pixels, a
// bit over an inch. It is 8 for MNIST.
func (images Images) scale() int {
	longer := max(images.Height, images.Width)
	return max(1, (224+longer/2)/longer)
}

// enlarged returns image n with every pixel as a square of scale x scale pixels.
func (images Images) enlarged(n, scale int) *image.Gray {
	picture := image.NewGray(image.Rect(0, 0, images.Width*scale, images.Height*scale))
	pixels := images.Pixels[n*images.Height*images.Width:]
	for y := range images.Height * scale {
		row := picture.Pix[y*picture.Stride:][:images.Width*scale]
		for x := range row {
			row[x] = grey(pixels[y/scale*images.Width+x/scale])
		}
	}
	return picture
}

// grey is the level of a pixel of value 0 (black) to 1 (white).
func grey(value float32) uint8 {
	return uint8(math.Floor(float64(255*float64(min(max(value, 0), 1))) + 0.5))
}
