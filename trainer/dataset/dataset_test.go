//go:build !race

package dataset

import (
	"errors"
	"strings"
	"testing"
)

func testData() *Data {
	return &Data{
		Name: "tiny", Digest: "d", Height: 1, Width: 2,
		Train: Images{Pixels: []byte{0, 1, 10, 11, 20, 21, 30, 31, 40, 41}, Labels: []byte{0, 1, 2, 3, 4}},
		Test:  Images{Pixels: []byte{50, 51}, Labels: []byte{5}},
	}
}

func TestSplit(t *testing.T) {
	d := testData()
	s, err := d.Split(3, 1)
	if err != nil {
		t.Fatal(err)
	}
	if s.Digest != "d" || s.Height != 1 || s.Width != 2 {
		t.Errorf("split describes itself as %q, %d x %d", s.Digest, s.Height, s.Width)
	}
	for _, part := range []struct {
		name           string
		images         Images
		pixels, labels string
	}{
		{"train: the first three", s.Train, "\x00\x01\x0a\x0b\x14\x15", "\x00\x01\x02"},
		{"validation: the last one", s.Validation, "\x28\x29", "\x04"},
		{"test: all", s.Test, "\x32\x33", "\x05"},
	} {
		if string(part.images.Pixels) != part.pixels || string(part.images.Labels) != part.labels {
			t.Errorf("%s: pixels %v, labels %v", part.name, part.images.Pixels, part.images.Labels)
		}
	}
	if &s.Train.Pixels[0] != &d.Train.Pixels[0] || &s.Validation.Labels[0] != &d.Train.Labels[4] {
		t.Error("the split copied its images")
	}
	_ = append(s.Train.Pixels, 99)
	_ = append(s.Train.Labels, 99)
	if d.Train.Pixels[6] != 30 || d.Train.Labels[3] != 3 {
		t.Error("appending to a part changed the images behind it")
	}
}

func TestSplitBounds(t *testing.T) {
	const most = int(^uint(0) >> 1)
	for _, test := range []struct {
		name              string
		train, validation int
		ok                bool
	}{
		{"all", 4, 1, true},
		{"some unused", 1, 1, true},
		{"overlap", 4, 2, false},
		{"no training images", 0, 1, false},
		{"no validation images", 1, 0, false},
		{"negative", -1, 3, false},
		{"more than there are", 6, 1, false},
		{"overflow", 1, most, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := testData().Split(test.train, test.validation)
			if test.ok != (err == nil) {
				t.Fatalf("got %v", err)
			}
			if err != nil && (!errors.Is(err, ErrSplit) || !strings.Contains(err.Error(), "of 5")) {
				t.Errorf("%v: want ErrSplit, and the number of images", err)
			}
		})
	}
}
