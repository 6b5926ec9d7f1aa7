package paper

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

// Report is the content of the page: a report with everything that it has at the end.
type Report struct {
	*trellisv1.PaperReport
	// Created is when the page was created, shown in UTC. The zero time is not shown, so that pages can be compared.
	Created time.Time
	// Pictures are those of the figures, by their numbers.
	Pictures map[uint32]Picture
}

// Picture is a figure as PNG, SVG or both. If it has both, the page shows the SVG, which is sharp at any size.
type Picture struct{ PNG, SVG []byte }

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"style":      func() template.CSS { return template.CSS(pageStyle) },
	"paragraphs": paragraphs,
	"data":       Picture.dataURI,
	"count":      count,
	"duration":   duration,
	"moment":     func(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") },
	"machine":    func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"words":      func(command string) []string { return strings.Split(command, " ") },
	"width":      Picture.width,
	"long":       func(text string) bool { return len(text) > longestNumber },
	"next":       func(i int) int { return i + 1 },
	"parts":      parts,
	"minus":      minus,
	"compared":   compared,
}).Parse(pageText))

// Write writes the page in UTF-8. If a figure can't be shown, it writes nothing and returns an error that names the
// figure.
func (r *Report) Write(w io.Writer) error {
	if err := Check(r.PaperReport); err != nil {
		return fmt.Errorf("report %q: %w", r.GetTitle(), err)
	}
	for _, section := range r.GetSections() {
		for _, figure := range section.GetFigures() {
			if err := r.Pictures[figure.GetNumber()].check(figure.GetNumber()); err != nil {
				return fmt.Errorf("report %q: section %q: %w", r.GetTitle(), section.GetTitle(), err)
			}
		}
	}
	var text bytes.Buffer
	if err := page.Execute(&text, r); err != nil {
		return fmt.Errorf("report %q: %w", r.GetTitle(), err)
	}
	if _, err := text.WriteTo(w); err != nil {
		return fmt.Errorf("report %q: write: %w", r.GetTitle(), err)
	}
	return nil
}

// longestNumber is the length in bytes of the longest text that is not broken in a column of numbers. Numbers are
// shorter.
const longestNumber = 14

// compared says whether the paper has one of the numbers. Else it has no column.
func compared(results []*trellisv1.PaperResult) bool {
	return slices.ContainsFunc(results, func(r *trellisv1.PaperResult) bool { return r.GetPaper() != "" })
}

// part is a part of a text. A browser must not break one that is whole.
type part struct {
	Text  string
	Whole bool
}

// unbroken matches what a browser would break at a hyphen though nobody would: t-SNE, 5-nearest, --data.
var unbroken = regexp.MustCompile(`\b\w-\w+|\B--?\w[\w-]*`)

func parts(text string) []part {
	var all []part
	from := 0
	for _, at := range unbroken.FindAllStringIndex(text, -1) {
		all = append(all, part{Text: text[from:at[0]]}, part{Text: text[at[0]:at[1]], Whole: true})
		from = at[1]
	}
	return append(all, part{Text: text[from:]})
}

// minus writes a number with minus signs. Other texts stay as they are.
func minus(number string) string {
	if _, err := strconv.ParseFloat(number, 64); err != nil {
		return number
	}
	return strings.ReplaceAll(number, "-", "\u2212")
}

func paragraphs(text string) []string {
	var all []string
	for paragraph := range strings.SplitSeq(strings.ReplaceAll(text, "\r\n", "\n"), "\n\n") {
		if paragraph = strings.TrimSpace(paragraph); paragraph != "" {
			all = append(all, paragraph)
		}
	}
	return all
}

// count writes a number with its digits in groups of three: 1,234,567.
func count(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// duration writes a time in the usual units: 0.42 s, 12.3 s, 5 min 03 s, 2 h 07 min. Unknown times are "–".
func duration(seconds float64) string {
	switch whole := int64(max(0, min(seconds, 1e15)) + 0.5); {
	case !(seconds >= 0): // not a number, too
		return "–"
	case seconds < 1:
		return fmt.Sprintf("%.2f s", seconds)
	case seconds < 59.95:
		return fmt.Sprintf("%.1f s", seconds)
	case whole < 3600:
		return fmt.Sprintf("%d min %02d s", whole/60, whole%60)
	default:
		minutes := (whole + 30) / 60
		return fmt.Sprintf("%s h %02d min", count(uint64(minutes/60)), minutes%60)
	}
}
