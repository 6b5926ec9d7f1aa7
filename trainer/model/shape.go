package model

import "trellis/trainer/network"

// Names of the axes of a convolutional network's shape.
const (
	Filters = "filters"
	Depth   = "depth"
	Kernel  = "kernel"
	Hidden  = "hidden"
)

// Maximum values of axes of the shape. What is too large for the images, or has too many weights, is refused for them.
const (
	maxFilters = 256
	maxHidden  = 4096
)

// ConvolutionAxes are those of a network's convolutional section, whose defaults are the paper's convolutions.
func ConvolutionAxes(paper network.Convolutions) []Axis {
	return []Axis{
		{
			Name:    Filters,
			Summary: "filters of the first convolution; each further one has twice as many as the one before",
			Kind:    Integer, Minimum: 1, Maximum: maxFilters, Default: new(float64(paper.Filters)), Size: Grows,
		},
		{
			Name: Depth, Summary: "number of convolutions, each of which halves the image", Kind: Integer,
			Minimum: 2, Maximum: 5, Default: new(float64(paper.Depth)), Size: Varies,
		},
		{
			Name: Kernel, Summary: "height and width of the convolutions' kernels", Kind: Integer,
			Minimum: 3, Maximum: 5, Default: new(float64(paper.Kernel)), Size: Varies,
		},
	}
}

// ConvolutionsOf are the convolutions with the values of their axes.
func ConvolutionsOf(values Values, paper network.Convolutions) network.Convolutions {
	return network.Convolutions{
		Filters: int(values[Filters]), Depth: int(values[Depth]), Kernel: int(values[Kernel]), Unpadded: paper.Unpadded,
	}
}

// ShapeAxes are those of the convolutional autoencoder's shape, whose defaults are the paper's. Models that share its
// encoder have all of them.
func ShapeAxes() []Axis {
	axes := append(ConvolutionAxes(network.PaperShape.Convolutions), Axis{
		Name: Hidden, Summary: "size of the linear layer between the convolutions and the code", Kind: Integer,
		Minimum: 1, Maximum: maxHidden, Default: new(float64(network.PaperShape.Hidden)), Size: Grows,
	})
	for i := range axes {
		axes[i].Encoder = true
	}
	return axes
}

// ShapeOf is the shape with the values of its axes.
func ShapeOf(values Values) network.Shape {
	return network.Shape{
		Convolutions: ConvolutionsOf(values, network.PaperShape.Convolutions), Hidden: int(values[Hidden]),
	}
}

// Loss is the axis of what an autoencoder is trained on, and CrossEntropy its value for the binary cross-entropy.
const (
	Loss         = "loss"
	CrossEntropy = 1
)

// LossAxis is that axis.
func LossAxis() Axis {
	return Axis{
		Name: Loss,
		Summary: "what is trained on: mse, the mean squared error per pixel, or bce, the binary cross-entropy; " +
			"validation and test give the mean squared error for both, so that they compare",
		Kind: Text, Texts: []string{"mse", "bce"}, Default: new(0.0),
	}
}
