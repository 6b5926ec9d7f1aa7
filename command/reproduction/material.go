package reproduction

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer"
	"trellis/trainer/dataset"
)

// ErrMaterial means that the studies have not given what the analysis needs.
var ErrMaterial = errors.New("cannot analyze")

// Network is what a study has trained, to be looked at. Values of pixels lie between 0 and 1; images follow one
// another, each row by row, and so do their codes. *trainer.Inference is one.
type Network interface {
	// Encode returns the codes of images, latent_dim numbers each.
	Encode(ctx context.Context, images []float32) ([]float32, error)
	// Decode returns the images of codes.
	Decode(ctx context.Context, codes []float32) ([]float32, error)
	// Reconstruct returns what the network makes of images.
	Reconstruct(ctx context.Context, images []float32) ([]float32, error)
	// Classify returns the logarithms of ten probabilities for each image. MaxClasses says why ten.
	Classify(ctx context.Context, images []float32) ([]float32, error)
}

// Trained is a trial of a study, with the weights that it gave.
type Trained struct {
	Study *trellisv1.Study
	// Trial has its losses.
	Trial   *trellisv1.Trial
	Network Network
}

// Material is what an analysis is made from. It comes piece by piece, as studies end: what is not there yet is unset.
type Material struct {
	// Analysis names the studies, and Noises and FineTunes are the values on these axes that the denoising study and the
	// classifier's try, as far as their stages list them.
	Analysis          *trellisv1.Analysis
	Noises, FineTunes []float64
	// Test are the test images, of Height x Width pixels and so many channels. No channels: one.
	Test                    dataset.Images
	Channels, Height, Width int
	// Autoencoder and Variational are the best trials of their studies.
	Autoencoder, Variational Trained
	// Theirs is the trial of the autoencoder's study that has the values which the paper found best; nil if there is
	// none.
	Theirs *trellisv1.Trial
	// Denoising are the best trials for each strength of noise, ascending. There is one at least when the study has ended.
	Denoising []Trained
	// DenoisingBudgets are the best denoising trials for each strength of noise and each max_epochs, ascending by
	// these.
	DenoisingBudgets []*trellisv1.Trial
	// Frozen is the best classifier on a frozen encoder, and FineTuned the best of those whose encoder was trained too.
	// Either may be missing, but not both.
	Frozen, FineTuned *Trained
	// Corrupt adds to images the noise that a denoising trial is tested with.
	Corrupt func(images []float32, noise float64, seed uint32) []float32
	// Command is the one that makes the paper, and Address how others ask for its studies: flags, or empty.
	Command, Address string
}

// NewMaterial returns the material of a reproduction none of whose studies has ended. The reproduction has an analysis.
func NewMaterial(r *trellisv1.Reproduction) *Material {
	m := &Material{Analysis: WithDefaults(r.GetAnalysis())}
	for _, stage := range r.GetStages() {
		switch stage.GetStudy().GetName() {
		case m.Analysis.GetDenoising():
			m.Noises = listed(stage.GetStudy(), trainer.Noise)
		case m.Analysis.GetClassifier():
			m.FineTunes = listed(stage.GetStudy(), trainer.FineTune)
		}
	}
	return m
}

// listed returns the numbers that a study lists on an axis, ascending.
func listed(study *trellisv1.StudySpec, axis string) (values []float64) {
	for _, grid := range study.GetGrid() {
		for _, value := range grid.GetAxes()[axis].GetValues() {
			if x, ok := value.Numeric(); ok {
				values = append(values, x)
			}
		}
	}
	slices.Sort(values)
	return slices.Compact(values)
}

// WithDefaults returns an analysis with its defaults filled in.
func WithDefaults(analysis *trellisv1.Analysis) *trellisv1.Analysis {
	analysis = proto.CloneOf(analysis)
	if analysis.Images == 0 {
		analysis.Images = DefaultImages
	}
	if analysis.Perplexity == 0 {
		analysis.Perplexity = DefaultPerplexity
	}
	if analysis.Iterations == 0 {
		analysis.Iterations = DefaultIterations
	}
	if analysis.Samples == 0 {
		analysis.Samples = DefaultSamples
	}
	return analysis
}

// Check says what is missing of material that should be complete.
func (m *Material) Check() error {
	switch {
	case m.Test.Len() == 0 || len(m.Test.Pixels) != m.Test.Len()*m.size():
		return fmt.Errorf("%w: %d test images of %d x %d pixels have %d bytes", ErrMaterial, m.Test.Len(), m.Height,
			m.Width, len(m.Test.Pixels))
	case len(m.Denoising) == 0:
		return fmt.Errorf("%w: no denoising trial has succeeded", ErrMaterial)
	case m.Frozen == nil && m.FineTuned == nil:
		return fmt.Errorf("%w: no classifier trial has succeeded", ErrMaterial)
	}
	return nil
}

// Uses says whether the analysis is made from that study.
func (m *Material) Uses(study string) bool {
	a := m.Analysis
	return slices.Contains([]string{a.GetAutoencoder(), a.GetDenoising(), a.GetClassifier(), a.GetVariational()}, study)
}

// size is the number of an image's values.
func (m *Material) size() int { return max(1, m.Channels) * m.Height * m.Width }

// images returns the values of test images from to, to excluded.
func (m *Material) images(from, to int) []float32 {
	size := m.size()
	values := make([]float32, (to-from)*size)
	for i, pixel := range m.Test.Pixels[from*size : to*size] {
		values[i] = float32(pixel) / 255
	}
	return values
}

// reader is the classifier that reads what is drawn: the fine-tuned one if there is one, which as a rule reads best.
func (m *Material) reader() *Trained {
	if m.FineTuned != nil {
		return m.FineTuned
	}
	return m.Frozen
}
