package trainer

import (
	"context"

	"trellis/trainer/network"
)

const (
	// maxCodes is how many bytes a run may take to keep codes.
	maxCodes = 256 << 20
	// encodedAtOnce is how many images are encoded for one count of Config.Steps.
	encodedAtOnce = 4096
)

// codes are what the frozen layers make of the images. Their weights and the images stay, and so do the codes: they are
// computed once, when a part of the images is first used, and not again in each epoch.
type codes struct{ training, validation, test keptCodes }

// keptCodes are those of a part of the images.
type keptCodes struct {
	// keep says that codes are kept: images stay the same, and there is enough memory.
	keep   bool
	values []float32
}

func newCodes(config *Config, n *network.Network) codes {
	size := Size{Codes: 4 * n.CodeSize()}
	size.TrainSaved, size.EvaluateSaved = n.Saved()
	keep := config.kept(size) > 0
	return codes{
		training:   keptCodes{keep: keep && size.TrainSaved > 0},
		validation: keptCodes{keep: keep}, test: keptCodes{keep: keep},
	}
}

// encode returns the codes of a part of the images, nil if they are not kept.
func (t *training) encode(ctx context.Context, kept *keptCodes, pixels []byte) ([]float32, error) {
	if !kept.keep || kept.values != nil {
		return kept.values, nil
	}
	size := t.config.input().Size()
	values := make([]float32, 0, len(pixels)/size*t.network.CodeSize())
	for len(pixels) > 0 {
		part := pixels[:min(len(pixels), encodedAtOnce*size)]
		pixels = pixels[len(part):]
		var err error
		if values, err = t.network.Codes(ctx, values, part); err != nil {
			return nil, err
		}
		t.count()
	}
	kept.values = values
	return values, nil
}
