package paper

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strconv"
	"strings"
	"time"
)

// Report is the content of the page, in order.
type Report struct {
	Title string
	// Summary is a short text. Blank lines separate paragraphs, as in sections.
	Summary string
	// Created is when the report was created, shown in UTC. The zero time is not shown, so that reports can be
	// compared.
	Created  time.Time
	Sections []Section
	Stages   []Stage
	// Environment says what the numbers were computed with: versions, data, machine.
	Environment []Pair
}

// Section is a section of the paper.
type Section struct {
	Title, Text string
	Figures     []Picture
	Results     []Result
}

// Picture is a figure as PNG, SVG or both. If it has both, the page shows the SVG, which is sharp at any size.
type Picture struct {
	// Number is the paper's number of the figure, from 1.
	Number   int
	Caption  string
	PNG, SVG []byte
}

// Result compares one number with the paper's.
type Result struct {
	What string
	// Paper and Difference are empty if the paper has no number.
	Paper, Ours, Difference string
	// Command is the command that computes it.
	Command string
	// Note says what one must know to compare the numbers. It may be empty.
	Note string
}

// Stage is a part of the reproduction that was trained or computed separately.
type Stage struct {
	Name, Kind, State    string
	Trials, Runs, Epochs uint64
	Seconds              float64
	// Seed is the seed of its trials, or all their seeds.
	Seed string
	// Best is its best trial. Digest is the digest of its final weights or numbers. Command is the command that repeats
	// it.
	Best, Digest, Command string
}

// Pair is a name and its value.
type Pair struct{ Name, Value string }

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"style":      func() template.CSS { return template.CSS(pageStyle) },
	"paragraphs": paragraphs,
	"data":       dataURI,
	"count":      count,
	"duration":   duration,
	"moment":     func(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") },
	"machine":    func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"words":      func(command string) []string { return strings.Split(command, " ") },
	"width":      width,
	"long":       func(text string) bool { return len(text) > longestNumber },
	"next":       func(i int) int { return i + 1 },
}).Parse(pageText))

// Write writes the page in UTF-8. If a figure can't be shown, it writes nothing and returns an error that names the
// figure.
func (r *Report) Write(w io.Writer) error {
	if strings.TrimSpace(r.Title) == "" {
		return fmt.Errorf("report: missing title")
	}
	numbers := map[int]bool{}
	for _, section := range r.Sections {
		for _, picture := range section.Figures {
			if err := picture.check(); err != nil {
				return fmt.Errorf("report %q, section %q: %w", r.Title, section.Title, err)
			}
			if numbers[picture.Number] {
				return fmt.Errorf("report %q, section %q: figure %d occurs twice: each figure must have its own number",
					r.Title, section.Title, picture.Number)
			}
			numbers[picture.Number] = true
		}
	}
	var text bytes.Buffer
	if err := page.Execute(&text, r); err != nil {
		return fmt.Errorf("report %q: %w", r.Title, err)
	}
	if _, err := text.WriteTo(w); err != nil {
		return fmt.Errorf("report %q: write: %w", r.Title, err)
	}
	return nil
}

// longestNumber is the length in bytes of the longest text that is not broken in a column of numbers. Numbers are
// shorter.
const longestNumber = 14

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
