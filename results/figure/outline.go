package figure

import (
	"fmt"

	"golang.org/x/image/font/sfnt"
	"golang.org/x/image/math/fixed"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// outlined is an SVG canvas that fills the outlines of letters, so that no font is needed to show them.
type outlined struct{ *vgsvg.Canvas }

var _ vg.Canvas = outlined{}

// FillString draws text with its baseline's left end at a point.
func (c outlined) FillString(face font.Face, at vg.Point, text string) {
	if path := outline(face, at, text); len(path) > 0 {
		c.Fill(path)
	}
}

// outline returns the outlines of a text whose baseline's left end is at a point. The font is one of those that come
// with gonum.org/v1/plot, so that reading it can't fail; where it does, that is a mistake of this package.
func outline(face font.Face, at vg.Point, text string) vg.Path {
	var (
		buffer   sfnt.Buffer
		path     vg.Path
		units    = fixed.Int26_6(face.Face.UnitsPerEm()) // at this size, lengths are in the font's own units
		scale    = face.Font.Size / vg.Length(units)
		x        fixed.Int26_6
		previous sfnt.GlyphIndex
	)
	check := func(err error) {
		if err != nil {
			panic(fmt.Sprintf("figure: reading font %q: %v", face.Name(), err))
		}
	}
	point := func(p fixed.Point26_6) vg.Point {
		// A font's y grows downwards, a canvas's upwards.
		return vg.Point{X: at.X + vg.Length(vg.Length(x+p.X)*scale), Y: at.Y - vg.Length(vg.Length(p.Y)*scale)}
	}
	for i, letter := range []rune(text) {
		glyph, err := face.Face.GlyphIndex(&buffer, letter)
		check(err)
		if i > 0 {
			// Not all fonts have pairs of letters that are set closer.
			if kern, err := face.Face.Kern(&buffer, previous, glyph, units, 0); err == nil {
				x += kern
			}
		}
		segments, err := face.Face.LoadGlyph(&buffer, glyph, units, nil)
		check(err)
		for j, s := range segments {
			switch s.Op {
			case sfnt.SegmentOpMoveTo:
				if j > 0 {
					path.Close()
				}
				path.Move(point(s.Args[0]))
			case sfnt.SegmentOpLineTo:
				path.Line(point(s.Args[0]))
			case sfnt.SegmentOpQuadTo:
				path.QuadTo(point(s.Args[0]), point(s.Args[1]))
			case sfnt.SegmentOpCubeTo:
				path.CubeTo(point(s.Args[0]), point(s.Args[1]), point(s.Args[2]))
			}
		}
		if len(segments) > 0 {
			path.Close()
		}
		advance, err := face.Face.GlyphAdvance(&buffer, glyph, units, 0)
		check(err)
		x += advance
		previous = glyph
	}
	return path
}

// boxPath is the outline of a rectangle.
func boxPath(r vg.Rectangle) vg.Path {
	var path vg.Path
	path.Move(r.Min)
	path.Line(vg.Point{X: r.Max.X, Y: r.Min.Y})
	path.Line(r.Max)
	path.Line(vg.Point{X: r.Min.X, Y: r.Max.Y})
	path.Close()
	return path
}
