package network

import "trellis/trainer/kernel"

// Side is the height and width of the images that the autoencoders take, in pixels.
const Side = 28

// NewConvAutoencoder builds the paper's convolutional autoencoder (section 2.1) with an encoded space of latentDim
// dimensions. Its loss is the mean squared error between an image and its reconstruction, over all pixels.
func NewConvAutoencoder(latentDim int) (*Network, error) {
	return build(func(b *builder) { convAutoencoder(b, latentDim) })
}

func convAutoencoder(b *builder, latentDim int) {
	x := b.images(1, Side, Side)

	// The encoder: a convolutional section, then a linear section.
	h := b.convolution("encoder.c.0", x, 8, window{kernel: 3, stride: 2, padding: 1}, kernel.ReLU)
	b.assert(h, 8, 14, 14)
	h = b.convolution("encoder.c.2", h, 16, window{kernel: 3, stride: 2, padding: 1}, kernel.ReLU)
	b.assert(h, 16, 7, 7)
	h = b.convolution("encoder.c.4", h, 32, window{kernel: 3, stride: 2}, kernel.ReLU)
	b.assert(h, 32, 3, 3)
	h = b.reshape(h, 288)
	h = b.linear("encoder.l.0", h, 64, kernel.ReLU)
	b.assert(h, 64)
	z := b.linear("encoder.l.2", h, latentDim, kernel.None)
	b.assert(z, latentDim)

	// The decoder is the encoder backwards.
	h = b.linear("decoder.l.0", z, 64, kernel.ReLU)
	b.assert(h, 64)
	h = b.linear("decoder.l.2", h, 288, kernel.ReLU)
	b.assert(h, 288)
	h = b.reshape(h, 32, 3, 3)
	h = b.transposed("decoder.c.0", h, 16, window{kernel: 3, stride: 2}, kernel.ReLU)
	b.assert(h, 16, 7, 7)
	h = b.transposed("decoder.c.2", h, 8, window{kernel: 3, stride: 2, padding: 1, outputPadding: 1}, kernel.ReLU)
	b.assert(h, 8, 14, 14)
	y := b.transposed("decoder.c.4", h, 1, window{kernel: 3, stride: 2, padding: 1, outputPadding: 1}, kernel.Sigmoid)
	b.assert(y, 1, Side, Side)

	b.squaredError(y, x)
}
