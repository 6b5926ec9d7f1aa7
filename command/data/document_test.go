package data

import (
	"slices"
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

// TestClassesOfOnePart: classes that only one part has are named, as those of a mistyped folder.
func TestClassesOfOnePart(t *testing.T) {
	m := &dataset.Manifest{Height: 28, Width: 28, Channels: 1, Classes: []string{"a", "b", "c", "d"}}
	m.Statistics.Train.Classes, m.Statistics.Test.Classes = []int{9, 9, 0, 9}, []int{1, 0, 3, 0}
	m.Statistics.Channels = []dataset.ChannelStatistics{{Maximum: 255}}
	want := []string{"no training image has the label 2 (c)", "no test image has the labels 1 (b) and 3 (d)"}
	if got := describeManifest("pets", "sets", m).notices(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	m.TestEvery, m.Statistics.Test.Classes = 10, []int{1, 1, 1, 0}
	want[1] = "no test image has the label 3 (d): it has fewer than 10 images, of which one would be put aside to test " +
		"(--test-every)"
	if got := describeManifest("pets", "sets", m).notices(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	const first = "labels 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"
	if got := labels(strings.Split("0123456789ab", "")); got != first {
		t.Errorf("got %q, want %q", got, first)
	}
}
