package trainer

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"trellis/trainer/dataset"
	"trellis/trainer/kernel"
	"trellis/trainer/model"
	"trellis/trainer/network"
)

// Maximum values of a Config.
const (
	MaxLatentDim = model.MaxLatentDim
	MaxBatchSize = model.MaxBatchSize
)

// Validate returns an error that lists everything that is wrong with the configuration and wraps ErrInvalidConfig, or
// nil.
func (c *Config) Validate() error {
	var wrong []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Errorf(format, args...))
		}
	}
	for _, p := range hyperparameters {
		if p.valid != nil && !p.valid(p.value(c)) {
			check(false, "%s is %s, want %s", p.label, p.text(c), p.want)
		}
	}
	check(c.MaxEpochs >= 1, "maximum of epochs is %d, want 1 or more", c.MaxEpochs)
	for _, epoch := range c.Milestones {
		check(epoch >= 1, "milestone is epoch %d, want 1 or more", epoch)
	}
	check(c.EarlyStopping.Patience >= 0, "patience is %d epochs, want 0 or more", c.EarlyStopping.Patience)
	check(c.EarlyStopping.MinDelta >= 0 && finite(c.EarlyStopping.MinDelta),
		"minimum decrease is %v, want 0 or more", c.EarlyStopping.MinDelta)
	check(c.EpochTime >= 0, "epoch time is %v, want 0 or more", c.EpochTime)
	if definition, err := find(c.Model); err != nil {
		wrong = append(wrong, err)
	} else {
		m := c.describe()
		wrong = append(wrong, c.checkValues(m)...)
		wrong = append(wrong, checkMetric(m, "objective", c.Objective.Metric)...)
		wrong = append(wrong, checkMetric(m, "early stopping", c.EarlyStopping.Metric)...)
		if m.Data {
			wrong = append(wrong, c.checkData(m)...)
		}
		if c.LatentDim >= 1 && c.LatentDim <= MaxLatentDim {
			wrong = append(wrong, c.checkPretrained(m)...)
		}
		if trained, ok := definition.(model.Network); ok && len(wrong) == 0 {
			wrong = append(wrong, c.checkNetwork(trained)...)
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrInvalidConfig, errors.Join(wrong...))
}

// checkValues says what is wrong with the values on the model's own axes.
func (c *Config) checkValues(m Model) (wrong []error) {
	var names []string
	for _, axis := range m.Own() {
		names = append(names, axis.Name)
		value, given := c.Values[axis.Name]
		switch {
		case !given && axis.Default == nil:
			wrong = append(wrong, fmt.Errorf("%s is missing: model %q needs %v", axis.Name, m.Name,
				describeRange(axis)))
		case given && !inRange(axis, value):
			wrong = append(wrong, fmt.Errorf("%s is %v, want %v", axis.Name, valueText(axis, value),
				describeRange(axis)))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Values)) {
		if slices.Contains(names, name) {
			continue
		}
		if len(names) == 0 {
			wrong = append(wrong, fmt.Errorf("%s is given: model %q has no axes of its own", name, m.Name))
		} else {
			wrong = append(wrong, fmt.Errorf("%s is given: model %q has the axes %q", name, m.Name, names))
		}
	}
	return wrong
}

// checkMetric says that a model reports no metric of a name.
func checkMetric(m Model, what, name string) []error {
	if name == "" {
		return nil
	}
	names := []string{validationLoss, trainLoss}
	for _, metric := range m.Metrics {
		names = append(names, validationPrefix+metric.Name, trainPrefix+metric.Name)
	}
	if slices.Contains(names, name) {
		return nil
	}
	return []error{fmt.Errorf("metric of the %s is %q: model %q reports %q", what, name, m.Name, names)}
}

func inRange(axis Axis, value float64) bool {
	if axis.Kind == Text {
		return value == math.Trunc(value) && 0 <= value && value < float64(len(axis.Texts))
	}
	return value >= axis.Minimum && value <= axis.Maximum && !(axis.ExclusiveMinimum && value == axis.Minimum) &&
		(axis.Kind != Integer || value == math.Trunc(value))
}

// valueText writes a value on an axis.
func valueText(axis Axis, value float64) string {
	switch {
	case axis.Kind != Text:
		return number(value)
	case !inRange(axis, value):
		return "another text"
	}
	return axis.Texts[int(value)]
}

func describeRange(axis Axis) string {
	if axis.Kind == Text {
		return strings.Join(axis.Texts, " or ")
	}
	kind, from := "a number", "from"
	if axis.Kind == Integer {
		kind = "a whole number"
	}
	if axis.ExclusiveMinimum {
		from = "above"
	}
	return fmt.Sprintf("%s %s %v to %v", kind, from, axis.Minimum, axis.Maximum)
}

// checkData says what is wrong with the images.
func (c *Config) checkData(m Model) (wrong []error) {
	input := c.input()
	if err := m.Check(input); err != nil {
		wrong = append(wrong, err)
	}
	height, width, channels := c.Data.Height, c.Data.Width, max(1, c.Data.Channels)
	if height != input.Height || width != input.Width {
		wrong = append(wrong, fmt.Errorf("images are %d x %d pixels, want %d x %d", height, width, input.Height,
			input.Width))
	}
	if channels != input.Channels {
		wrong = append(wrong, fmt.Errorf("images have %d channels, want %d", channels, input.Channels))
		return wrong
	}
	for _, part := range c.parts() {
		if part.Len() == 0 || len(part.Pixels) != part.Len()*channels*height*width {
			wrong = append(wrong, fmt.Errorf("%d %s images have %d bytes, want one image or more, one byte a pixel",
				part.Len(), part.name, len(part.Pixels)))
		}
	}
	return wrong
}

// namedImages are a part of the data.
type namedImages struct {
	name string
	dataset.Images
}

func (c *Config) parts() [3]namedImages {
	return [3]namedImages{{"training", c.Data.Train}, {"validation", c.Data.Validation}, {"test", c.Data.Test}}
}

// plan is that of the network, whose layers are not too large.
func (c *Config) plan(definition model.Network) (network.Plan, error) {
	plan, err := network.Layout(c.layers(definition))
	if errors.Is(err, kernel.ErrShape) {
		return network.Plan{}, fmt.Errorf("%w: %w", ErrTooLarge, err)
	} else if err != nil {
		return network.Plan{}, err
	}
	for _, p := range plan.Parameters {
		if size := p.Size(); size > model.MaxWeights {
			return network.Plan{}, fmt.Errorf("%w: %s would have %d values, want up to %d", ErrTooLarge, p.Name, size,
				model.MaxWeights)
		}
	}
	return plan, nil
}

// checkNetwork says why there is no such network, or which labels it can't be trained on. All else is right.
func (c *Config) checkNetwork(definition model.Network) (wrong []error) {
	plan, err := c.plan(definition)
	if err != nil {
		return []error{err}
	}
	switch {
	case plan.Labels == 0:
		return nil
	case c.Data.Unlabeled:
		return []error{errors.New("images have no labels, which the model learns")}
	}
	for _, part := range c.parts() {
		if largest := slices.Max(part.Labels); int(largest) >= plan.Labels {
			wrong = append(wrong, fmt.Errorf("%s images have labels up to %d, want 0 to %d", part.name, largest,
				plan.Labels-1))
		}
	}
	return wrong
}
