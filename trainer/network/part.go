package network

import (
	"context"
	"fmt"

	"gorgonia.org/gorgonia"

	"trellis/trainer/executor"
	"trellis/trainer/kernel"
	"trellis/trainer/operation"
)

// parts are the nodes between which parts of a network can be used by themselves. Those that it lacks are nil.
type parts struct {
	// code is what images are encoded as.
	code *gorgonia.Node
	// logVariance are the logarithms of the variances of the distribution whose mean is code.
	logVariance *gorgonia.Node
	// decoded is what is decoded, to image. It may be another node than code, of the same shape.
	decoded, image *gorgonia.Node
	// classes are the logarithms of the classes' probabilities.
	classes *gorgonia.Node
}

// Code says which node is an image's code, (latent dimension, lane).
func (b *Builder) Code(code *gorgonia.Node) { b.parts.code = code }

// LogVariance says which node has the logarithms of the variances of an image's distribution, whose means are its code.
func (b *Builder) LogVariance(logVariance *gorgonia.Node) { b.parts.logVariance = logVariance }

// Decoder says which nodes are what is decoded and what comes of it.
func (b *Builder) Decoder(code, image *gorgonia.Node) { b.parts.decoded, b.parts.image = code, image }

// Classes says which node has the logarithms of the classes' probabilities, (class, lane).
func (b *Builder) Classes(logProbabilities *gorgonia.Node) { b.parts.classes = logProbabilities }

// part is a part of a network, compiled, with the memory of its input and output.
type part struct {
	machine       *executor.Machine
	input, output []float32
}

// Encode returns the codes of images: pixels from 0 to 1, row by row, one image after another. The codes are in the
// same order. It returns ErrNoPart if the network has no encoder, ErrSize if the images are not whole, or ctx's error.
func (n *Network) Encode(ctx context.Context, images []float32) ([]float32, error) {
	return n.runPart(ctx, &n.encoder, n.nodes.input, n.nodes.parts.code, images)
}

// LogVariance returns the logarithms of the variances of the images' distributions, as Encode does their means.
func (n *Network) LogVariance(ctx context.Context, images []float32) ([]float32, error) {
	return n.runPart(ctx, &n.logVariance, n.nodes.input, n.nodes.parts.logVariance, images)
}

// Decode returns the images that codes stand for, as Encode takes them.
func (n *Network) Decode(ctx context.Context, codes []float32) ([]float32, error) {
	return n.runPart(ctx, &n.decoder, n.nodes.parts.decoded, n.nodes.parts.image, codes)
}

// Classify returns the logarithms of the classes' probabilities for images, as Encode takes them.
func (n *Network) Classify(ctx context.Context, images []float32) ([]float32, error) {
	return n.runPart(ctx, &n.classifier, n.nodes.input, n.nodes.parts.classes, images)
}

// runPart runs the part of the network from one node to another, which it compiles at its first use.
func (n *Network) runPart(
	ctx context.Context, p *part, from, to *gorgonia.Node, inputs []float32,
) ([]float32, error) {
	if from == nil || to == nil {
		return nil, ErrNoPart
	}
	if p.machine == nil {
		if err := p.compile(from, to); err != nil {
			return nil, err
		}
	}
	in, out := len(p.input)/kernel.Lanes, len(p.output)/kernel.Lanes
	if len(inputs)%in != 0 {
		return nil, fmt.Errorf("%w: got %d values, want a multiple of %d", ErrSize, len(inputs), in)
	}
	count := len(inputs) / in
	outputs := make([]float32, count*out)
	p.machine.Begin()
	for first := 0; first < count; first += kernel.Lanes {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		lanes := min(kernel.Lanes, count-first)
		clear(p.input)
		for lane := range lanes {
			for i, value := range inputs[(first+lane)*in:][:in] {
				p.input[i*kernel.Lanes+lane] = value
			}
		}
		p.machine.Tile()
		for lane := range lanes {
			to := outputs[(first+lane)*out:][:out]
			for i := range to {
				to[i] = p.output[i*kernel.Lanes+lane]
			}
		}
	}
	return outputs, p.machine.End()
}

func (p *part) compile(from, to *gorgonia.Node) error {
	operation.Building.Lock()
	defer operation.Building.Unlock()
	machine, err := executor.Between(gorgonia.Nodes{from}, gorgonia.Nodes{to})
	if err != nil {
		return fmt.Errorf("compile a part of the network: %w", err)
	}
	*p = part{machine, executor.Values(from), executor.Values(to)}
	return nil
}
