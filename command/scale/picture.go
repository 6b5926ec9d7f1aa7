package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"trellis/results/figure"
)

// Colours of curves: see package figure.
const (
	black, orange, green, blue, vermilion, wine, indigo = 0, 1, 3, 5, 6, 8, 9
)

// picture draws the curves of a file of figures.
func picture(_ context.Context, l *lab, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("figure takes the path of figures and that of an SVG: got %d arguments", len(args))
	}
	all, err := readFigures(args[0])
	if err != nil {
		return err
	}
	drawn, err := all.draw()
	if err != nil {
		return err
	}
	var file bytes.Buffer
	if err := drawn.WriteSVG(&file); err != nil {
		return err
	}
	fmt.Fprintln(l.out, all.describe())
	return os.WriteFile(args[1], file.Bytes(), 0o644)
}

// look is how a tool's curves look.
type look struct {
	color        int
	bold, dashed bool
}

var ours = look{color: blue, bold: true}

// looks are those of other tools. Whatever searches at random is dashed.
var looks = map[string]look{
	"Optuna, grid, in memory":   {color: orange},
	"Optuna, grid, journal":     {color: vermilion},
	"Optuna, grid, SQLite":      {color: wine},
	"Optuna, random, in memory": {color: orange, dashed: true},
	"Optuna, random, journal":   {color: vermilion, dashed: true},
	"Optuna, random, SQLite":    {color: wine, dashed: true},
	"Ray Tune, grid":            {color: green},
}

// queryLooks are the colours of questions.
var queryLooks = []int{blue, indigo, green, black, wine, orange}

// durable are the peers that small charts show: those that keep what they did, in their fastest setting.
var durable = []string{"Optuna, grid, journal", "Optuna, random, journal", "Ray Tune, grid"}

// draw draws all charts for which there are figures.
func (f *figures) draw() (*figure.Figure, error) {
	var charts []figure.Chart
	add := func(chart figure.Chart, curves ...figure.Curve) {
		for _, curve := range curves {
			if len(curve.X) > 0 {
				chart.Curves = append(chart.Curves, curve)
			}
		}
		if len(chart.Curves) > 0 {
			charts = append(charts, chart)
		}
	}
	const trials, megabyte = "trials in the study", 1e6
	add(figure.Chart{Title: "Trials per second", XLabel: trials, Wide: true},
		append([]figure.Curve{f.sizeCurve("Trellis", func(s sizeFigures) float64 { return s.TrialsPerSecond })},
			f.peerCurves(slices.Sorted(maps.Keys(looks)), peerFigures.rate)...)...)
	add(figure.Chart{Title: "Time to create a study (ms)", XLabel: trials},
		append([]figure.Curve{f.sizeCurve("Trellis", func(s sizeFigures) float64 { return s.CreateSeconds * 1e3 })},
			f.peerCurves(durable, func(p peerFigures) float64 { return p.CreateSeconds * 1e3 })...)...)
	add(figure.Chart{Title: "Time to restart (s)", XLabel: trials},
		append([]figure.Curve{f.sizeCurve("Trellis", func(s sizeFigures) float64 { return s.RestartSeconds })},
			f.peerCurves(durable, func(p peerFigures) float64 { return p.RestartSeconds })...)...)
	add(figure.Chart{Title: "Memory at the end (MB)", XLabel: trials},
		append([]figure.Curve{f.sizeCurve("Trellis", func(s sizeFigures) float64 {
			return float64(s.MemoryBytes) / megabyte
		})}, f.peerCurves(durable, func(p peerFigures) float64 { return float64(p.MemoryBytes) / megabyte })...)...)
	add(figure.Chart{Title: "Disk per trial (kB)", XLabel: trials},
		append([]figure.Curve{f.sizeCurve("Trellis", func(s sizeFigures) float64 {
			return float64(s.DiskBytes) / 1e3 / float64(s.Trials)
		})}, f.peerCurves(durable, func(p peerFigures) float64 {
			return float64(p.DiskBytes) / 1e3 / float64(max(1, p.Finished))
		})...)...)
	best := f.peerCurves(durable[:1], func(p peerFigures) float64 { return p.BestMillis })
	best[0].Name = "Optuna: best, journal"
	add(figure.Chart{Title: "Answers while training, median (ms)", XLabel: trials}, append(f.queryCurves(), best...)...)
	add(figure.Chart{Title: "Processor for idle workers (% of a core)", XLabel: "workers"}, f.idleCurve())
	return figure.Curves("Trellis, Optuna and Ray Tune by size",
		"Both axes are logarithmic. A ring is a search that was stopped before its end.", f.describe(), charts)
}

// sizeCurve is one figure of our studies by size. Sizes that lack it are left out.
func (f *figures) sizeCurve(name string, of func(sizeFigures) float64) figure.Curve {
	curve := figure.Curve{Name: name, Color: ours.color, Bold: ours.bold}
	for _, s := range f.Sizes {
		if value := of(s); value > 0 {
			curve.X, curve.Y = append(curve.X, float64(s.Trials)), append(curve.Y, value)
		}
	}
	return curve
}

// queryCurves are the medians of all questions that were asked.
func (f *figures) queryCurves() (curves []figure.Curve) {
	for i, name := range f.asked() {
		short, _, _ := strings.Cut(name, " --")
		curve := f.sizeCurve(short, func(s sizeFigures) float64 { return s.Queries[name] })
		curve.Color = queryLooks[i%len(queryLooks)]
		curves = append(curves, curve)
	}
	return curves
}

func (f *figures) idleCurve() figure.Curve {
	curve := figure.Curve{Name: "Trellis", Color: ours.color, Bold: ours.bold}
	for _, i := range f.Idle {
		if i.Cores > 0 {
			curve.X, curve.Y = append(curve.X, float64(i.Workers)), append(curve.Y, 100*i.Cores)
		}
	}
	return curve
}

// peerCurves are one figure of other tools by size.
func (f *figures) peerCurves(tools []string, of func(peerFigures) float64) (curves []figure.Curve) {
	for _, tool := range tools {
		its := looks[tool]
		curve := figure.Curve{Name: tool, Color: its.color, Bold: its.bold, Dashed: its.dashed}
		for _, p := range f.Peers {
			if value := of(p); p.Tool == tool && value > 0 {
				curve.X, curve.Y = append(curve.X, float64(p.Trials)), append(curve.Y, value)
				curve.Open = p.StoppedAfter > 0
			}
		}
		curves = append(curves, curve)
	}
	return curves
}

// describe says what the figure shows, for those who can't see it.
func (f *figures) describe() string {
	var text strings.Builder
	fmt.Fprintf(&text, "Small charts of cost and speed by the number of trials, on %d cores (%s).", f.Cores,
		f.Processor)
	for _, s := range f.Sizes {
		fmt.Fprintf(&text, " Trellis, %s trials: %s trials/s.", grouped(s.Trials), grouped(int(s.TrialsPerSecond)))
	}
	for _, p := range f.Peers {
		fmt.Fprintf(&text, " %s, %s trials: %.1f trials/s.", p.Tool, grouped(p.Trials), p.rate())
	}
	return text.String()
}
