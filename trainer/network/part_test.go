package network

import (
	"context"
	"errors"
	"math"
	"testing"

	"gorgonia.org/gorgonia"

	"trellis/trainer/kernel"
)

// Encoding and decoding by parts, with the last tile not full, comes to the reconstruction whose error is the network's
// loss.
func TestPartsAgreeWithTheWhole(t *testing.T) {
	n, err := NewConvAutoencoder(5)
	if err != nil {
		t.Fatal(err)
	}
	n.Initialize(3)
	examples, batch := mnist(t), make([]uint32, kernel.Lanes+7)
	images := make([]float32, len(batch)*Side*Side)
	for i := range images {
		images[i] = float32(examples.Pixels[i]) / 255
	}
	for i := range batch {
		batch[i] = uint32(i)
	}
	want, err := n.Evaluate(t.Context(), examples, batch)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // Compiled anew, and again.
		codes, err := n.Encode(t.Context(), images)
		if err != nil || len(codes) != 5*len(batch) {
			t.Fatalf("got %d values, error %v, want %d", len(codes), err, 5*len(batch))
		}
		decoded, err := n.Decode(t.Context(), codes)
		if err != nil || len(decoded) != len(images) {
			t.Fatalf("got %d values, error %v, want %d", len(decoded), err, len(images))
		}
		var got float64
		for i := range images {
			difference := float64(decoded[i] - images[i])
			got += difference * difference / float64(len(images))
		}
		if math.Abs(got-want) > 1e-6*want {
			t.Errorf("the reconstruction's error is %v, the loss %v", got, want)
		}
		if again, err := n.Evaluate(t.Context(), examples, batch); err != nil || again != want {
			t.Errorf("afterwards the loss is %v (error %v), before %v", again, err, want)
		}
	}
}

func TestPartsRefuse(t *testing.T) {
	n, err := NewConvAutoencoder(5)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Classify(t.Context(), make([]float32, Side*Side)); !errors.Is(err, ErrNoPart) {
		t.Errorf("classify: got error %v, want %v", err, ErrNoPart)
	}
	if _, err := n.Encode(t.Context(), make([]float32, 10)); !errors.Is(err, ErrSize) {
		t.Errorf("ten pixels: got error %v, want %v", err, ErrSize)
	}
	if codes, err := n.Encode(t.Context(), nil); err != nil || len(codes) != 0 {
		t.Errorf("no images: got %v and error %v", codes, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.Encode(ctx, make([]float32, Side*Side)); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: got error %v, want %v", err, context.Canceled)
	}
}

func TestBuildRefuses(t *testing.T) {
	for name, layers := range map[string]func(b *Builder){
		"nothing":     func(*Builder) {},
		"no loss":     func(b *Builder) { b.ConvEncoder(b.Images(Digits.Image), 3, PaperShape) },
		"wrong shape": func(b *Builder) { b.Assert(b.Images(Digits.Image), 2) },
		"all frozen": func(b *Builder) {
			x := b.Images(Digits.Image)
			b.Frozen(func() { b.Minimize(b.MeanSquaredError(b.ConvAutoencoder(x, 3, PaperShape), x)) })
		},
		"frozen after trained": func(b *Builder) {
			z := b.ConvEncoder(b.Images(Digits.Image), 3, PaperShape)
			b.Frozen(func() { z = b.ConvDecoder(z, Digits.Image, PaperShape) })
			b.Minimize(b.MeanSquaredError(z, z))
		},
		"means over different numbers": func(b *Builder) {
			x := b.Images(Digits.Image)
			y := b.ConvDecoder(b.ConvEncoder(x, 3, PaperShape), Digits.Image, PaperShape)
			var loss *gorgonia.Node = b.MeanSquaredError(y, x)
			b.Minimize(b.WeightedSum(loss, b.SquaredError(y, x), 1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Build(layers); err == nil {
				t.Error("got no error")
			}
		})
	}
}
