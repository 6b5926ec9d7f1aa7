package data

import (
	"strings"
	"testing"

	"trellis/trainer/dataset"
)

// TestTextIsPrintable: names of folders can't clear the screen of who reads about them, nor look like another line.
func TestTextIsPrintable(t *testing.T) {
	const evil = "a\x1b[2J\nname fake"
	m := &dataset.Manifest{Digest: "0123", Format: dataset.Pictures, TestEvery: 2, Classes: []string{evil, "dog"}}
	m.Statistics.Train.Classes, m.Statistics.Test.Classes = []int{0, 1}, []int{0, 0}
	m.LeftOut.Add(evil, dataset.Hidden, nil)
	d := describeManifest("pets", "sets", m)
	text := d.text() + strings.Join(d.notices(), "\n")
	if got := strings.Count(text, `a\x1b[2J\nname fake`); got != 3 || strings.ContainsRune(text, '\x1b') {
		t.Errorf("%d names are escaped, want 3 (left out, class, notice):\n%q", got, text)
	}
	if want := "(no test images were there: one of every 2 of each class)"; !strings.Contains(text, want) {
		t.Errorf("%s lacks %s", text, want)
	}
}
