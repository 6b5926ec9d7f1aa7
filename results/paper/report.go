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

// Report is what the page says, in its order.
type Report struct {
	Title string
	// Summary is a short text. Blank lines separate paragraphs, here and in sections.
	Summary string
	// Created is when, shown in UTC. The zero time is left out, so that reports can be compared.
	Created  time.Time
	Sections []Section
	Stages   []Stage
	// Environment is what the numbers were computed with: versions, data, machine.
	Environment []Pair
}

// Section is one of the paper's.
type Section struct {
	Title, Text string
	Figures     []Picture
	Results     []Result
}

// Picture is a figure as PNG, SVG or both. The page shows the SVG of both, which is sharp at any size.
type Picture struct {
	// Number is the paper's number of the figure, from 1.
	Number   int
	Caption  string
	PNG, SVG []byte
}

// Result compares one number with the paper's.
type Result struct {
	What string
	// Paper and Difference are empty where the paper gives no number.
	Paper, Ours, Difference string
	// Command computes it.
	Command string
	// Note says what has to be known to compare, or is empty.
	Note string
}

// Stage is a part of the reproduction that was trained or computed by itself.
type Stage struct {
	Name, Kind, State    string
	Trials, Runs, Epochs uint64
	Seconds              float64
	// Seed is that of its trials, or all of them.
	Seed string
	// Best is its best trial; Digest is that of the weights or numbers that it ended with; Command repeats it.
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

// Write writes the page in UTF-8. Errors name the figure that can't be shown; then nothing is written.
func (r *Report) Write(w io.Writer) error {
	if strings.TrimSpace(r.Title) == "" {
		return fmt.Errorf("report: it has no title: one is needed")
	}
	numbers := map[int]bool{}
	for _, section := range r.Sections {
		for _, picture := range section.Figures {
			if err := picture.check(); err != nil {
				return fmt.Errorf("report %q, section %q: %w", r.Title, section.Title, err)
			}
			if numbers[picture.Number] {
				return fmt.Errorf("report %q, section %q: figure %d is there twice: each needs a number of its own",
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
		return fmt.Errorf("report %q: writing it: %w", r.Title, err)
	}
	return nil
}

// longestNumber is the longest text that stays on one line in a column of numbers, in bytes: a number is shorter.
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

// count is a number with its digits in groups of three: 1,234,567.
func count(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// duration is a time in the unit that a reader thinks in: 0.42 s, 12.3 s, 5 min 03 s, 2 h 07 min. Unknown times are
// "–".
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
