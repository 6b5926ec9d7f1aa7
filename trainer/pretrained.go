package trainer

import (
	"fmt"
	"slices"

	"trellis/trainer/model"
	"trellis/trainer/network"
)

// checkPretrained says what is wrong with the weights to begin with. The latent dimension is in range.
func (c *Config) checkPretrained(m Model) (wrong []error) {
	switch {
	case len(m.Pretrained) == 0 && c.Pretrained == nil:
		return nil
	case len(m.Pretrained) == 0:
		return []error{fmt.Errorf("pretrained weights are given: model %q begins with random ones", m.Name)}
	case c.Pretrained == nil:
		return []error{fmt.Errorf("pretrained weights are missing: model %q begins with those of %q", m.Name,
			m.Pretrained)}
	case c.Pretrained.progress.bestEpoch == 0:
		return []error{fmt.Errorf("the pretrained checkpoint of epoch %d has no best weights: "+
			"no validation loss was finite",
			c.Pretrained.Epoch())}
	}
	if _, err := c.pretrainedLayout(m); err != nil {
		return []error{err}
	}
	return nil
}

// pretrainedLayout returns the parameters of the network that the pretrained weights are of.
func (c *Config) pretrainedLayout(m Model) ([]network.Parameter, error) {
	got := len(c.Pretrained.state.BestWeights)
	want := 0
	for _, name := range m.Pretrained {
		definition, err := find(name)
		if err != nil {
			return nil, err
		}
		from, ok := definition.(model.Network)
		if !ok {
			return nil, fmt.Errorf("model %q begins with weights of %q, which has none", m.Name, name)
		}
		plan, err := network.Layout(func(b *network.Builder) {
			from.Layers(b, c.input(), c.LatentDim, resolve(definition.Describe(), c.encoder()))
		})
		if err != nil {
			return nil, err
		}
		want = 0
		for _, parameter := range plan.Parameters {
			want += parameter.Size()
		}
		if got == want {
			return plan.Parameters, nil
		}
	}
	return nil, fmt.Errorf("the pretrained checkpoint has %d weights, want %d: those of %q with latent dimension %d%s",
		got, want, m.Pretrained, c.LatentDim, c.encoderText())
}

// encoder are the values that shape the encoder, which a pretrained network has too.
func (c *Config) encoder() map[string]float64 {
	m, values := c.describe(), c.values()
	for name := range values {
		if !m.Axis(name).Encoder {
			delete(values, name)
		}
	}
	return values
}

// encoderText writes those that are not the defaults.
func (c *Config) encoderText() (text string) {
	m, values := c.describe(), c.encoder()
	for _, axis := range m.Own() {
		if value, ok := values[axis.Name]; ok && value != *axis.Default {
			text += fmt.Sprintf(", %s %s", axis.Name, number(value))
		}
	}
	return text
}

// takeOver gives the network the pretrained weights of all parameters that it has in common with the pretrained
// network.
func (c *Config) takeOver(n *network.Network) error {
	layout, err := c.pretrainedLayout(c.describe())
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidConfig, err)
	}
	taken, rest := 0, c.Pretrained.state.BestWeights
	for _, parameter := range layout {
		weights := rest[:parameter.Size()]
		rest = rest[len(weights):]
		i := slices.IndexFunc(n.Parameters, func(p network.Parameter) bool {
			return p.Name == parameter.Name && slices.Equal(p.Shape, parameter.Shape)
		})
		if i >= 0 {
			taken += copy(n.Parameters[i].Values, weights)
		}
	}
	if taken == 0 || taken < n.Frozen {
		return fmt.Errorf("%w: of %d weights that are not trained, the pretrained network has %d", ErrInvalidConfig,
			n.Frozen,
			taken)
	}
	return nil
}
