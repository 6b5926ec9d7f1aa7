//go:build !race

package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestClampedLog(t *testing.T) {
	random := rand.New(rand.NewPCG(19, 2))
	numbers := []float64{
		1, math.Nextafter(1, 0), 1 - 1.0/256, 0.5, math.Sqrt2 / 2, math.SmallestNonzeroFloat32, 1e-38, 3.8e-44,
	}
	for range 100_000 {
		y := random.Float32()
		numbers = append(numbers, float64(y), 1-float64(y), 1-float64(y)*0x1p-20, math.Exp(-100*random.Float64()))
	}
	for _, x := range numbers {
		want := max(math.Log(x), -100)
		if got := clampedLog(x); math.Abs(got-want) > 0x1p-44*math.Abs(want) {
			t.Fatalf("log(%v) is %v, want %v", x, got, want)
		}
	}
	if got := clampedLog(0); got != -100 {
		t.Errorf("log(0) is %v, want -100", got)
	}
	if got := clampedLog(math.NaN()); got == got {
		t.Errorf("the logarithm of what is no number is %v", got)
	}
}

func TestCrossEntropy(t *testing.T) {
	const lanes = 3
	y, target := Values(4*Lanes), Values(4*Lanes)
	random := rand.New(rand.NewPCG(19, 3))
	for i := range y {
		y[i], target[i] = random.Float32(), float32(i%256)/255
	}
	// Saturated pixels, right and wrong.
	for i, pixel := range []float32{0, 1, 0, 1, 1e-30} {
		y[i*Lanes%len(y)+i/4], target[i*Lanes%len(y)+i/4] = pixel, float32(i/2%2)
	}
	y[lanes], target[lanes] = float32(math.NaN()), 1 // No image.
	dy := Values(len(y))
	var want float64
	for i := range y {
		if i%Lanes >= lanes {
			continue
		}
		p, q := float64(y[i]), float64(target[i])
		want -= q*max(math.Log(p), -100) + (1-q)*max(math.Log1p(-p), -100)
	}
	if got := CrossEntropy(y, target, lanes); math.Abs(got-want) > 1e-12*want {
		t.Errorf("cross-entropy is %v, want %v", got, want)
	}
	CrossEntropyBackward(dy, y, target, lanes, 0.25)
	for i := range y {
		slope := 0.0
		if p := float64(y[i]); i%Lanes < lanes {
			slope = 0.25 * (p - float64(target[i])) / max((1-p)*p, 1e-12)
		}
		if math.Abs(float64(dy[i])-slope) > 1e-6*math.Abs(slope) {
			t.Errorf("gradient %d of %v for %v is %v, want %v", i, y[i], target[i], dy[i], slope)
		}
	}
	y[0] = float32(math.NaN())
	if got := CrossEntropy(y, target, lanes); got == got {
		t.Errorf("the cross-entropy of what is no number is %v", got)
	}
}

func BenchmarkCrossEntropy(b *testing.B) {
	y, target := Values(784*Lanes), Values(784*Lanes)
	for i := range y {
		y[i], target[i] = float32(i%1000+1)/1002, float32(i%255+1)/256
	}
	b.Run("forward", func(b *testing.B) {
		for b.Loop() {
			CrossEntropy(y, target, Lanes)
		}
	})
	b.Run("backward", func(b *testing.B) {
		dy := Values(len(y))
		for b.Loop() {
			CrossEntropyBackward(dy, y, target, Lanes, 1)
		}
	})
}
