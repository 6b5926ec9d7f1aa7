package trainer

import (
	"context"
	"fmt"

	"trellis/trainer/kernel"
	"trellis/trainer/network"
	"trellis/trainer/stream"
)

// ErrNoPart means that a model does not have the requested part: an encoder, a decoder or classes.
var ErrNoPart = network.ErrNoPart

// Inference applies a trained network. Images are float32 values from 0 (black) to 1 (white), channel by channel and
// row by row, one image after another. Codes and classes are also image by image. It is not safe for concurrent use.
type Inference struct {
	model   string
	network *network.Network
}

// NewInference returns the network of a run with the best weights of its checkpoint. It only uses the model, the
// input, the latent dimension and the values on the model's own axes of the configuration. Its errors are those of
// WriteModel.
func NewInference(config Config, checkpoint *Checkpoint) (*Inference, error) {
	n, err := withBestWeights(&config, checkpoint)
	if err != nil {
		return nil, fmt.Errorf("use model %q: %w", config.Model, err)
	}
	return &Inference{config.Model, n}, nil
}

// Encode returns the images' codes, each of the latent dimension. For a variational network, these are the means of its
// distributions. It returns ErrNoPart if the model has no encoder, an error if the last image is not complete, and the
// error of ctx within milliseconds after ctx is done.
func (i *Inference) Encode(ctx context.Context, images []float32) (codes []float32, err error) {
	codes, err = i.network.Encode(ctx, images)
	return codes, i.wrap("encode", err)
}

// LogVariance returns the logarithms of the variances of the images' distributions, whose means Encode returns. It
// returns ErrNoPart if the model encodes images as points. Its other errors are those of Encode.
func (i *Inference) LogVariance(ctx context.Context, images []float32) ([]float32, error) {
	logVariances, err := i.network.LogVariance(ctx, images)
	return logVariances, i.wrap("encode", err)
}

// Decode returns the images that the codes stand for. It returns ErrNoPart if the model has no decoder. Its other
// errors are those of Encode.
func (i *Inference) Decode(ctx context.Context, codes []float32) (images []float32, err error) {
	images, err = i.network.Decode(ctx, codes)
	return images, i.wrap("decode", err)
}

// Reconstruct encodes images and decodes the codes. It adds no noise: images for a denoising network must already be
// noisy, see Corrupt.
func (i *Inference) Reconstruct(ctx context.Context, images []float32) ([]float32, error) {
	codes, err := i.Encode(ctx, images)
	if err != nil {
		return nil, err
	}
	return i.Decode(ctx, codes)
}

// Classify returns the natural logarithms of the classes' probabilities, one for each class and image. It returns
// ErrNoPart if the model has no classes. Its other errors are those of Encode.
func (i *Inference) Classify(ctx context.Context, images []float32) (logProbabilities []float32, err error) {
	logProbabilities, err = i.network.Classify(ctx, images)
	return logProbabilities, i.wrap("classify", err)
}

func (i *Inference) wrap(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s by model %q: %w", what, i.model, err)
	}
	return nil
}

// Corrupt adds noise to images of so many values: normally distributed with standard deviation sigma, and not clamped.
// If the images are the first test images, it is the noise that the denoising model of a run with the seed sees on
// them.
func Corrupt(images []float32, size int, sigma float64, seed uint32) []float32 {
	normals, state := stream.NewNormals(seed, stream.TestNoise, 0), kernel.NormalState{}
	noise := make([]float32, size*kernel.Lanes)
	corrupted := make([]float32, len(images))
	for i, pixel := range images {
		image, at := i/size, i%size
		if at == 0 && image%kernel.Lanes == 0 {
			var tile [kernel.Lanes]uint32
			for lane := range tile {
				tile[lane] = uint32(image + lane)
			}
			normals.Tile(noise, tile[:], &state)
		}
		corrupted[i] = pixel + float32(float32(sigma)*noise[at*kernel.Lanes+image%kernel.Lanes])
	}
	return corrupted
}

// Step is one operation of a network, Path a part of it, and Paths are all of its parts: see network.Step.
type (
	Step  = network.Step
	Path  = network.Path
	Paths = network.Paths
	// Image is the shape of an image, and Input what a network takes: see network.Image.
	Image = network.Image
	Input = network.Input
)

// Kinds of steps.
const (
	Convolution = network.Convolution
	Transposed  = network.Transposed
	Linear      = network.Linear
	ReLU        = network.ReLU
	Sigmoid     = network.Sigmoid
	Reshape     = network.Reshape
	LogSoftmax  = network.LogSoftmax
)

// Paths returns the parts of the network as steps.
func (i *Inference) Paths() (Paths, error) {
	paths, err := i.network.Paths()
	return paths, i.wrap("describe the network", err)
}

// Image is the shape of the images that the network takes.
func (i *Inference) Image() Image { return i.network.Image() }
