package trainer

import (
	"fmt"
	"slices"
	"strings"
	"sync"

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
	Shift    = classifier.Shift
)

// Names of axes of a network's shape, and of what an autoencoder is trained on.
const (
	Filters = model.Filters
	Depth   = model.Depth
	Kernel  = model.Kernel
	Hidden  = model.Hidden
	Loss    = model.Loss
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
	Text    = model.Text
)

// What a value of an axis does to the size of a network: see model.Effect.
const (
	SizeSame   = model.Same
	SizeGrows  = model.Grows
	SameLayers = model.SameLayers
)

// Models describes all models.
func Models() []Model {
	models := make([]Model, len(definitions))
	for i, definition := range definitions {
		models[i] = definition.Describe()
	}
	return models
}

// described has the descriptions of all models, which must not be changed: a run that takes no time would spend it on
// making them.
var described = sync.OnceValue(Models)

// place returns where a model is among the definitions, or -1.
func place(name string) int {
	return slices.IndexFunc(described(), func(m Model) bool { return m.Name == name })
}

// Knows says whether there is a model of that name.
func Knows(name string) bool { return place(name) >= 0 }

// find returns the model of that name.
func find(name string) (model.Definition, error) {
	i := place(name)
	if i < 0 {
		var known []string
		for _, m := range described() {
			known = append(known, fmt.Sprintf("%q", m.Name))
		}
		last := len(known) - 1
		return nil, fmt.Errorf("model is %q, want %s or %s", name, strings.Join(known[:last], ", "), known[last])
	}
	return definitions[i], nil
}

// resolve returns the values of a model's own axes, with defaults for those that are not given.
func resolve(m Model, given map[string]float64) model.Values {
	values := make(model.Values)
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
	i := place(c.Model)
	if i < 0 {
		return Model{}
	}
	return described()[i]
}

// values are those on the model's own axes, with defaults.
func (c *Config) values() model.Values { return resolve(c.describe(), c.Values) }
