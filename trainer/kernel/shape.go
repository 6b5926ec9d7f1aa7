package kernel

import (
	"errors"
	"fmt"
	"math"
)

// ErrShape means that no layer has such a shape.
var ErrShape = errors.New("invalid shape")

// Shape is a convolution, a transposed convolution, or a linear layer (a 1 x 1 convolution of a 1 x 1 image), with the
// meaning that PyTorch's Conv2d and ConvTranspose2d give these numbers. Stride and padding hold for both axes; there is
// no dilation and there are no groups.
type Shape struct {
	InChannels, InHeight, InWidth int
	OutChannels                   int
	KernelHeight, KernelWidth     int
	Stride, Padding               int
	// OutputPaddingHeight adds rows at the bottom of a transposed convolution's output, OutputPaddingWidth columns at
	// its right.
	OutputPaddingHeight, OutputPaddingWidth int
	// Transposed weights are (in, out, kh, kw), the others (out, in, kh, kw).
	Transposed bool
}

// Linear is the shape of a fully connected layer.
func Linear(in, out int) Shape {
	return Shape{InChannels: in, InHeight: 1, InWidth: 1, OutChannels: out, KernelHeight: 1, KernelWidth: 1, Stride: 1}
}

// OutHeight is the number of rows of an output image.
func (s Shape) OutHeight() int { return s.outSize(s.InHeight, s.KernelHeight, s.OutputPaddingHeight) }

// OutWidth is the number of columns of an output image.
func (s Shape) OutWidth() int { return s.outSize(s.InWidth, s.KernelWidth, s.OutputPaddingWidth) }

func (s Shape) outSize(in, kernel, outputPadding int) int {
	if s.Transposed {
		return (in-1)*s.Stride - 2*s.Padding + kernel + outputPadding
	}
	if in+2*s.Padding < kernel {
		return 0
	}
	return (in+2*s.Padding-kernel)/s.Stride + 1
}

// InSize is the number of values in an input tile.
func (s Shape) InSize() int { return s.InChannels * s.InHeight * s.InWidth * Lanes }

// OutSize is the number of values in an output tile.
func (s Shape) OutSize() int { return s.OutChannels * s.OutHeight() * s.OutWidth() * Lanes }

// Weights is the number of weights, without the OutChannels biases.
func (s Shape) Weights() int { return s.InChannels * s.OutChannels * s.KernelHeight * s.KernelWidth }

// FLOPs is what one pass over one image costs: forward, backward to the input and backward to the weights each cost
// that much. A multiply-add counts as two. As is usual, taps that fall on padding are counted although they are
// skipped.
func (s Shape) FLOPs() int {
	if s.Transposed {
		return 2 * s.Weights() * s.InHeight * s.InWidth
	}
	return 2 * s.Weights() * s.OutHeight() * s.OutWidth()
}

// String is short and unambiguous, for names of benchmarks and for errors: "conv 8x14x14-16x7x7 k3x3 s2 p1".
func (s Shape) String() string {
	name := "conv"
	switch {
	case s.Transposed:
		name = "deconv"
	case s == Linear(s.InChannels, s.OutChannels):
		return fmt.Sprintf("linear %d-%d", s.InChannels, s.OutChannels)
	}
	text := fmt.Sprintf("%s %dx%dx%d-%dx%dx%d k%dx%d s%d p%d", name, s.InChannels, s.InHeight, s.InWidth,
		s.OutChannels, s.OutHeight(), s.OutWidth(), s.KernelHeight, s.KernelWidth, s.Stride, s.Padding)
	switch height, width := s.OutputPaddingHeight, s.OutputPaddingWidth; {
	case height != width:
		text += fmt.Sprintf(" o%dx%d", height, width)
	case height > 0:
		text += fmt.Sprintf(" o%d", height)
	}
	return text
}

// maxSide bounds every number of a shape, so that an output's sides fit an int64 before they are checked. A linear
// layer behind a convolution has as many channels as that has values.
const maxSide = 1 << 20

// Validate says what is wrong with the shape; the error wraps ErrShape.
func (s Shape) Validate() error {
	for _, field := range []struct {
		name          string
		value, lowest int
	}{
		{"input channels", s.InChannels, 1},
		{"input height", s.InHeight, 1},
		{"input width", s.InWidth, 1},
		{"output channels", s.OutChannels, 1},
		{"kernel height", s.KernelHeight, 1},
		{"kernel width", s.KernelWidth, 1},
		{"stride", s.Stride, 1},
		{"padding", s.Padding, 0},
		{"output padding of rows", s.OutputPaddingHeight, 0},
		{"output padding of columns", s.OutputPaddingWidth, 0},
	} {
		if field.value < field.lowest || field.value > maxSide {
			return fmt.Errorf("%w: %s is %d, want %d to %d", ErrShape, field.name, field.value, field.lowest, maxSide)
		}
	}
	outputPadding := max(s.OutputPaddingHeight, s.OutputPaddingWidth)
	if !s.Transposed && outputPadding != 0 {
		return fmt.Errorf("%w: output padding is %d, want 0 without Transposed", ErrShape, outputPadding)
	}
	if s.Transposed && outputPadding >= s.Stride {
		return fmt.Errorf("%w: output padding is %d, want less than the stride %d", ErrShape, outputPadding, s.Stride)
	}
	if s.OutHeight() < 1 || s.OutWidth() < 1 {
		return fmt.Errorf("%w: a kernel of %d x %d gives no output for an input of %d x %d with padding %d", ErrShape,
			s.KernelHeight, s.KernelWidth, s.InHeight, s.InWidth, s.Padding)
	}
	// The kernels address values by 32-bit offsets.
	for _, size := range []struct {
		name    string
		factors [4]int
	}{
		{"input", [4]int{s.InChannels, s.InHeight, s.InWidth, Lanes}},
		{"output", [4]int{s.OutChannels, s.OutHeight(), s.OutWidth(), Lanes}},
		{"weights", [4]int{s.InChannels, s.OutChannels, s.KernelHeight, s.KernelWidth}},
	} {
		const most = math.MaxInt32 / Lanes
		product := 1
		for _, factor := range size.factors {
			if factor > most/product {
				return fmt.Errorf("%w: the %s would have more than %d values", ErrShape, size.name, most)
			}
			product *= factor
		}
	}
	return nil
}
