package paper

import (
	"bytes"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"hash/crc32"
	"image"
	"image/png"
	"io"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	trellisv1 "trellis/proto/trellis/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testSVG = `<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="150pt" height="75pt"><title>t</title></svg>`

// testPNG is 300 pixels wide. With a density above 0, it says that so many are a metre.
func testPNG(t *testing.T, density uint32) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := png.Encode(&out, image.NewGray(image.Rect(0, 0, 300, 2))); err != nil {
		t.Fatal(err)
	}
	if density == 0 {
		return out.Bytes()
	}
	chunk := binary.BigEndian.AppendUint32([]byte("\x00\x00\x00\x09pHYs"), density)
	chunk = append(binary.BigEndian.AppendUint32(chunk, density), 1)
	chunk = binary.BigEndian.AppendUint32(chunk, crc32.ChecksumIEEE(chunk[4:]))
	return slices.Insert(out.Bytes(), 33, chunk...)
}

func testReport(t *testing.T) *Report {
	t.Helper()
	return &Report{
		PaperReport: &trellisv1.PaperReport{
			Title: "The paper, again", Summary: "One.\n\nTwo.",
			Sections: []*trellisv1.PaperSection{
				{
					Title: "First section", Text: "Some text.",
					Figures: []*trellisv1.PaperFigure{{Number: 2, Caption: "A caption"}, {Number: 3, Caption: "Another"}},
					Results: []*trellisv1.PaperResult{
						{
							What: "Accuracy", Paper: "0.9513", Ours: "0.9700", Difference: "+0.0187",
							Command: "trellis reproduce --stage classifier", Note: "on test images",
						},
						{What: "Loss", Ours: "0.0085"},
					},
				},
				{Title: "Second section", Figures: []*trellisv1.PaperFigure{{Number: 9, Caption: "Both"}}},
			},
			Stages: []*trellisv1.PaperStage{{
				Study: "Search", Model: "study", State: "SUCCEEDED", Trials: 1080, Runs: 360, Epochs: 1234567, Seconds: 7384,
				Best: "latent_dim 16", Digest: "sha256:abc", Command: "trellis run",
			}},
			Environment: []*trellisv1.PaperFact{{Name: "Go", Value: "1.26.8"}, {Name: "Processor", Value: "any"}},
		},
		Created: time.Date(2026, 3, 1, 23, 30, 0, 0, time.FixedZone("", -2*3600)),
		Pictures: map[uint32]Picture{
			2: {SVG: []byte(testSVG)}, 3: {PNG: testPNG(t, 0)}, 9: {SVG: []byte(testSVG), PNG: testPNG(t, 0)},
		},
	}
}

func write(t *testing.T, r *Report) string {
	t.Helper()
	var out bytes.Buffer
	if err := r.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// The page has everything that the report says, in its order.
func TestReportOrder(t *testing.T) {
	text := write(t, testReport(t))
	at := 0
	for _, want := range []string{
		"<title>The paper, again</title>", "<h1>The paper, again</h1>", `datetime="2026-03-02T01:30:00Z"`, "2 March 2026, 01:30 UTC",
		`<p class="summary">One.</p>`, `<p class="summary">Two.</p>`,
		`href="#section-1"`, `href="#section-2"`, `href="#stages"`, `href="#environment"`,
		`id="section-1"`, "First section", "<p>Some text.</p>",
		`id="figure-2"`, "data:image/svg&#43;xml;base64,PD94bWwg", `alt="Figure 2: A caption"`, "<b>Figure 2.</b> A caption",
		`id="figure-3"`, "data:image/png;base64,iVBORw0KGgo",
		`>Result<`, `>Paper<`, `>Ours<`, `>Difference<`, `>Command<`,
		"Accuracy<small>on test images</small>", `data-label="Paper">0.9513`, `data-label="Ours">0.9700`, `data-label="Difference">&#43;0.0187`,
		"<span>trellis</span> <span>reproduce</span> <span>--stage</span> <span>classifier</span>",
		"Loss", `data-label="Paper">–`, `data-label="Ours">0.0085`, `data-label="Difference">–`, `data-label="Command">–`,
		`id="section-2"`, `id="figure-9"`, "data:image/svg",
		`id="stages"`, "Search", "study", "SUCCEEDED", "2 h 03 min", "1,234,567", "1,080", "360", "latent_dim 16", "sha256:abc",
		`id="environment"`, "Go", "1.26.8", "Processor", "any", "</html>",
	} {
		next := strings.Index(text[at:], want)
		if next < 0 {
			t.Fatalf("%q isn't there, or not behind what is before it", want)
		}
		at += next + len(want)
	}
	if strings.Contains(text, "ZgotmplZ") {
		t.Error("html/template has refused a value")
	}
	// Of two kinds of the same picture, one is enough.
	if n := strings.Count(text, "base64,"); n != 3 {
		t.Errorf("%d pictures in the page, want 3", n)
	}
}

// The page needs nothing from elsewhere, and every element is closed.
func TestReportIsSelfContained(t *testing.T) {
	text := write(t, testReport(t))
	for _, match := range regexp.MustCompile(`(?i)\b(?:src|href|srcset|action|data|poster)\s*=\s*"([^"]*)"`).FindAllStringSubmatch(text, -1) {
		if !strings.HasPrefix(match[1], "data:") && !strings.HasPrefix(match[1], "#") {
			t.Errorf("refers to %q", match[1])
		}
	}
	for _, foreign := range []string{"<script", "<link", "<iframe", "@import", "url(", "http:", "https:"} {
		if strings.Contains(text, foreign) {
			t.Errorf("has %q", foreign)
		}
	}
	if !strings.Contains(text, "default-src 'none'; img-src data:") {
		t.Error("its security policy lets a browser load things")
	}

	decoder := xml.NewDecoder(strings.NewReader(text))
	decoder.Entity = xml.HTMLEntity
	ids := map[string]bool{}
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		element, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		for _, attribute := range element.Attr {
			if attribute.Name.Local == "id" {
				if ids[attribute.Value] {
					t.Errorf("two elements are %q", attribute.Value)
				}
				ids[attribute.Value] = true
			}
		}
	}
	for _, match := range regexp.MustCompile(`(?:href="#|aria-labelledby=")([^"]*)"`).FindAllStringSubmatch(text, -1) {
		if !ids[match[1]] {
			t.Errorf("refers to %q, which isn't there", match[1])
		}
	}
}

// Whatever texts hold, they stay texts.
func TestReportEscapes(t *testing.T) {
	const evil = `</style></title><script>alert("1")</script>" onload='x' & {{.}}`
	r := &Report{
		PaperReport: &trellisv1.PaperReport{
			Title: evil, Summary: evil,
			Sections: []*trellisv1.PaperSection{{
				Title: evil, Text: evil, Figures: []*trellisv1.PaperFigure{{Number: 1, Caption: evil}},
				Results: []*trellisv1.PaperResult{{
					What: evil, Paper: evil, Ours: evil, Difference: evil, Command: evil, Note: evil,
				}},
			}},
			Stages: []*trellisv1.PaperStage{{
				Study: evil, Model: evil, State: evil, Best: evil, Digest: evil, Command: evil,
			}},
			Environment: []*trellisv1.PaperFact{{Name: evil, Value: evil}},
		},
		Pictures: map[uint32]Picture{1: {SVG: []byte(testSVG)}},
	}
	text := write(t, r)
	if strings.Contains(text, "<script") || strings.Count(text, "</style>") != 1 ||
		strings.Count(text, "</title>") != 1 {
		t.Error("a text has become an element")
	}
	for _, tag := range regexp.MustCompile(`<[a-z][^>]*>`).FindAllString(text, -1) {
		if outside := regexp.MustCompile(`"[^"]*"`).ReplaceAllString(tag, ""); strings.Contains(outside, "onload") {
			t.Errorf("a text has become an attribute: %s", tag)
		}
	}
	if n := strings.Count(text, "&lt;script&gt;alert("); n < 19 {
		t.Errorf("%d of the texts are there, escaped", n)
	}
}

// Sentences among the numbers don't take the table's whole width, and a table is one to a screen reader however it is
// displayed.
func TestReportTable(t *testing.T) {
	r := testReport(t)
	r.Sections[0].Results = append(r.Sections[0].Results,
		&trellisv1.PaperResult{What: "Errors", Paper: "3 for 8 (49); 9 and 4, 3 and 2", Ours: "1e-05"})
	text := write(t, r)
	for want, times := range map[string]int{
		`<td role="cell" class="number sentence" data-label="Paper">3 for 8`: 1, `class="number sentence`: 1,
		`<td role="cell" class="number ours" data-label="Ours">1e−05`: 1,
		`role="table"`: 1, `role="columnheader"`: 5, `role="rowheader"`: 3, `role="cell"`: 12,
	} {
		if n := strings.Count(text, want); n != times {
			t.Errorf("%s is there %d times, want %d", want, n, times)
		}
	}
	if regexp.MustCompile(`class="[^"]*\blong\b`).MatchString(text[:strings.Index(text, `id="stages"`)]) {
		t.Error("cells share a class with what is no cell")
	}
}

// Where the paper has no number, there is no column for it. A table of ours has its own columns and its command once.
func TestReportWithoutThePapersNumbers(t *testing.T) {
	r := testReport(t)
	r.Sections[0].Results = r.Sections[0].Results[1:]
	r.Sections[1].Table = &trellisv1.PaperTable{
		Columns: []string{"Plain", "Variational"}, Command: "trellis reproduce --quick",
		Rows: []*trellisv1.PaperRow{
			{What: "silhouette, t-SNE", Values: []string{"-0.25", "1e-05"}, Note: "From -1 to 1"}, {What: "another", Values: []string{"", "1"}},
		},
	}
	text := write(t, r)
	for want, times := range map[string]int{
		">Paper<": 0, ">Difference<": 0, `data-label="Paper"`: 0, ">Ours<": 1, ">Plain<": 1, ">Variational<": 1,
		`data-label="Plain">−0.25<`: 1, `data-label="Variational">1e−05<`: 1, `data-label="Plain">–<`: 1,
		`silhouette, <span class="whole">t-SNE</span>`: 1, `role="columnheader"`: 6, "<span>--quick</span>": 1,
	} {
		if n := strings.Count(text, want); n != times {
			t.Errorf("%s is there %d times, want %d", want, n, times)
		}
	}
	r.Sections[1].Table.Rows[0].Values = []string{"1"}
	if err := Check(r.PaperReport); err == nil || !strings.Contains(err.Error(), `table row "silhouette, t-SNE" has 1 values`) {
		t.Errorf("a row with too few values: %v", err)
	}
}

// What nobody would part at a hyphen stays whole, and what follows or precedes it is lost nowhere.
func TestParts(t *testing.T) {
	for text, want := range map[string]string{
		"PCA and t-SNE":                               "PCA and [t-SNE]",
		"5-nearest-neighbor accuracy":                 "[5-nearest]-neighbor accuracy",
		"trellis coordinator --data q0/data, -o json": "trellis coordinator [--data] q0/data, [-o] json",
		"Kullback-Leibler":                            "Kullback-Leibler",
		"t-SNE":                                       "[t-SNE]",
		"1 - 2":                                       "1 - 2",
		"":                                            "",
	} {
		var got strings.Builder
		for _, part := range parts(text) {
			if part.Whole {
				got.WriteString("[" + part.Text + "]")
				continue
			}
			got.WriteString(part.Text)
		}
		if got.String() != want {
			t.Errorf("%q becomes %q, want %q", text, &got, want)
		}
	}
	for number, want := range map[string]string{
		"-0.5": "−0.5", "1e-05": "1e−05", "-2e-05": "−2e−05", "+0.1": "+0.1", "none": "none", "3 for 8 (49); 9-4": "3 for 8 (49); 9-4",
	} {
		if got := minus(number); got != want {
			t.Errorf("%s becomes %s, want %s", number, got, want)
		}
	}
}

// What a report doesn't say leaves no empty headings.
func TestReportLeavesOut(t *testing.T) {
	text := write(t, &Report{PaperReport: &trellisv1.PaperReport{
		Title: "Short", Sections: []*trellisv1.PaperSection{{Title: "Only"}},
	}})
	for _, absent := range []string{"<time", "<table", "<figure", "Stages", "Versions", "<p"} {
		if strings.Contains(text, absent) {
			t.Errorf("has %q", absent)
		}
	}
	if first, second := write(t, testReport(t)), write(t, testReport(t)); first != second {
		t.Error("the same report gave another page")
	}
}

type brokenWriter struct{}

var errBroken = errors.New("disk full")

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestReportErrors(t *testing.T) {
	for want, change := range map[string]func(*Report){
		"missing title": func(r *Report) { r.Title = " " },
		`section "First section": figure 2: missing picture`:           func(r *Report) { delete(r.Pictures, 2) },
		`section "Second section": figure 0`:                           func(r *Report) { r.Sections[1].Figures[0].Number = 0 },
		"figure 3: its PNG can't be read":                              func(r *Report) { r.Pictures[3] = Picture{PNG: []byte("GIF89a")} },
		"figure 9: its SVG can't be read":                              func(r *Report) { r.Pictures[9] = Picture{SVG: []byte(testSVG[:len(testSVG)-2])} },
		"figure 9: its PNG can't be read":                              func(r *Report) { r.Pictures[9] = Picture{PNG: []byte{1}, SVG: []byte(testSVG)} },
		`its first element isn't svg: it is "html"`:                    func(r *Report) { r.Pictures[9] = Picture{SVG: []byte("<html></html>")} },
		"figure 9: its SVG can't be read: its first element isn't svg": func(r *Report) { r.Pictures[9] = Picture{SVG: []byte(" ")} },
		"figure 3 occurs twice":                                        func(r *Report) { r.Sections[1].Figures[0].Number = 3 },
	} {
		r := testReport(t)
		change(r)
		var out bytes.Buffer
		if err := r.Write(&out); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
		if out.Len() != 0 {
			t.Errorf("%q: %d bytes were written", want, out.Len())
		}
	}
	if err := testReport(t).Write(brokenWriter{}); !errors.Is(err, errBroken) ||
		!strings.Contains(err.Error(), "The paper, again") {
		t.Errorf("to a full disk: %v, want its error and the report", err)
	}
}

// Pictures have their own size, whatever their resolution.
func TestWidth(t *testing.T) {
	svg := func(width string) Picture {
		return Picture{SVG: []byte(strings.Replace(testSVG, `width="150pt"`, width, 1))}
	}
	for name, c := range map[string]struct {
		picture Picture
		want    int
	}{
		"points":         {svg(`width="150pt"`), 200},
		"pixels":         {svg(`width="99.5px"`), 100},
		"bare":           {svg(`width="640"`), 640},
		"part":           {svg(`width="100%"`), 0},
		"none":           {svg(``), 0},
		"negative":       {svg(`width="-5"`), 0},
		"not a number":   {svg(`width="NaN"`), 0},
		"PNG":            {Picture{PNG: testPNG(t, 0)}, 300},
		"PNG of 216 dpi": {Picture{PNG: testPNG(t, 8504)}, 134},
		"PNG of 96 dpi":  {Picture{PNG: testPNG(t, 3780)}, 300},
	} {
		if got := c.picture.width(); got != c.want {
			t.Errorf("%s: %d pixels wide, want %d", name, got, c.want)
		}
	}
	if text := write(t, testReport(t)); !strings.Contains(text, `style="--width:200px"`) {
		t.Error("the page doesn't say how wide a picture is")
	}
}

// No file makes the search for a density run on for ever, or out of the file.
func FuzzDensity(f *testing.F) {
	f.Add([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x00IHDR\x00\x00\x00\x00\xff\xff\xff\xfftEXt"))
	f.Fuzz(func(_ *testing.T, file []byte) { pngDensity(file) })
}

func TestDuration(t *testing.T) {
	for seconds, want := range map[float64]string{
		0: "0.00 s", 0.424: "0.42 s", 12.34: "12.3 s", 59.94: "59.9 s", 59.96: "1 min 00 s", 303: "5 min 03 s", 3599.4: "59 min 59 s",
		3599.6: "1 h 00 min", 7384: "2 h 03 min", 3600 * 1234.5: "1,234 h 30 min", math.NaN(): "–", -1: "–",
	} {
		if got := duration(seconds); got != want {
			t.Errorf("%v s: %q, want %q", seconds, got, want)
		}
	}
	for n, want := range map[uint64]string{
		0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567",
		math.MaxUint64: "18,446,744,073,709,551,615",
	} {
		if got := count(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
