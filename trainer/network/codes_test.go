package network

import (
	"context"
	"errors"
	"slices"
	"testing"

	"trellis/trainer/kernel"
)

// frozenEncoder reads labels off a frozen layer. If direct, the loss also sees the images themselves.
func frozenEncoder(b *Builder, direct bool) {
	x, labels := b.Images(Image{1, 4, 4}), b.Labels(10)
	flat := b.Reshape(x, 16)
	h := flat
	b.Frozen(func() { h = b.Linear("encoder", flat, 5, kernel.ReLU) })
	if direct {
		h = b.Linear("head", flat, 10, kernel.None)
	} else {
		h = b.Linear("head", h, 10, kernel.None)
	}
	b.Minimize(b.NegativeLogLikelihood(b.LogSoftmax(h), labels))
}

// Examples with codes give the same losses and gradients as those with pixels, whatever the tile held before, and
// whichever images are in the batch.
func TestCodesStandForPixels(t *testing.T) {
	n, err := Build(func(b *Builder) { frozenEncoder(b, false) })
	if err != nil {
		t.Fatal(err)
	}
	n.Initialize(3)
	all := mnist(t)
	const images = 2*kernel.Lanes + 5
	examples := Examples{Pixels: all.Pixels[200 : 200+16*images], Labels: all.Labels}
	codes, err := n.Codes(t.Context(), nil, examples.Pixels)
	if err != nil {
		t.Fatal(err)
	}
	if want := images * 5; len(codes) != want || n.CodeSize() != 5 {
		t.Fatalf("got %d values of %d an image, want %d of 5", len(codes), n.CodeSize(), want)
	}
	for _, batch := range [][]uint32{{36, 1, 35}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, {20}} {
		examples.Codes = nil
		loss, err := n.Train(t.Context(), examples, batch)
		if err != nil {
			t.Fatal(err)
		}
		gradients := slices.Clone(n.Gradients)
		score, err := n.Evaluate(t.Context(), examples, batch)
		if err != nil {
			t.Fatal(err)
		}
		examples.Codes = codes
		fromCodes, err := n.Train(t.Context(), examples, batch)
		if err != nil {
			t.Fatal(err)
		}
		if fromCodes != loss || !slices.Equal(n.Gradients, gradients) {
			t.Errorf("images %d: the loss is %v from codes, %v from pixels, or gradients differ", batch, fromCodes,
				loss)
		}
		if got, err := n.Evaluate(t.Context(), examples, batch); err != nil || got != score {
			t.Errorf("images %d: the score is %v from codes (error %v), %v from pixels", batch, got, err, score)
		}
	}
}

// Codes are refused where they would not stand for the images.
func TestCodesRefused(t *testing.T) {
	n, err := Build(func(b *Builder) { frozenEncoder(b, false) })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Codes(t.Context(), nil, make([]byte, 17)); !errors.Is(err, ErrSize) {
		t.Errorf("17 pixels: %v, want %v", err, ErrSize)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.Codes(canceled, nil, make([]byte, 16)); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end of the context: %v, want %v", err, context.Canceled)
	}
	for name, define := range map[string]func(*Builder){
		"the loss sees the images": func(b *Builder) { frozenEncoder(b, true) },
		"no frozen layers":         func(b *Builder) { convAutoencoder(b, 3) },
	} {
		n, err := Build(define)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Codes(t.Context(), nil, nil); !errors.Is(err, ErrNoPart) || n.CodeSize() != 0 {
			t.Errorf("%s: %v and codes of %d values, want %v and 0", name, err, n.CodeSize(), ErrNoPart)
		}
	}
}
