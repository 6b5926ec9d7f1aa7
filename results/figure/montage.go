package figure

import (
	"fmt"
	"image"
	"strings"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Most images that a montage shows, so that they can still be seen.
const (
	maxExamples = 10
	maxTiles    = 400
)

// Lengths of montages, in pixels.
const (
	margin     = 24
	gap        = 6 // between images
	labelSpace = 18
)

// montage is images in a grid, with labels.
type montage struct {
	title, description string
	rows, columns      int
	// rowLabels and columnLabels are none, or one each.
	rowLabels, columnLabels []string
	images                  func(row, column int) (of Images, n int, shown bool)
}

// Reconstructions draws figure 2: every original, and its reconstruction below it. It takes from 1 to 10 of each, of
// equal size; the paper shows three.
func Reconstructions(originals, reconstructions Images) (*Figure, error) {
	const figure = "figure of reconstructions"
	sets := []Images{originals, reconstructions}
	names := []string{"Original", "Reconstruction"}
	if err := checkSets(figure, sets, names); err != nil {
		return nil, err
	}
	return montage{
		title: "Reconstructions of test images",
		description: fmt.Sprintf("%d test images in the upper row, and what the autoencoder makes of them below.",
			originals.Len()),
		rows: len(sets), columns: originals.Len(), rowLabels: names,
		images: func(row, column int) (Images, int, bool) { return sets[row], column, true },
	}.draw(), nil
}

// Denoising draws figure 4: in every row an original, the same with noise, and what the denoising autoencoder makes of
// it. It takes from 1 to 10 of each, of equal size; the paper shows three.
func Denoising(originals, noisy, denoised Images) (*Figure, error) {
	const figure = "figure of denoising"
	sets := []Images{originals, noisy, denoised}
	names := []string{"Original", "Noisy", "Reconstruction"}
	if err := checkSets(figure, sets, names); err != nil {
		return nil, err
	}
	return montage{
		title: "Denoising of test images",
		description: fmt.Sprintf("%d rows of an original, the same with noise, and its reconstruction.",
			originals.Len()),
		rows: originals.Len(), columns: len(sets), columnLabels: names,
		images: func(row, column int) (Images, int, bool) { return sets[column], row, true },
	}.draw(), nil
}

// Generated draws figure 3: what the decoder makes of codes drawn from a Gaussian distribution. It takes from 1 to 400
// images; the paper shows three. Up to ten are in one row.
func Generated(images Images) (*Figure, error) {
	columns := images.Len()
	if columns > maxExamples {
		columns = tileColumns(columns)
	}
	return tiles(images, columns, "figure of generated images", "Decoded from Gaussian codes",
		"decoded from random codes")
}

// Samples draws figure 6: images sampled from the variational autoencoder, in rows. It takes from 1 to 400.
func Samples(images Images) (*Figure, error) {
	return tiles(images, tileColumns(images.Len()), "figure of samples", "Samples of the variational autoencoder",
		"sampled from the variational autoencoder")
}

func tiles(images Images, columns int, figure, title, what string) (*Figure, error) {
	if err := images.check(figure); err != nil {
		return nil, err
	}
	count := images.Len()
	if count > maxTiles {
		return nil, fmt.Errorf("%s: %d images: at most %d can be shown", figure, count, maxTiles)
	}
	rows := (count + columns - 1) / columns
	return montage{
		title: title, description: fmt.Sprintf("%d images %s, in %d rows.", count, what, rows),
		rows: rows, columns: columns,
		images: func(row, column int) (Images, int, bool) {
			n := row*columns + column
			return images, n, n < count
		},
	}.draw(), nil
}

// tileColumns is how many of count images stand in a row. Of the widths up to 10 that make two rows or more, it is the
// one that leaves the fewest holes in the last row, and the widest of those.
func tileColumns(count int) int {
	best, holes := 1, count
	for columns := 1; columns <= 10 && columns <= (count+1)/2; columns++ {
		// Narrow columns have no holes, but no one wants a tower either.
		if columns*columns*2 < count && columns < 10 {
			continue
		}
		if h := (columns - count%columns) % columns; h <= holes {
			best, holes = columns, h
		}
	}
	return best
}

// checkSets checks sets of images of which the first ones, the second ones and so on belong together.
func checkSets(figure string, sets []Images, labels []string) error {
	names := make([]string, len(labels))
	for i, label := range labels {
		names[i] = strings.ToLower(label)
	}
	first := sets[0]
	for i, set := range sets {
		if err := set.check(figure + ", " + names[i] + " images"); err != nil {
			return err
		}
		switch {
		case max(1, set.Channels) != max(1, first.Channels):
			return fmt.Errorf("%s: %s images have %d channels, but %s images %d: they have to be equal",
				figure, names[i], max(1, set.Channels), names[0], max(1, first.Channels))
		case set.Height != first.Height || set.Width != first.Width:
			return fmt.Errorf("%s: %s images have %dx%d pixels, but %s images %dx%d: they have to be equal",
				figure, names[i], set.Height, set.Width, names[0], first.Height, first.Width)
		case set.Len() != first.Len():
			return fmt.Errorf("%s: %d %s images, but %d %s images: they have to be as many",
				figure, set.Len(), names[i], first.Len(), names[0])
		case set.Len() > maxExamples:
			return fmt.Errorf("%s: %d examples: at most %d can be shown", figure, set.Len(), maxExamples)
		}
	}
	return nil
}

// draw lays the montage out in whole pixels.
func (m montage) draw() *Figure {
	shape, _, _ := m.images(0, 0)
	scale := shape.scale()
	width, height := shape.Width*scale, shape.Height*scale

	title, label := titleStyle(), labelStyle()
	top := margin + pixels(title.Height(m.title)) + labelSpace
	headers := top
	if len(m.columnLabels) > 0 {
		top += pixels(label.Height(m.columnLabels[0])) + labelSpace/2
	}
	left := margin
	for _, text := range m.rowLabels {
		left = max(left, margin+pixels(label.Width(text))+labelSpace)
	}
	// Labels of columns may be wider than images.
	pitch := width + gap
	for _, text := range m.columnLabels {
		pitch = max(pitch, pixels(label.Width(text))+2*gap)
	}
	grid := m.columns*pitch - (pitch - width)
	if len(m.columnLabels) > 0 {
		left += (pitch - width) / 2
	}
	f := &Figure{title: m.title, description: m.description, height: top + m.rows*(height+gap) - gap + margin}
	f.width = max(left+grid+margin+(left-margin)*min(1, len(m.columnLabels)), pixels(title.Width(m.title))+2*margin)
	// A title that is wider than all images has them in its middle.
	left += (f.width - left - grid - margin - (left-margin)*min(1, len(m.columnLabels))) / 2

	for row := range m.rows {
		for column := range m.columns {
			of, n, shown := m.images(row, column)
			if !shown {
				continue
			}
			at := image.Pt(left+column*pitch, top+row*(height+gap))
			f.layers = append(f.layers, layer{picture: of.enlarged(n, scale), at: at})
		}
	}
	f.layers = append(f.layers, layer{paint: func(c draw.Canvas) {
		// at is where the middle of a text's upper edge, or the end of its middle line, comes to stand.
		at := func(x, y int) vg.Point { return vg.Point{X: points(x), Y: points(f.height - y)} }
		title.XAlign, title.YAlign = draw.XCenter, draw.YTop
		half := margin + pixels(title.Width(m.title))/2
		c.FillText(title, at(min(max(left+grid/2, half), f.width-half), margin), m.title)
		style := label
		style.XAlign, style.YAlign = draw.XCenter, draw.YTop
		for i, text := range m.columnLabels {
			c.FillText(style, at(left+i*pitch+width/2, headers), text)
		}
		style.XAlign, style.YAlign = draw.XRight, draw.YCenter
		for i, text := range m.rowLabels {
			c.FillText(style, at(left-labelSpace, top+i*(height+gap)+height/2), text)
		}
	}})
	return f
}
