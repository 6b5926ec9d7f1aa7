package source

import (
	"errors"
	"image"
	"image/color"
	_ "image/jpeg" // The formats that pictures may have.
	_ "image/png"
	"io"

	"trellis/trainer/dataset"
)

// unreadable is the error for what is not a whole picture.
func unreadable(err error) error {
	switch {
	case errors.Is(err, image.ErrFormat):
		return dataset.Invalidf("it is neither PNG nor JPEG, whatever its name says")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return dataset.Invalidf("it is cut off")
	}
	return dataset.Invalidf("it is damaged: %w", err)
}

// inspectModel says whether pictures of a color model are gray, or why they can't be imported.
func inspectModel(model color.Model, format string) (gray bool, err error) {
	switch model {
	case color.GrayModel:
		return true, nil
	case color.Gray16Model, color.RGBA64Model, color.NRGBA64Model:
		return false, dataset.Invalidf("it has 16 bits a channel, want 8: convert it")
	case color.CMYKModel:
		return false, dataset.Invalidf("it is a %s picture in CMYK, for print: convert it to RGB", format)
	}
	if palette, ok := model.(color.Palette); ok {
		gray = true
		for _, entry := range palette {
			c := color.NRGBAModel.Convert(entry).(color.NRGBA)
			gray = gray && c.R == c.G && c.G == c.B
		}
	}
	return gray, nil
}

// toPlanes writes a picture channel by channel. One channel is what is gray, or else the luminance of ITU-R 601.
func toPlanes(picture image.Image, channels int, planes []byte) error {
	size := picture.Bounds().Dx() * picture.Bounds().Dy()
	if len(planes) != channels*size {
		return dataset.Invalidf("it has changed meanwhile")
	}
	i := 0
	return eachPixel(picture, channels == 4, func(c color.NRGBA) {
		switch {
		case channels > 1:
			values := [4]byte{c.R, c.G, c.B, c.A}
			for channel, value := range values[:channels] {
				planes[channel*size+i] = value
			}
		case c.R == c.G && c.G == c.B:
			planes[i] = c.R
		default:
			planes[i] = color.GrayModel.Convert(c).(color.Gray).Y
		}
		i++
	})
}

// isGray says whether all of a picture's pixels are gray. It returns an error if one is transparent.
func isGray(picture image.Image) (bool, error) {
	gray := true
	err := eachPixel(picture, false, func(c color.NRGBA) { gray = gray && c.R == c.G && c.G == c.B })
	return gray, err
}

// eachPixel calls do with each pixel, row by row. It returns an error at the first that is transparent and may not be.
func eachPixel(picture image.Image, transparent bool, do func(color.NRGBA)) error {
	at, err := reader(picture)
	if err != nil {
		return err
	}
	bounds := picture.Bounds()
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			c := at(x, y)
			if c.A != 255 && !transparent {
				return dataset.Invalidf("it is transparent: pixel (%d, %d) has alpha %d, want 255: lay it on a background, or import "+
					"all with --channels 4", x-bounds.Min.X, y-bounds.Min.Y, c.A)
			}
			do(c)
		}
	}
	return nil
}

// reader returns a function that reads a picture's pixels, not multiplied by alpha.
func reader(picture image.Image) (func(x, y int) color.NRGBA, error) {
	switch picture := picture.(type) {
	case *image.Gray:
		return func(x, y int) color.NRGBA {
			value := picture.GrayAt(x, y).Y
			return color.NRGBA{value, value, value, 255}
		}, nil
	case *image.NRGBA:
		return picture.NRGBAAt, nil
	case *image.RGBA: // Opaque, as PNG decodes to it.
		return func(x, y int) color.NRGBA { return color.NRGBA(picture.RGBAAt(x, y)) }, nil
	case *image.YCbCr:
		return func(x, y int) color.NRGBA {
			c := picture.YCbCrAt(x, y)
			r, g, b := color.YCbCrToRGB(c.Y, c.Cb, c.Cr)
			return color.NRGBA{r, g, b, 255}
		}, nil
	case *image.Paletted:
		palette := make([]color.NRGBA, 256)
		for i, entry := range picture.Palette {
			palette[i] = color.NRGBAModel.Convert(entry).(color.NRGBA)
		}
		return func(x, y int) color.NRGBA { return palette[picture.ColorIndexAt(x, y)] }, nil
	}
	return nil, dataset.Invalidf("it decodes to %T, want 8 bits a channel in gray or RGB", picture)
}
