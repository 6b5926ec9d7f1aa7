package figure

import (
	"bytes"
	"encoding/xml"
	"errors"
	"image"
	"image/png"
	"io"
	"math"
	"strings"
	"sync"
	"testing"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/recorder"
)

// testImages are images whose pixels all differ from their neighbours. Their values go from -0.1 to 1.1.
func testImages(count, height, width int) Images {
	images := Images{Height: height, Width: width}
	for i := range count * height * width {
		images.Pixels = append(images.Pixels, float32(i*37%121)/100-0.1)
	}
	return images
}

// testPanel has points on a golden spiral, a tenth of them of each digit.
func testPanel(title string, count int) Panel {
	p := Panel{Title: title, XLabel: "Across (60.1% of the variance)", YLabel: "Up"}
	for i := range count {
		radius, angle := math.Sqrt(float64(i)), float64(i)*2.399963
		p.Points = append(p.Points, 3*radius*math.Cos(angle)+7, radius*math.Sin(angle)-2)
		p.Labels = append(p.Labels, byte(i%10))
	}
	return p
}

func testCounts() (counts [10][10]int) {
	for i := range counts {
		counts[i][i] = 900 + i
		counts[i][(i+1)%10] = i
	}
	counts[3][8] = 49
	return counts
}

func testLosses(epochs int) (training, validation []float64) {
	for i := range epochs {
		loss := 0.01 + 0.06*math.Exp(-float64(i)/5)
		training, validation = append(training, loss), append(validation, loss+0.001)
	}
	return training, validation
}

// allFigures draws one of each, anew at every call.
func allFigures(t *testing.T) map[string]*Figure {
	t.Helper()
	all := map[string]*Figure{}
	add := func(name string, f *Figure, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all[name] = f
	}
	three := testImages(3, 28, 28)
	f, err := Reconstructions(three, three)
	add("reconstructions", f, err)
	f, err = Generated(three)
	add("generated", f, err)
	f, err = Denoising(three, three, three)
	add("denoising", f, err)
	f, err = Confusion(testCounts())
	add("confusion", f, err)
	f, err = Samples(testImages(24, 28, 28))
	add("samples", f, err)
	f, err = Embedding([]Panel{testPanel("PCA", 10000), testPanel("t-SNE", 10000)})
	add("embedding", f, err)
	training, validation := testLosses(150)
	f, err = Losses(training, validation, 142)
	add("losses", f, err)
	f, err = Curves("Curves", "A note.", "What it shows.", testCharts())
	add("curves", f, err)
	return all
}

func writePNG(t *testing.T, f *Figure) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := f.WritePNG(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func writeSVG(t *testing.T, f *Figure) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := f.WriteSVG(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func decode(t *testing.T, file []byte) image.Image {
	t.Helper()
	picture, err := png.Decode(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	return picture
}

// written is a text on a figure and where the left end of its baseline is, if it isn't turned.
type written struct {
	text string
	at   vg.Point
}

func texts(f *Figure) []written {
	var canvas recorder.Canvas
	f.paintOn(&canvas, func(layer) {})
	var all []written
	for _, action := range canvas.Actions {
		if fill, ok := action.(*recorder.FillString); ok {
			all = append(all, written{fill.String, fill.Point})
		}
	}
	return all
}

func count(all []written, text string) (n int) {
	for _, w := range all {
		if w.text == text {
			n++
		}
	}
	return n
}

// The same data gives the same bytes, however often it is drawn and written.
func TestFiguresAreDeterministic(t *testing.T) {
	if testing.Short() {
		t.Skip("seconds of work for one goroutine")
	}
	again := allFigures(t)
	for name, f := range allFigures(t) {
		if !bytes.Equal(writeSVG(t, f), writeSVG(t, again[name])) {
			t.Errorf("%s: another SVG of the same data", name)
		}
		// Which take longer: one with everything that there is will do, and one of images.
		if name != "embedding" && name != "denoising" {
			continue
		}
		if !bytes.Equal(writePNG(t, f), writePNG(t, again[name])) {
			t.Errorf("%s: another PNG of the same data", name)
		}
	}
}

// Two of one figure can be written at once.
func TestWriteAtOnce(t *testing.T) {
	f := allFigures(t)["embedding"]
	var files [2]bytes.Buffer
	var group sync.WaitGroup
	for i := range files {
		group.Go(func() {
			if err := f.WriteSVG(&files[i]); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if !bytes.Equal(files[0].Bytes(), files[1].Bytes()) {
		t.Error("embedding: two SVGs written at once differ")
	}
}

// An SVG is well-formed, says what it shows, and needs nothing from outside, no fonts either.
func TestSVG(t *testing.T) {
	pictures := map[string]int{"reconstructions": 6, "generated": 3, "denoising": 9, "samples": 24, "embedding": 2}
	for name, f := range allFigures(t) {
		document := writeSVG(t, f)
		decoder := xml.NewDecoder(bytes.NewReader(document))
		elements := map[string]int{}
		var inside, title, description string
		for {
			token, err := decoder.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			switch token := token.(type) {
			case xml.CharData:
				switch inside {
				case "title":
					title += string(token)
				case "desc":
					description += string(token)
				}
			case xml.EndElement:
				inside = ""
			case xml.StartElement:
				inside = token.Name.Local
				elements[inside]++
				for _, attribute := range token.Attr {
					switch attribute.Name.Local {
					case "id", "class":
						t.Errorf("%s: %s has an %s, which may be another's too on a page", name, inside,
							attribute.Name.Local)
					case "href":
						if !strings.HasPrefix(attribute.Value, "data:image/png;base64,") {
							t.Errorf("%s: %s refers to %.60q", name, inside, attribute.Value)
						}
					}
				}
			}
		}
		if elements["svg"] != 1 || elements["path"] == 0 || elements["text"] != 0 || elements["style"] != 0 {
			t.Errorf("%s: elements are %v", name, elements)
		}
		if elements["image"] != pictures[name] {
			t.Errorf("%s: %d pictures, want %d", name, elements["image"], pictures[name])
		}
		pixelated := bytes.Count(document, []byte("image-rendering:pixelated"))
		if want := pictures[name]; name != "embedding" && pixelated != want || name == "embedding" && pixelated != 0 {
			t.Errorf("%s: %d pictures of %d are pixelated", name, pixelated, want)
		}
		if title != f.title || title == "" || description != f.description || description == "" {
			t.Errorf("%s: title %q, description %q", name, title, description)
		}
		if len(document) > 1_500_000 {
			t.Errorf("%s: %d bytes, want 1.5 MB at most", name, len(document))
		}
	}
}

// A title is text, whatever is in it.
func TestSVGEscapesTitles(t *testing.T) {
	panel := testPanel("</title><script>alert(1)</script>&", 20)
	f, err := Embedding([]Panel{panel})
	if err != nil {
		t.Fatal(err)
	}
	document := writeSVG(t, f)
	if bytes.Contains(document, []byte("<script")) || !bytes.Contains(document, []byte("&lt;script&gt;")) {
		t.Errorf("title isn't escaped: %.400s", document)
	}
}

// A PNG has its size and resolution, which other programs read.
func TestPNGSize(t *testing.T) {
	for name, f := range allFigures(t) {
		file := writePNG(t, f)
		if got, want := decode(t, file).Bounds(), image.Rect(0, 0, f.width, f.height); got != want {
			t.Errorf("%s: bounds are %v, want %v", name, got, want)
		}
		// 216 dots an inch are 8504 a metre, in the unit 1, the metre.
		if !bytes.Contains(file[:80], []byte("pHYs\x00\x00\x21\x38\x00\x00\x21\x38\x01")) {
			t.Errorf("%s: no resolution in %q", name, file[:80])
		}
	}
}

type brokenWriter struct{}

var errBroken = errors.New("disk full")

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestWriteReportsErrors(t *testing.T) {
	f, err := Generated(testImages(1, 2, 2))
	if err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{"PNG": f.WritePNG(brokenWriter{}), "SVG": f.WriteSVG(brokenWriter{})} {
		if !errors.Is(err, errBroken) || !strings.Contains(err.Error(), "Gaussian codes") {
			t.Errorf("%s to a full disk: %v, want its error and the figure", what, err)
		}
	}
}
