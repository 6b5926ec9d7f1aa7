package trainer

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"trellis/trainer/model/classifier"
	"trellis/trainer/network"
)

// identity is a hash of all that determines a run's losses: Config but for how far to go, when to report, and the
// callbacks. Checkpoints carry it, so that none continues another run. The configuration is valid.
func (c *Config) identity() [sha256.Size]byte {
	return sha256.Sum256(c.appendIdentity(make([]byte, 0, 512)))
}

// appendIdentity appends the text whose hash is the identity. What all runs have is written without fmt, whose
// formatting takes as long as a short run.
func (c *Config) appendIdentity(h []byte) []byte {
	whole := func(label string, value int64) { h = strconv.AppendInt(append(h, label...), value, 10) }
	broken := func(label string, value float64) { h = strconv.AppendFloat(append(h, label...), value, 'x', -1, 64) }
	quoted := func(label, value string) { h = strconv.AppendQuote(append(h, label...), value) }
	quoted("numerics ", NumericsVersion)
	quoted(" model ", c.Model)
	whole(" latent ", int64(c.LatentDim))
	broken(" learning rate ", c.LearningRate)
	broken(" weight decay ", c.WeightDecay)
	whole(" batch ", int64(c.BatchSize))
	whole(" seed ", int64(c.Seed))
	whole(" patience ", int64(c.EarlyStopping.Patience))
	broken(" min delta ", c.EarlyStopping.MinDelta)
	if c.Model != Synthetic {
		h = fmt.Appendf(h, " data %q %d x %d, %d + %d images", c.Data.Digest, c.Data.Height, c.Data.Width,
			c.Data.Train.Len(), c.Data.Validation.Len())
	}
	if input := c.input(); input.Channels != network.Digits.Channels {
		h = fmt.Appendf(h, " channels %d", input.Channels)
	}
	if input := c.input(); c.describe().Classes > 0 && input.Classes != network.Digits.Classes {
		h = fmt.Appendf(h, " classes %d", input.Classes)
	}
	for _, p := range hyperparameters {
		if value := p.value(c); p.later && value != p.without {
			h = fmt.Appendf(h, " %s %x", p.name, value)
		}
	}
	// What only some models have comes last, so that it changes nothing for the others.
	m, values := c.describe(), c.values()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if without, ok := later[m.Name][name]; ok && values[name] == without {
			continue
		}
		if axis := m.Axis(name); axis.Kind == Text {
			h = fmt.Appendf(h, " %s %q", name, valueText(axis, values[name]))
			continue
		}
		h = fmt.Appendf(h, " %s %x", name, values[name])
	}
	if rule := c.EarlyStopping; rule.Metric != "" || rule.Maximize {
		h = fmt.Appendf(h, " patience metric %q %t", rule.Metric, rule.Maximize)
	}
	if c.Objective != (Objective{}) {
		h = fmt.Appendf(h, " objective %q %t %t", c.Objective.Metric, c.Objective.Maximize, c.Objective.Latest)
	}
	if c.Pretrained != nil {
		h = fmt.Appendf(h, " pretrained %x", weightsDigest(c.Pretrained.state.BestWeights))
	}
	return h
}

// later are axes that came after runs without them had been trained, by model, each with the value that leaves these
// as they are: it has no part in the identity, so that their checkpoints are still theirs.
var later = map[string]map[string]float64{
	ConvAutoencoder:        {Filters: 8, Depth: 3, Kernel: 3, Hidden: 64, Loss: 0},
	DenoisingAutoencoder:   {Filters: 8, Depth: 3, Kernel: 3, Hidden: 64, Loss: 0},
	VariationalAutoencoder: {Filters: 64, Depth: 2, Kernel: 4},
	Classifier:             {Filters: 8, Depth: 3, Kernel: 3, Hidden: 64, classifier.Shift: 0},
}

// weightsDigest is a hash of weights as a checkpoint has them.
func weightsDigest(weights []float32) [sha256.Size]byte {
	encoded := make([]byte, 0, 4*len(weights))
	for _, weight := range weights {
		encoded = binary.LittleEndian.AppendUint32(encoded, math.Float32bits(weight))
	}
	return sha256.Sum256(encoded)
}
