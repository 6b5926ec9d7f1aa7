package network

import (
	"fmt"

	"gorgonia.org/gorgonia"

	"trellis/trainer/kernel"
	"trellis/trainer/operation"
)

// MeanSquaredError is the mean of (output - target)^2 over a batch's images and all their values.
func (b *Builder) MeanSquaredError(output, target *gorgonia.Node) *gorgonia.Node {
	if b.err != nil || !b.shares(output.Shape().TotalSize()/kernel.Lanes) {
		return nil
	}
	return b.check(operation.SquaredError(output, target, b.share))
}

// CrossEntropy is the binary cross-entropy of the target given the output, as a mean over a batch's images and all
// their values, which are between 0 and 1.
func (b *Builder) CrossEntropy(output, target *gorgonia.Node) *gorgonia.Node {
	if b.err != nil || !b.shares(output.Shape().TotalSize()/kernel.Lanes) {
		return nil
	}
	return b.check(operation.CrossEntropy(output, target, b.share))
}

// Reconstruction makes the mean squared error between output and target the loss, or only the score if what is
// trained on is their cross-entropy.
func (b *Builder) Reconstruction(output, target *gorgonia.Node, crossEntropy bool) {
	squares := b.MeanSquaredError(output, target)
	b.Minimize(squares)
	if crossEntropy {
		b.Minimize(b.CrossEntropy(output, target))
		b.Score(squares)
	}
}

// SquaredError is the sum of (output - target)^2 over an image's values, as a mean over a batch's images.
func (b *Builder) SquaredError(output, target *gorgonia.Node) *gorgonia.Node {
	if b.err != nil || !b.shares(1) {
		return nil
	}
	return b.check(operation.SquaredError(output, target, b.share))
}

// Divergence is the Kullback-Leibler divergence from the standard normal distribution, summed over an image's values,
// as a mean over a batch's images.
func (b *Builder) Divergence(mean, logVariance *gorgonia.Node) *gorgonia.Node {
	if b.err != nil || !b.shares(1) {
		return nil
	}
	return b.check(operation.Divergence(mean, logVariance, b.share))
}

// NegativeLogLikelihood of the labels, as a mean over a batch's images.
func (b *Builder) NegativeLogLikelihood(logProbabilities, labels *gorgonia.Node) *gorgonia.Node {
	if b.err != nil || !b.shares(1) {
		return nil
	}
	return b.check(operation.NegativeLogLikelihood(logProbabilities, labels, b.share))
}

// Accuracy is the fraction of a batch's images whose label is the most probable class.
func (b *Builder) Accuracy(logProbabilities, labels *gorgonia.Node) *gorgonia.Node {
	if b.err != nil || !b.shares(1) {
		return nil
	}
	return b.check(operation.Accuracy(logProbabilities, labels, b.share))
}

// WeightedSum is a + weight * b, of losses.
func (b *Builder) WeightedSum(first, second *gorgonia.Node, weight float64) *gorgonia.Node {
	if b.err != nil {
		return nil
	}
	return b.check(operation.WeightedSum(first, second, weight))
}

// shares sets how many values of an image have a share in the loss, and reports whether it can be so many.
func (b *Builder) shares(values int) bool {
	if b.shared != 0 && b.shared != values {
		b.err = fmt.Errorf("one loss is a mean over %d values of an image, another over %d: %w", b.shared, values,
			ErrNetwork)
		return false
	}
	b.shared = values
	return true
}

// Minimize makes a scalar the loss: what is trained on, and what validation and test give unless Score says otherwise.
func (b *Builder) Minimize(loss *gorgonia.Node) { b.loss, b.score = loss, loss }

// Score makes another scalar what validation and test give.
func (b *Builder) Score(loss *gorgonia.Node) { b.score = loss }

// Metric makes a scalar one of the network's metrics, which come in the order in which they are made.
func (b *Builder) Metric(name string, value *gorgonia.Node) {
	b.metrics = append(b.metrics, metric{name, value})
}
