package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The tables of a document are between these lines.
const (
	tablesBegin = "<!-- Written by: go run ./command/scale table docs/scale.json docs/scale.md -->\n"
	tablesEnd   = "<!-- End of what is written. -->\n"
)

var errNoTables = errors.New("it has no lines between which tables belong")

// table writes a file of figures as tables into a document, in place of those that are there.
func table(_ context.Context, _ *lab, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("table takes the path of figures and that of a document: got %d arguments", len(args))
	}
	all, err := readFigures(args[0])
	if err != nil {
		return err
	}
	document, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	if document, err = all.within(document); err != nil {
		return fmt.Errorf("%s: %w", args[1], err)
	}
	return os.WriteFile(args[1], document, 0o644)
}

// within returns a document with the tables in their place.
func (f *figures) within(document []byte) ([]byte, error) {
	before, rest, begins := bytes.Cut(document, []byte(tablesBegin))
	_, after, ends := bytes.Cut(rest, []byte(tablesEnd))
	if !begins || !ends {
		return nil, errNoTables
	}
	return slices.Concat(before, []byte(tablesBegin+"\n"+f.tables()+"\n"+tablesEnd), after), nil
}

// tables are all figures, in Markdown.
func (f *figures) tables() string {
	var text strings.Builder
	row := func(cells ...string) { fmt.Fprintf(&text, "| %s |\n", strings.Join(cells, " | ")) }
	head := func(cells ...string) {
		row(cells...)
		row(slices.Repeat([]string{"---"}, len(cells))...)
	}
	fmt.Fprintf(&text, "Processor: %s, %d cores.\n\n", f.Processor, f.Cores)
	head("trials", "created in", "trials/s", "last tenth", "reports/s",
		"processor time of a trial: coordinator, workers", "memory at the end, at most", "disk", "disk per trial",
		"restart", "load before")
	for _, s := range f.Sizes {
		last := "-"
		if s.LastTenth > 0 {
			last = figured(s.LastTenth)
		}
		row(grouped(s.Trials), seconds(s.CreateSeconds), figured(s.TrialsPerSecond), last, figured(s.ReportsPerSecond),
			fmt.Sprintf("%.0f µs, %.0f µs", s.CoordinatorMicroseconds, s.WorkersMicroseconds),
			fmt.Sprintf("%s, %s", size(s.MemoryBytes), size(s.PeakBytes)), size(s.DiskBytes),
			size(s.DiskBytes/int64(max(1, s.Trials))), seconds(s.RestartSeconds), s.Load)
	}
	if asked := f.asked(); len(asked) > 0 {
		text.WriteString("\nMedians of answers while it trains:\n\n")
		head(append([]string{"trials"}, asked...)...)
		for _, s := range f.Sizes {
			if len(s.Queries) == 0 {
				continue
			}
			cells := []string{grouped(s.Trials)}
			for _, name := range asked {
				cell := "-"
				if took, ok := s.Queries[name]; ok {
					cell = seconds(took / 1e3)
				}
				cells = append(cells, cell)
			}
			row(cells...)
		}
	}
	if len(f.Idle) > 0 {
		text.WriteString("\nWorkers that hold nothing:\n\n")
		head("workers", "processor of the coordinator", "memory of each", "load before")
		for _, i := range f.Idle {
			row(grouped(i.Workers), fmt.Sprintf("%.1f%% of a core", 100*i.Cores), size(int64(i.BytesEach)), i.Load)
		}
	}
	if len(f.Peers) > 0 {
		text.WriteString("\nOther tools:\n\n")
		head("tool", "trials", "finished", "distinct points", "trials/s", "created in", "memory", "disk per trial",
			"best trial while it runs, median", "restart", "load before")
		for _, p := range f.Peers {
			finished := grouped(p.Finished)
			if p.StoppedAfter > 0 {
				finished += fmt.Sprintf(", stopped after %v", time.Duration(p.StoppedAfter*float64(time.Second)))
			}
			tool, settings, _ := strings.Cut(p.Tool, ",")
			row(fmt.Sprintf("%s %s,%s", tool, p.Version, settings), grouped(p.Trials), finished, grouped(p.Distinct),
				figured(p.rate()), seconds(p.CreateSeconds), size(p.MemoryBytes),
				size(p.DiskBytes/int64(max(1, p.Finished))), seconds(p.BestMillis/1e3), seconds(p.RestartSeconds),
				p.Load)
		}
	}
	return text.String()
}

// asked are the questions that were asked of any study, sorted.
func (f *figures) asked() []string {
	names := map[string]bool{}
	for _, s := range f.Sizes {
		for name := range s.Queries {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// figured rounds to three digits.
func figured(value float64) string {
	if value >= 100 {
		digits := 1
		for v := value; v >= 1000; v /= 10 {
			digits *= 10
		}
		return grouped(int(value/float64(digits)+0.5) * digits)
	}
	return strconv.FormatFloat(value, 'g', 3, 64)
}

// seconds writes a duration with two digits or three, or a dash for none.
func seconds(value float64) string {
	switch {
	case value <= 0:
		return "-"
	case value < 0.01:
		return fmt.Sprintf("%.2g ms", value*1e3)
	case value < 1:
		return fmt.Sprintf("%.0f ms", value*1e3)
	}
	return fmt.Sprintf("%.1f s", value)
}

// size writes bytes, or a dash for none.
func size(bytes int64) string {
	switch {
	case bytes <= 0:
		return "-"
	case bytes < 1e4:
		return grouped(int(bytes)) + " B"
	case bytes < 1e6:
		return fmt.Sprintf("%.0f kB", float64(bytes)/1e3)
	}
	return fmt.Sprintf("%.0f MB", float64(bytes)/1e6)
}

// grouped writes a number with commas: 1,000,000.
func grouped(n int) string {
	text := strconv.Itoa(n)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}
