package figure

import (
	"image"
	"image/color"
	"math"
	"slices"
	"strings"
	"testing"
)

// Every pixel is a square of its grey, and only gaps and margins are white.
func TestMontageEnlargesWithoutBlur(t *testing.T) {
	originals, noisy, denoised := testImages(3, 28, 28), testImages(6, 28, 28), testImages(9, 28, 28)
	noisy.Pixels = noisy.Pixels[3*28*28:]
	denoised.Pixels = denoised.Pixels[6*28*28:]
	f, err := Denoising(originals, noisy, denoised)
	if err != nil {
		t.Fatal(err)
	}
	picture := decode(t, writePNG(t, f))
	at := func(x, y int) uint8 { return color.GrayModel.Convert(picture.At(x, y)).(color.Gray).Y }
	sets := []Images{originals, noisy, denoised}
	const scale = 8
	for i, l := range f.layers[:9] {
		row, column := i/3, i%3
		for y := range 28 * scale {
			for x := range 28 * scale {
				value := sets[column].Pixels[row*28*28+y/scale*28+x/scale]
				want := uint8(math.Round(255 * min(1, max(0, float64(value)))))
				if got := at(l.at.X+x, l.at.Y+y); got != want {
					t.Fatalf("row %d, column %d, pixel (%d, %d) is %d, want %d", row, column, x, y, got, want)
				}
			}
		}
		for _, gap := range []image.Point{{-1, 100}, {28 * scale, 100}, {100, 28 * scale}} {
			if got := at(l.at.X+gap.X, l.at.Y+gap.Y); got != 255 {
				t.Errorf("row %d, column %d: gap at %v is %d, want white", row, column, gap, got)
			}
		}
	}
	// Thin, but there.
	if got := f.layers[1].at.X - f.layers[0].at.X - 28*scale; got != gap {
		t.Errorf("columns are %d pixels apart, want %d", got, gap)
	}
	if got := f.layers[3].at.Y - f.layers[0].at.Y - 28*scale; got != gap {
		t.Errorf("rows are %d pixels apart, want %d", got, gap)
	}
}

func TestMontageLabels(t *testing.T) {
	three := testImages(3, 28, 28)
	f, err := Reconstructions(three, three)
	if err != nil {
		t.Fatal(err)
	}
	all := texts(f)
	for _, text := range []string{"Original", "Reconstruction", f.title} {
		if count(all, text) != 1 {
			t.Errorf("reconstructions: %q isn't there once: %v", text, all)
		}
	}
	// Rows: the original is above, and labels are left of the images.
	if all[1].at.Y <= all[2].at.Y || all[1].at.X >= points(f.layers[0].at.X) {
		t.Errorf("labels at %v and %v", all[1], all[2])
	}
	f, err = Denoising(three, three, three)
	if err != nil {
		t.Fatal(err)
	}
	all = texts(f)[1:]
	if len(all) != 3 || all[0].text != "Original" || all[1].text != "Noisy" || all[2].text != "Reconstruction" {
		t.Errorf("denoising: labels %v", all)
	}
	for i := range all[1:] {
		if all[i].at.X >= all[i+1].at.X || all[i].at.Y != all[i+1].at.Y {
			t.Errorf("denoising: labels aren't in a row: %v", all)
		}
	}
}

// Images that aren't square, tiny ones and large ones fit, and so do labels wider than images.
func TestMontageShapes(t *testing.T) {
	for _, shape := range []image.Point{{28, 28}, {1, 1}, {10, 40}, {40, 10}, {300, 200}, {1024, 3}} {
		images := testImages(2, shape.X, shape.Y)
		f, err := Denoising(images, images, images)
		if err != nil {
			t.Fatal(err)
		}
		page := image.Rect(0, 0, f.width, f.height)
		for i, l := range f.layers[:6] {
			area := l.picture.Bounds().Add(l.at)
			if !area.In(page.Inset(margin / 2)) {
				t.Errorf("%v: image %d at %v isn't on the page of %v", shape, i, area, page)
			}
			for j, other := range f.layers[:i] {
				if area.Overlaps(other.picture.Bounds().Add(other.at)) {
					t.Errorf("%v: images %d and %d overlap", shape, i, j)
				}
			}
		}
		writePNG(t, f)
	}
}

func TestTileColumns(t *testing.T) {
	for count, want := range map[int]int{
		0: 1, 1: 1, 2: 1, 3: 2, 4: 2, 10: 5, 16: 8, 18: 9, 20: 10, 24: 8, 25: 5, 64: 8,
		100: 10, 400: 10,
	} {
		if got := tileColumns(count); got != want {
			t.Errorf("%d images: %d columns, want %d", count, got, want)
		}
	}
	for count := 1; count <= maxTiles; count++ {
		if columns := tileColumns(count); columns < 1 || columns > 10 {
			t.Errorf("%d images: %d columns", count, columns)
		}
	}
	// The last row may have holes, but every image is there.
	f, err := Samples(testImages(23, 28, 28))
	if err != nil {
		t.Fatal(err)
	}
	if len(f.layers) != 23+1 {
		t.Errorf("23 images: %d layers, want one each and one of text", len(f.layers))
	}
}

func TestImageErrors(t *testing.T) {
	good := testImages(3, 4, 5)
	bad := func(index int, value float64) Images {
		images := testImages(3, 4, 5)
		images.Pixels[index] = float32(value)
		return images
	}
	for _, c := range []struct {
		images Images
		want   string
	}{
		{Images{}, "0x0 pixels"},
		{Images{Height: 4, Width: -5}, "4x-5 pixels"},
		{Images{Height: 1 << 20, Width: 1}, "from 1 to 1024"},
		{Images{Height: 4, Width: 5}, "at least one"},
		{
			Images{Pixels: good.Pixels[:59], Height: 4, Width: 5},
			"59 pixels aren't a whole number of images of 4x5 = 20",
		},
		{bad(20+2*5+3, math.NaN()), "image 1 (counted from 0) is NaN at row 2, column 3"},
		{bad(59, math.Inf(1)), "image 2 (counted from 0) is +Inf at row 3, column 4"},
	} {
		for name, draw := range map[string]func() (*Figure, error){
			"generated":      func() (*Figure, error) { return Generated(c.images) },
			"samples":        func() (*Figure, error) { return Samples(c.images) },
			"reconstruction": func() (*Figure, error) { return Reconstructions(good, c.images) },
			"noisy":          func() (*Figure, error) { return Denoising(good, c.images, good) },
		} {
			f, err := draw()
			if f != nil || err == nil || !strings.Contains(err.Error(), c.want) ||
				!strings.Contains(err.Error(), name) {
				t.Errorf("%s of %dx%d: error %v, want %q", name, c.images.Height, c.images.Width, err, c.want)
			}
		}
	}
	for want, images := range map[string]Images{
		"2 reconstruction images, but 3 original": testImages(2, 4, 5),
		"have 5x4 pixels, but original":           testImages(3, 5, 4),
	} {
		if _, err := Reconstructions(good, images); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	many := testImages(11, 4, 5)
	if _, err := Reconstructions(many, many); err == nil || !strings.Contains(err.Error(), "11 examples: at most 10") {
		t.Errorf("eleven examples: %v", err)
	}
	if _, err := Samples(testImages(401, 1, 1)); err == nil || !strings.Contains(err.Error(), "at most 400") {
		t.Errorf("401 samples: %v", err)
	}
}

// Images of several channels are shown in their colors, and what is not such an image is refused.
func TestColoredImages(t *testing.T) {
	// Of the second image, the first pixel is (0.4, 0.6, 0.8) and the second (0.2, 0, 1).
	images := Images{Channels: 3, Height: 1, Width: 2, Pixels: []float32{0, 0, 0, 0, 0, 0, 0.4, 0.2, 0.6, -1, 0.8, 2}}
	if images.Len() != 2 {
		t.Fatalf("there are %d images, want 2", images.Len())
	}
	for channels, want := range map[int][2]color.NRGBA{
		2: {{102, 102, 102, 153}, {51, 51, 51, 0}},
		3: {{102, 153, 204, 255}, {51, 0, 255, 255}},
		4: {{102, 153, 204, 255}, {51, 0, 255, 51}},
	} {
		its := images
		its.Channels = channels
		if its.Pixels = images.Pixels[6:]; channels == 4 {
			its.Pixels = append(slices.Clone(its.Pixels), 1, 0.2)
		} else {
			its.Pixels = its.Pixels[:2*channels]
		}
		picture := its.enlarged(0, 3)
		if picture.Bounds() != image.Rect(0, 0, 6, 3) {
			t.Errorf("%d channels: the picture has %v", channels, picture.Bounds())
		}
		for i, pixel := range want {
			if got := picture.At(3*i+2, 2); got != pixel {
				t.Errorf("%d channels: pixel %d is %v, want %v", channels, i, got, pixel)
			}
		}
	}
	if _, err := Reconstructions(images, images); err != nil {
		t.Error(err)
	}
	for want, other := range map[string]Images{
		"have 1 channels, but original images 3": {Channels: 1, Height: 1, Width: 2, Pixels: make([]float32, 4)},
		"5 channels: 1 to 4 can be shown":        {Channels: 5, Height: 1, Width: 2, Pixels: make([]float32, 20)},
		"7 values aren't a whole number":         {Channels: 3, Height: 1, Width: 2, Pixels: make([]float32, 7)},
	} {
		if _, err := Reconstructions(images, other); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
