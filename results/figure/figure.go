package figure

import (
	"bytes"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	stddraw "image/draw"
	"image/png"
	"io"
	"slices"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// dotsPerPoint is the resolution of pictures, in pixels a point (1/72 inch). It is a whole number so that montages are
// laid out in whole pixels, which a PNG shows as they are.
const dotsPerPoint = 3

// points is a length of so many pixels.
func points(pixels int) vg.Length { return vg.Length(pixels) / dotsPerPoint }

// Figure is a drawn figure. It doesn't change, and several goroutines may write it at once.
type Figure struct {
	title string
	// description says what the figure shows to who can't see it.
	description string
	// width and height are in pixels.
	width, height int
	// layers are drawn one over the other, the first at the bottom.
	layers []layer
}

// layer is a picture or, where that is nil, lines, areas and text.
type layer struct {
	paint func(draw.Canvas)

	picture image.Image
	// at is the picture's upper left corner, in pixels from the figure's.
	at image.Point
	// smooth says that the picture may be smoothed where an SVG is shown at another size. Enlarged images may not.
	smooth bool
}

// rectangle is the area from (left, top) to (right, bottom), in pixels from the upper left corner.
func (f *Figure) rectangle(left, top, right, bottom int) vg.Rectangle {
	return vg.Rectangle{
		Min: vg.Point{X: points(left), Y: points(f.height - bottom)},
		Max: vg.Point{X: points(right), Y: points(f.height - top)},
	}
}

func (f *Figure) paintOn(canvas vg.Canvas, picture func(layer)) {
	whole := draw.Canvas{Canvas: canvas, Rectangle: f.rectangle(0, 0, f.width, f.height)}
	for _, l := range f.layers {
		if l.picture != nil {
			picture(l)
			continue
		}
		l.paint(whole)
	}
}

// WritePNG writes the figure as a PNG with 216 pixels an inch, on white.
func (f *Figure) WritePNG(w io.Writer) error {
	canvas := vgimg.NewWith(vgimg.UseWH(points(f.width), points(f.height)), vgimg.UseDPI(72*dotsPerPoint))
	if size := canvas.Image().Bounds().Size(); size != image.Pt(f.width, f.height) {
		return fmt.Errorf("figure %q: canvas has %v pixels instead of %dx%d", f.title, size, f.width, f.height)
	}
	f.paintOn(canvas, func(l layer) {
		area := l.picture.Bounds().Sub(l.picture.Bounds().Min).Add(l.at)
		stddraw.Draw(canvas.Image(), area, l.picture, l.picture.Bounds().Min, stddraw.Over)
	})
	encoder := png.Encoder{CompressionLevel: png.DefaultCompression}
	var file bytes.Buffer
	if err := encoder.Encode(&file, canvas.Image()); err != nil {
		return fmt.Errorf("figure %q: encoding PNG: %w", f.title, err)
	}
	if _, err := w.Write(withDensity(file.Bytes())); err != nil {
		return fmt.Errorf("figure %q: writing PNG: %w", f.title, err)
	}
	return nil
}

// withDensity adds to a PNG how many of its pixels are a metre, so that programs show and print it at its own size.
// Go's encoder doesn't. The place is behind the header (PNG specification, third edition, 11.3.4.3).
func withDensity(file []byte) []byte {
	const headerEnd = 8 + 4 + 4 + 13 + 4 // signature; length, type, data and checksum of IHDR
	const perMetre = (dotsPerPoint*72*10000 + 127) / 254
	chunk := binary.BigEndian.AppendUint32(nil, 9)
	chunk = append(chunk, "pHYs"...)
	chunk = binary.BigEndian.AppendUint32(chunk, perMetre)
	chunk = binary.BigEndian.AppendUint32(chunk, perMetre)
	chunk = append(chunk, 1) // the unit is the metre
	chunk = binary.BigEndian.AppendUint32(chunk, crc32.ChecksumIEEE(chunk[4:]))
	return slices.Concat(file[:headerEnd], chunk, file[headerEnd:])
}

// What vgsvg writes and what takes its place. It names PNG pictures JPEG, and its documents have no title.
var (
	svgOpening = []byte("xmlns:xlink=\"http://www.w3.org/1999/xlink\">\n")
	svgJPEG    = []byte("data:image/jpg;base64,")
	svgPNG     = []byte("data:image/png;base64,")
)

var errUnknownSVG = errors.New("gonum.org/v1/plot/vg/vgsvg begins documents in an unknown way")

// WriteSVG writes the figure as an SVG document with everything in it: pictures are PNG data, letters are outlines.
func (f *Figure) WriteSVG(w io.Writer) error {
	canvas := vgsvg.NewWith(vgsvg.UseWH(points(f.width), points(f.height)))
	canvas.Push()
	canvas.SetColor(color.White)
	canvas.Fill(boxPath(f.rectangle(0, 0, f.width, f.height)))
	canvas.Pop()
	smooth := make([]bool, 0, len(f.layers))
	f.paintOn(outlined{canvas}, func(l layer) {
		size := l.picture.Bounds().Size()
		canvas.DrawImage(f.rectangle(l.at.X, l.at.Y, l.at.X+size.X, l.at.Y+size.Y), l.picture)
		smooth = append(smooth, l.smooth)
	})
	var document bytes.Buffer
	if _, err := canvas.WriteTo(&document); err != nil {
		return fmt.Errorf("figure %q: drawing SVG: %w", f.title, err)
	}
	head, body, found := bytes.Cut(document.Bytes(), svgOpening)
	if !found {
		return fmt.Errorf("figure %q: %w", f.title, errUnknownSVG)
	}

	var out bytes.Buffer
	out.Write(head)
	out.WriteString(`role="img" `)
	out.Write(svgOpening)
	for _, element := range []struct{ name, text string }{{"title", f.title}, {"desc", f.description}} {
		out.WriteString("<" + element.name + ">")
		if err := xml.EscapeText(&out, []byte(element.text)); err != nil {
			return fmt.Errorf("figure %q: escaping its %s: %w", f.title, element.name, err)
		}
		out.WriteString("</" + element.name + ">\n")
	}
	for i, part := range bytes.SplitAfter(body, []byte("<image ")) {
		// Part i ends where picture i begins, except the last, after which there is none.
		out.Write(bytes.Replace(part, svgJPEG, svgPNG, 1))
		if i < len(smooth) && !smooth[i] {
			out.WriteString(`style="image-rendering:pixelated" `)
		}
	}
	if _, err := out.WriteTo(w); err != nil {
		return fmt.Errorf("figure %q: writing SVG: %w", f.title, err)
	}
	return nil
}
