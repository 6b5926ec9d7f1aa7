package dataset

import (
	"context"
	"math"
)

// Statistics are what was counted in a data set.
type Statistics struct {
	Train PartStatistics `json:"train"`
	Test  PartStatistics `json:"test"`
	// Channels are the values of all pixels of both parts, for each channel.
	Channels []ChannelStatistics `json:"channels"`
	// Sorted says that the training images come class after class: the last ones, which validate, are then of other classes
	// than those that train.
	Sorted bool `json:"sorted,omitempty"`
}

// PartStatistics are what was counted in a part.
type PartStatistics struct {
	Images int `json:"images"`
	// Classes is how many images each label has, from label 0. Nil: there are no labels.
	Classes []int `json:"classes,omitempty"`
}

// ChannelStatistics describes the values of a channel, 0 to 255.
type ChannelStatistics struct {
	Minimum   int     `json:"minimum"`
	Maximum   int     `json:"maximum"`
	Mean      float64 `json:"mean"`
	Deviation float64 `json:"deviation"`
}

// tally counts what passes by.
type tally struct {
	labeled bool
	parts   [2]partTally
	// values is how often each value occurs, by channel.
	values []*[256]uint64
	// falls is how often a training image has a smaller label than the one before.
	falls int
}

type partTally struct {
	images  int
	classes [MaxClasses]int
	last    byte
}

// Indices of parts.
const (
	trainPart = iota
	testPart
)

func newTally(channels int, labeled bool) *tally {
	t := &tally{labeled: labeled}
	for range channels {
		t.values = append(t.values, new([256]uint64))
	}
	return t
}

func (t *tally) add(part int, pixels []byte, label byte) {
	p := &t.parts[part]
	if part == trainPart && label < p.last {
		t.falls++
	}
	p.images++
	p.classes[label]++
	p.last = label
	size := len(pixels) / len(t.values)
	for channel, values := range t.values {
		for _, value := range pixels[channel*size : (channel+1)*size] {
			values[value]++
		}
	}
}

// classes is one more than the largest label.
func (t *tally) classes() int {
	for label := MaxClasses - 1; label >= 0; label-- {
		if t.parts[trainPart].classes[label]+t.parts[testPart].classes[label] > 0 {
			return label + 1
		}
	}
	return 0
}

// statistics sums up. named is how many classes there are at least.
func (t *tally) statistics(named int) Statistics {
	var s Statistics
	classes := max(named, t.classes())
	for i, part := range []*PartStatistics{&s.Train, &s.Test} {
		part.Images = t.parts[i].images
		if t.labeled {
			part.Classes = t.parts[i].classes[:classes:classes]
		}
	}
	s.Sorted = t.labeled && classes > 1 && t.falls == 0
	for _, values := range t.values {
		s.Channels = append(s.Channels, describeValues(values))
	}
	return s
}

func describeValues(values *[256]uint64) ChannelStatistics {
	c := ChannelStatistics{Minimum: 255}
	var count, sum, squares uint64 // Squares of 2^40 bytes are below 2^56.
	for value, n := range values {
		if n == 0 {
			continue
		}
		c.Minimum, c.Maximum = min(c.Minimum, value), value
		count += n
		sum += n * uint64(value)
		squares += n * uint64(value*value)
	}
	if count == 0 {
		return ChannelStatistics{}
	}
	c.Mean = float64(sum) / float64(count)
	c.Deviation = math.Sqrt(max(0, float64(squares)/float64(count)-c.Mean*c.Mean))
	return c
}

// Survey reads a set and counts, holding one image in memory. Each image that is read is also given to see, unless that
// is nil.
func (s *Set) Survey(ctx context.Context, see func(test bool, pixels []byte, label byte)) (Statistics, error) {
	train, test, err := s.Read()
	if err != nil {
		return Statistics{}, err
	}
	t := newTally(s.Channels, s.Classes > 0)
	for i, part := range []Part{train, test} {
		if err := part(func(pixels []byte, label byte) error {
			t.add(i, pixels, label)
			if see != nil {
				see(i == testPart, pixels, label)
			}
			return context.Cause(ctx)
		}); err != nil {
			return Statistics{}, err
		}
	}
	return t.statistics(0), nil
}
