package trainer

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"

	"trellis/trainer/network"
)

// identity is a hash of all that determines a run's losses: Config but for how far to go, when to report, and the
// callbacks. Checkpoints carry it, so that none continues another run. The configuration is valid.
func (c *Config) identity() [sha256.Size]byte {
	h := sha256.New()
	fmt.Fprintf(h, "numerics %q model %q latent %d learning rate %x weight decay %x batch %d seed %d patience %d"+
		" min delta %x", NumericsVersion, c.Model, c.LatentDim, c.LearningRate, c.WeightDecay, c.BatchSize, c.Seed,
		c.EarlyStopping.Patience, c.EarlyStopping.MinDelta)
	if c.Model != Synthetic {
		fmt.Fprintf(h, " data %q %d x %d, %d + %d images", c.Data.Digest, c.Data.Height, c.Data.Width,
			c.Data.Train.Len(), c.Data.Validation.Len())
	}
	if input := c.input(); input.Channels != network.Digits.Channels {
		fmt.Fprintf(h, " channels %d", input.Channels)
	}
	if input := c.input(); c.describe().Classes > 0 && input.Classes != network.Digits.Classes {
		fmt.Fprintf(h, " classes %d", input.Classes)
	}
	for _, p := range hyperparameters {
		if value := p.value(c); p.later && value != p.without {
			fmt.Fprintf(h, " %s %x", p.name, value)
		}
	}
	// What only some models have comes last, so that it changes nothing for the others.
	values := c.values()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if without, ok := later[name]; ok && values[name] == without {
			continue
		}
		fmt.Fprintf(h, " %s %x", name, values[name])
	}
	if rule := c.EarlyStopping; rule.Metric != "" || rule.Maximize {
		fmt.Fprintf(h, " patience metric %q %t", rule.Metric, rule.Maximize)
	}
	if c.Objective != (Objective{}) {
		fmt.Fprintf(h, " objective %q %t %t", c.Objective.Metric, c.Objective.Maximize, c.Objective.Latest)
	}
	if c.Pretrained != nil {
		fmt.Fprintf(h, " pretrained %x", weightsDigest(c.Pretrained.state.BestWeights))
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// later are axes that came after runs without them had been trained, each with the value that leaves these as they are:
// it has no part in the identity, so that their checkpoints are still theirs.
var later = map[string]float64{"shift": 0}

// weightsDigest is a hash of weights as a checkpoint has them.
func weightsDigest(weights []float32) [sha256.Size]byte {
	encoded := make([]byte, 0, 4*len(weights))
	for _, weight := range weights {
		encoded = binary.LittleEndian.AppendUint32(encoded, math.Float32bits(weight))
	}
	return sha256.Sum256(encoded)
}
