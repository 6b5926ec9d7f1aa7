package stream

import (
	"math"
	"testing"
)

// Over many images every offset comes up as often as any other, and both directions are drawn apart.
func TestOffsetsAreEven(t *testing.T) {
	const images = 90_000
	for reach := range 5 {
		offsets, counts := NewOffsets(3, TrainingShift, 2, reach), map[[2]int]float64{}
		for image := range uint32(images) {
			right, down := offsets.Of(image)
			if max(right, -right, down, -down) > reach {
				t.Fatalf("image %d is moved by %d and %d, want %d at most", image, right, down, reach)
			}
			counts[[2]int{right, down}]++
		}
		pairs := (2*reach + 1) * (2*reach + 1)
		if len(counts) != pairs {
			t.Errorf("reach %d: %d different offsets, want %d", reach, len(counts), pairs)
		}
		// Five standard deviations of how often one comes up.
		want := float64(images) / float64(pairs)
		for offset, count := range counts {
			if math.Abs(count-want) > 5*math.Sqrt(want) {
				t.Errorf("reach %d: offset %v comes up %v times, want about %v", reach, offset, count, want)
			}
		}
	}
}

// An image's offset depends on the key and the image alone.
func TestOffsetsOfAnImage(t *testing.T) {
	draw := func(o *Offsets, images ...uint32) (all [20][2]int) {
		for _, image := range images {
			all[image][0], all[image][1] = o.Of(image)
		}
		return all
	}
	var forward, backward []uint32
	for image := range uint32(20) {
		forward, backward = append(forward, image), append(backward, 19-image)
	}
	want := draw(NewOffsets(1, TrainingShift, 3, 2), forward...)
	if got := draw(NewOffsets(1, TrainingShift, 3, 2), backward...); got != want {
		t.Errorf("in another order, offsets are %v, want %v", got, want)
	}
	for name, other := range map[string]*Offsets{
		"seed": NewOffsets(2, TrainingShift, 3, 2), "epoch": NewOffsets(1, TrainingShift, 4,
			2), "purpose": NewOffsets(1, TestNoise, 3, 2),
	} {
		if draw(other, forward...) == want {
			t.Errorf("another %s has the same offsets", name)
		}
	}
}

// Recorded offsets. If they change, so must trainer.NumericsVersion.
func TestOffsetsAreRecorded(t *testing.T) {
	offsets, got := NewOffsets(5, TrainingShift, 1, 4), [4][2]int{}
	for image := range got {
		got[image][0], got[image][1] = offsets.Of(uint32(image))
	}
	if want := [4][2]int{{-4, -4}, {4, -1}, {-1, 3}, {-1, -4}}; got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}
