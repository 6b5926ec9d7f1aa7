package figure

import (
	"fmt"
	"image"
	"image/color"
	"math"
)

// Images are images of Height x Width pixels, one after the other, each channel by channel and row by row from the top.
// 0 is black and 1 is white; values outside, as noise brings them about, are shown as the nearer of the two.
type Images struct {
	Pixels        []float32
	Height, Width int
	// Channels are 1, which 0 stands for too: grey; 2: grey and alpha; 3: red, green and blue; or 4: these and alpha.
	Channels int
}

// size is the number of an image's values.
func (images Images) size() int { return max(1, images.Channels) * images.Height * images.Width }

// Len is the number of whole images.
func (images Images) Len() int {
	if images.Height <= 0 || images.Width <= 0 {
		return 0
	}
	return len(images.Pixels) / images.size()
}

// maxSide is the largest height and width of an image. Pictures of that size still fit a page.
const maxSide = 1024

// check says what is wrong with images, naming them as the caller does.
func (images Images) check(what string) error {
	switch {
	case images.Height <= 0 || images.Width <= 0 || images.Height > maxSide || images.Width > maxSide:
		return fmt.Errorf("%s: images of %dx%d pixels (height x width): each has to be from 1 to %d",
			what, images.Height, images.Width, maxSide)
	case images.Channels < 0 || images.Channels > 4:
		return fmt.Errorf("%s: images of %d channels: 1 to 4 can be shown", what, images.Channels)
	case len(images.Pixels) == 0:
		return fmt.Errorf("%s: no images: at least one is needed", what)
	case len(images.Pixels)%images.size() != 0 && images.Channels > 1:
		return fmt.Errorf("%s: %d values aren't a whole number of images of %dx%dx%d = %d values",
			what, len(images.Pixels), images.Channels, images.Height, images.Width, images.size())
	case len(images.Pixels)%images.size() != 0:
		return fmt.Errorf("%s: %d pixels aren't a whole number of images of %dx%d = %d pixels",
			what, len(images.Pixels), images.Height, images.Width, images.size())
	}
	for i, value := range images.Pixels {
		if math.IsNaN(float64(value)) || math.IsInf(float64(value), 0) {
			n, within := i/images.size(), i%(images.Height*images.Width)
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
func (images Images) enlarged(n, scale int) image.Image {
	pixels := images.Pixels[n*images.size():][:images.size()]
	if images.Channels > 1 {
		return images.colored(pixels, scale)
	}
	picture := image.NewGray(image.Rect(0, 0, images.Width*scale, images.Height*scale))
	for y := range images.Height * scale {
		row := picture.Pix[y*picture.Stride:][:images.Width*scale]
		for x := range row {
			row[x] = grey(pixels[y/scale*images.Width+x/scale])
		}
	}
	return picture
}

// colored returns an image of several channels like enlarged.
func (images Images) colored(pixels []float32, scale int) image.Image {
	picture := image.NewNRGBA(image.Rect(0, 0, images.Width*scale, images.Height*scale))
	plane := images.Height * images.Width
	for y := range images.Height * scale {
		for x := range images.Width * scale {
			at := y/scale*images.Width + x/scale
			its := color.NRGBA{A: 255}
			its.R = grey(pixels[at])
			its.G, its.B = its.R, its.R
			if images.Channels > 2 {
				its.G, its.B = grey(pixels[plane+at]), grey(pixels[2*plane+at])
			}
			if images.Channels != 3 {
				its.A = grey(pixels[(images.Channels-1)*plane+at])
			}
			picture.SetNRGBA(x, y, its)
		}
	}
	return picture
}

// grey is the level of a pixel of value 0 (black) to 1 (white).
func grey(value float32) uint8 {
	return uint8(math.Floor(float64(255*float64(min(max(value, 0), 1))) + 0.5))
}
