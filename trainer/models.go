package trainer

import (
	"fmt"
	"slices"
	"strings"

	"trellis/trainer/model"
	"trellis/trainer/model/classifier"
	"trellis/trainer/model/convautoencoder"
	"trellis/trainer/model/denoisingautoencoder"
	"trellis/trainer/model/synthetic"
	"trellis/trainer/model/variationalautoencoder"
)

// definitions are the models, in the order in which they are listed.
var definitions = []model.Definition{
	convautoencoder.Definition{},
	denoisingautoencoder.Definition{},
	variationalautoencoder.Definition{},
	classifier.Definition{},
	synthetic.Definition{},
}

// Names of the models that Train knows.
const (
	ConvAutoencoder        = convautoencoder.Name
	DenoisingAutoencoder   = denoisingautoencoder.Name
	VariationalAutoencoder = variationalautoencoder.Name
	Classifier             = classifier.Name
	Synthetic              = synthetic.Name
)

// Names of axes that only one model has.
const (
	Noise    = denoisingautoencoder.Noise
	FineTune = classifier.FineTune
)

// Model describes a model, Axis one of its axes, and Metric one of the metrics that it reports
// besides its losses.
type (
	Model  = model.Model
	Axis   = model.Axis
	Metric = model.Metric
)

// Kinds of axes.
const (
	Number  = model.Number
	Integer = model.Integer
)

// Models describes all models.
func Models() []Model {
	models := make([]Model, len(definitions))
	for i, definition := range definitions {
		models[i] = definition.Describe()
	}
	return models
}

// find returns the model of that name.
func find(name string) (model.Definition, error) {
	i := slices.IndexFunc(definitions, func(d model.Definition) bool { return d.Describe().Name == name })
	if i < 0 {
		var known []string
		for _, m := range Models() {
			known = append(known, fmt.Sprintf("%q", m.Name))
		}
		last := len(known) - 1
		return nil, fmt.Errorf("model is %q, want %s or %s", name, strings.Join(known[:last], ", "), known[last])
	}
	return definitions[i], nil
}

// resolve returns the values of a model's own axes, with defaults for those that are not given.
func resolve(m Model, given map[string]float64) model.Values {
	values := make(model.Values, len(m.Axes))
	for _, axis := range m.Own() {
		if value, ok := given[axis.Name]; ok {
			values[axis.Name] = value
		} else if axis.Default != nil {
			values[axis.Name] = *axis.Default
		}
	}
	return values
}

// describe describes the configuration's model, which is known.
func (c *Config) describe() Model {
	definition, err := find(c.Model)
	if err != nil {
		return Model{}
	}
	return definition.Describe()
}

// values are those on the model's own axes, with defaults.
func (c *Config) values() model.Values { return resolve(c.describe(), c.Values) }
