package figure

import (
	"image"
	"image/color"
)

// stamp is a disc with soft edges, as opacities of 0 to 255 in a square. It is made of whole numbers only, so that
// points look the same bit for bit on every machine.
type stamp struct {
	reach   int // pixels from the middle one to the edge
	opacity []uint8
}

// newStamp makes a disc whose radius is in sixteenths of a pixel.
func newStamp(radius int) stamp {
	const parts = 8 // of a pixel, in each direction
	s := stamp{reach: (radius+8)/16 + 1}
	side := 2*s.reach + 1
	s.opacity = make([]uint8, side*side)
	for i := range s.opacity {
		inside := 0
		for part := range parts * parts {
			// In sixteenths of a pixel from the disc's middle: the middles of parts are at odd ones.
			x := (i%side-s.reach)*16 + part%parts*2 - (parts - 1)
			y := (i/side-s.reach)*16 + part/parts*2 - (parts - 1)
			if x*x+y*y <= radius*radius {
				inside++
			}
		}
		s.opacity[i] = uint8(inside * 255 / (parts * parts))
	}
	return s
}

// press lays the disc with its middle at a pixel over what is there. Colours are opaque.
func (s stamp) press(picture *image.NRGBA, x, y int, c color.RGBA) {
	side := 2*s.reach + 1
	for i, opacity := range s.opacity {
		at := image.Pt(x+i%side-s.reach, y+i/side-s.reach)
		if opacity == 0 || !at.In(picture.Rect) {
			continue
		}
		pixel := picture.Pix[picture.PixOffset(at.X, at.Y):][:4]
		// Over, in colours that aren't multiplied by their opacity.
		front, back := int(opacity)*255, (255-int(opacity))*int(pixel[3])
		total := front + back
		for channel, value := range [3]uint8{c.R, c.G, c.B} {
			pixel[channel] = uint8((front*int(value) + back*int(pixel[channel]) + total/2) / total)
		}
		pixel[3] = uint8((total + 127) / 255)
	}
}
