package main

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The tables and the figure of docs/scale.md show what docs/scale.json says.
func TestDocumentIsCurrent(t *testing.T) {
	all, err := readFigures("../../docs/scale.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(all.Sizes) == 0 || len(all.Idle) == 0 || len(all.Peers) == 0 {
		t.Fatalf("docs/scale.json has %d sizes, %d crowds and %d peers", len(all.Sizes), len(all.Idle), len(all.Peers))
	}
	document, err := os.ReadFile("../../docs/scale.md")
	if err != nil {
		t.Fatal(err)
	}
	want, err := all.within(document)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(document, want) {
		t.Error("docs/scale.md has other tables: run go run ./command/scale table docs/scale.json docs/scale.md")
	}
	drawn, err := os.ReadFile("../../docs/scale.svg")
	if err != nil {
		t.Fatal(err)
	}
	var svg struct {
		Description string `xml:"desc"`
	}
	if err := xml.Unmarshal(drawn, &svg); err != nil {
		t.Fatal(err)
	}
	if svg.Description != all.describe() {
		t.Error("docs/scale.svg shows other figures: run go run ./command/scale figure docs/scale.json docs/scale.svg")
	}
}

// A measurement replaces its own figures and keeps all others, in their order.
func TestFiguresAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "figures.json")
	add := func(trials int, rate float64) {
		t.Helper()
		if err := addFigures(path, func(f *figures) {
			f.Sizes = replace(f.Sizes, sizeFigures{Trials: trials, TrialsPerSecond: rate},
				func(a, b sizeFigures) int { return cmp.Compare(a.Trials, b.Trials) })
		}); err != nil {
			t.Fatal(err)
		}
	}
	add(1000, 1)
	if err := addFigures(path, func(f *figures) { f.Peers = []peerFigures{{Tool: "other", Trials: 10}} }); err != nil {
		t.Fatal(err)
	}
	add(100, 2)
	add(1000, 3)
	all, err := readFigures(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(all.Sizes) != 2 || all.Sizes[0].TrialsPerSecond != 2 || all.Sizes[1].TrialsPerSecond != 3 {
		t.Errorf("sizes are %+v, want those of 100 and 1000, each as measured last", all.Sizes)
	}
	if len(all.Peers) != 1 || all.Peers[0].Tool != "other" {
		t.Errorf("peers are %+v, want the one that was there", all.Peers)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readFigures(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a broken file gives %v, want its path", err)
	}
}

func TestTables(t *testing.T) {
	all := &figures{
		Processor: "Test", Cores: 2,
		Sizes: []sizeFigures{{
			Trials: 1000000, TrialsPerSecond: 15196.4, ReportsPerSecond: 151957, LastTenth: 15391, CreateSeconds: 0.027,
			MemoryBytes: 895 << 20, PeakBytes: 900e6, DiskBytes: 910e6, RestartSeconds: 2.34,
			Queries: map[string]float64{"best": 0.31, "report": 12},
		}, {Trials: 10, Queries: map[string]float64{"best": 0.5}}},
		Idle: []idleFigures{{Workers: 10000, Cores: 0.1234, BytesEach: 29500}},
		Peers: []peerFigures{{
			Tool: "Other, grid", Version: "5.0", Trials: 1000, Finished: 656, Distinct: 650, Seconds: 100,
			StoppedAfter: 100,
		}},
	}
	text := all.tables()
	for _, want := range []string{
		"Processor: Test, 2 cores.",
		"| 1,000,000 | 27 ms | 15,200 | 15,400 | 152,000 |", "| 938 MB, 900 MB | 910 MB | 910 B | 2.3 s |",
		"| trials | best | report |", "| 1,000,000 | 0.31 ms | 12 ms |", "| 10 | 0.5 ms | - |",
		"| 10,000 | 12.3% of a core | 30 kB |",
		"| Other 5.0, grid | 1,000 | 656, stopped after 1m40s | 650 | 6.56 | - |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("tables lack %q:\n%s", want, text)
		}
	}
	document := []byte("Before.\n" + tablesBegin + "old\n" + tablesEnd + "After.\n")
	written, err := all.within(document)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(written); got != "Before.\n"+tablesBegin+"\n"+text+"\n"+tablesEnd+"After.\n" {
		t.Errorf("the document is %q", got)
	}
	again, err := all.within(written)
	if err != nil || !bytes.Equal(again, written) {
		t.Errorf("written again it is another: %v", err)
	}
	if _, err := all.within([]byte("Nothing.\n")); err == nil {
		t.Error("a document without a place for tables is accepted")
	}
}

// The figure shows whatever was measured, and what was stopped as a ring.
func TestDraw(t *testing.T) {
	all := &figures{
		Sizes: []sizeFigures{{Trials: 1000, TrialsPerSecond: 1, Queries: map[string]float64{
			"trials --order-by objective": 0.31,
		}}},
		Peers: []peerFigures{
			{Tool: "Ray Tune, grid", Trials: 100, Finished: 100, Seconds: 20},
			{Tool: "Ray Tune, grid", Trials: 1000, Finished: 300, Seconds: 100, StoppedAfter: 100},
		},
	}
	if _, err := all.draw(); err != nil {
		t.Error(err)
	}
	curves := all.peerCurves([]string{"Ray Tune, grid"}, peerFigures.rate)
	if len(curves) != 1 || len(curves[0].X) != 2 || curves[0].Y[1] != 3 || !curves[0].Open {
		t.Errorf("curves are %+v, want one of two points, the second of 3 trials/s and open", curves)
	}
	if asked := all.queryCurves(); len(asked) != 1 || asked[0].Name != "trials" || asked[0].Y[0] != 0.31 {
		t.Errorf("curves of queries are %+v", asked)
	}
	for _, its := range peersMeasured {
		if _, ok := looks[its.name]; !ok {
			t.Errorf("%s has no look", its.name)
		}
	}
	if _, err := (&figures{}).draw(); err == nil {
		t.Error("a figure of nothing is drawn")
	}
}

func TestNumbers(t *testing.T) {
	got, err := numbers("-trials", "100, 1000,")
	if err != nil || len(got) != 2 || got[0] != 100 || got[1] != 1000 {
		t.Errorf("numbers are %v, %v", got, err)
	}
	for _, list := range []string{"1k", "0", "-5"} {
		if _, err := numbers("-trials", list); err == nil || !strings.Contains(err.Error(), "-trials") {
			t.Errorf("%q gives %v", list, err)
		}
	}
}

// A query without an answer has no median; one that fails is an error, not a figure.
func TestMedians(t *testing.T) {
	asked := &asking{all: []*query{
		{name: "best", took: []time.Duration{9 * time.Millisecond, time.Millisecond, 2 * time.Millisecond}},
		{name: "importance"},
	}}
	medians, err := asked.medians()
	if err != nil || len(medians) != 1 || medians["best"] != 2 {
		t.Errorf("medians are %v, %v", medians, err)
	}
	asked.all[1].failed = errors.New("no answer within 2m0s")
	if _, err := asked.medians(); err == nil || !strings.Contains(err.Error(), "importance: no answer") {
		t.Errorf("a query that fails gives %v", err)
	}
}
