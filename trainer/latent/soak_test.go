//go:build soak

package latent

import "testing"

// As many points as MNIST has test images: 15 seconds each on two cores.
func BenchmarkLargeTSNE(b *testing.B) {
	b.Run("points=10000/dimensions=2", func(b *testing.B) { benchmarkTSNE(b, 10_000, 2) })
	b.Run("points=10000/dimensions=3", func(b *testing.B) { benchmarkTSNE(b, 10_000, 3) })
}
