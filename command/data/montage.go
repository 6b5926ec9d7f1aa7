package data

import (
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"

	"trellis/trainer/dataset"
)

const (
	// columns is how many images of a class a montage shows, and rows of how many classes.
	columns, rows = 12, 40
	// gap is between images, in pixels. Images have about side pixels, or more.
	gap, side = 2, 56
)

// montage is a picture with the first training images of each class. Without labels, it has the first of all.
type montage struct {
	set    *dataset.Set
	images [rows][]image.Image
}

func newMontage(set *dataset.Set) *montage { return &montage{set: set} }

// add shows an image if there is room for it.
func (m *montage) add(test bool, pixels []byte, label byte) {
	row := int(label)
	if m.set.Classes == 0 {
		for row = 0; row < rows-1 && len(m.images[row]) == columns; row++ {
		}
	}
	if !test && row < rows && len(m.images[row]) < columns {
		m.images[row] = append(m.images[row], toImage(m.set, pixels))
	}
}

// toImage makes an image of pixels. Two channels are gray and alpha.
func toImage(set *dataset.Set, pixels []byte) image.Image {
	size := set.Height * set.Width
	out := image.NewNRGBA(image.Rect(0, 0, set.Width, set.Height))
	for i := range size {
		c := color.NRGBA{pixels[i], pixels[i], pixels[i], 255}
		if set.Channels > 2 {
			c.G, c.B = pixels[size+i], pixels[2*size+i]
		}
		if set.Channels == 2 || set.Channels == 4 {
			c.A = pixels[(set.Channels-1)*size+i]
		}
		out.SetNRGBA(i%set.Width, i/set.Width, c)
	}
	return out
}

// write writes the picture as PNG.
func (m *montage) write(out io.Writer) error {
	scale := max(1, side/max(m.set.Height, m.set.Width))
	width, height := m.set.Width*scale+gap, m.set.Height*scale+gap
	shown, most := 0, 0
	for row, images := range m.images {
		if len(images) > 0 {
			shown, most = row+1, max(most, len(images))
		}
	}
	picture := image.NewNRGBA(image.Rect(0, 0, most*width+gap, shown*height+gap))
	draw.Draw(picture, picture.Bounds(), image.NewUniform(color.NRGBA{128, 128, 128, 255}), image.Point{}, draw.Src)
	for row, images := range m.images {
		for column, its := range images {
			place(picture, its, gap+column*width, gap+row*height, scale)
		}
	}
	return png.Encode(out, picture)
}

// place draws an image, each of its pixels as a square of scale.
func place(picture *image.NRGBA, its image.Image, left, top, scale int) {
	bounds := its.Bounds()
	for y := range bounds.Dy() {
		for x := range bounds.Dx() {
			corner := image.Pt(left+x*scale, top+y*scale)
			square := image.Rectangle{corner, corner.Add(image.Pt(scale, scale))}
			draw.Draw(picture, square, image.NewUniform(its.At(x, y)), image.Point{}, draw.Over)
		}
	}
}
