package grid

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	trellisv1 "trellis/proto/trellis/v1"
)

// Places in CommonAxes.
const (
	LatentDim = iota
	LearningRate
	WeightDecay
	MaxEpochs
	BatchSize
	Seed
)

// CommonAxes are the parameters that the trials of every model have. This is the only list of them. These follow it, in
// its order: digits of a grid's indices, keys of points, defaults, what an extension adds to, what trials are filtered
// and ordered by, the axes that are compared, and the columns, rows and flags of commands.
//
// The order is that of the digits, the slowest first. The axes that only a model has come before max_epochs. A new axis
// must come before max_epochs too, and must have a default. Existing studies have this default, so they keep their
// indices. The last axis, seed, repeats a point.
var CommonAxes = [...]CommonAxis{
	LatentDim: {
		ModelAxis: &trellisv1.ModelAxis{Name: "latent_dim", Minimum: 1, Maximum: 784, Integer: true},
		Value:     func(p *trellisv1.Parameters) float64 { return float64(p.GetLatentDim()) },
		Set:       func(p *trellisv1.Parameters, value float64) { p.LatentDim = uint32(value) },
	},
	LearningRate: {
		ModelAxis: &trellisv1.ModelAxis{Name: "learning_rate", Minimum: 0, Maximum: 1000, ExclusiveMinimum: true},
		Value:     (*trellisv1.Parameters).GetLearningRate,
		Set:       func(p *trellisv1.Parameters, value float64) { p.LearningRate = value },
	},
	WeightDecay: {
		ModelAxis: &trellisv1.ModelAxis{Name: "weight_decay", Minimum: 0, Maximum: 1000, Default: new(0.0)},
		Value:     (*trellisv1.Parameters).GetWeightDecay,
		Set:       func(p *trellisv1.Parameters, value float64) { p.WeightDecay = value },
	},
	MaxEpochs: {
		ModelAxis: &trellisv1.ModelAxis{Name: "max_epochs", Minimum: 1, Maximum: 10_000, Integer: true},
		Value:     func(p *trellisv1.Parameters) float64 { return float64(p.GetMaxEpochs()) },
		Set:       func(p *trellisv1.Parameters, value float64) { p.MaxEpochs = uint32(value) },
	},
	BatchSize: {
		ModelAxis: &trellisv1.ModelAxis{
			Name: "batch_size", Minimum: 1, Maximum: 65_536, Integer: true, Default: new(256.0),
		},
		Value: func(p *trellisv1.Parameters) float64 { return float64(p.GetBatchSize()) },
		Set:   func(p *trellisv1.Parameters, value float64) { p.BatchSize = uint32(value) },
	},
	Seed: {
		ModelAxis: &trellisv1.ModelAxis{
			Name: "seed", Minimum: 0, Maximum: math.MaxUint32, Integer: true, Default: new(1.0),
		},
		Plural: "seeds",
		Value:  func(p *trellisv1.Parameters) float64 { return float64(p.GetSeed()) },
		Set:    func(p *trellisv1.Parameters, value float64) { p.Seed = uint32(value) },
	},
}

// CommonAxis is a parameter that the trials of every model have. In Parameters it is the field of its name; its values
// are the field Field of Grid or, if there is none, of StudySpec, and of ExtendStudyRequest.
type CommonAxis struct {
	// ModelAxis has its name, the bounds that the rules of study.proto state, and what a spec without it means, if it may
	// be left out.
	*trellisv1.ModelAxis
	// Plural is the name of its values, if that differs.
	Plural string
	// Later says that the axis was added after runs had been trained without it. These runs have its default. A run's
	// id does not include this value, so that they are still found.
	Later bool

	Value func(*trellisv1.Parameters) float64
	Set   func(p *trellisv1.Parameters, value float64)
}

// Field returns the name under which a spec has the axis's values.
func (a *CommonAxis) Field() string {
	if a.Plural != "" {
		return a.Plural
	}
	return a.GetName()
}

// InGrid says that every grid of a union has the axis for itself. Others belong to the study.
func (a *CommonAxis) InGrid() bool {
	return (*trellisv1.Grid)(nil).ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(a.Field())) != nil
}

// Of returns the axis in a message that has its field: an *IntegerAxis or a *NumberAxis, which is nil if it is not set.
func (a *CommonAxis) Of(message proto.Message) ProtoAxis {
	return message.ProtoReflect().Get(fieldOf(message, a.Field())).Message().Interface().(ProtoAxis)
}

// Put sets the axis in a message that has its field.
func (a *CommonAxis) Put(message proto.Message, axis ProtoAxis) {
	message.ProtoReflect().Set(fieldOf(message, a.Field()), protoreflect.ValueOfMessage(axis.ProtoReflect()))
}

// With returns an axis of this kind with the values.
func (a *CommonAxis) With(values ...float64) ProtoAxis {
	if !a.GetInteger() {
		return &trellisv1.NumberAxis{Values: values}
	}
	axis := &trellisv1.IntegerAxis{Values: make([]uint32, len(values))}
	for i, value := range values {
		axis.Values[i] = uint32(value)
	}
	return axis
}

// isSet says whether an axis is there.
func isSet(axis ProtoAxis) bool { return axis.ProtoReflect().IsValid() }

// fieldOf returns the field of a message that has one of this name.
func fieldOf(message proto.Message, name string) protoreflect.FieldDescriptor {
	descriptor := message.ProtoReflect().Descriptor()
	field := descriptor.Fields().ByName(protoreflect.Name(name))
	if field == nil {
		panic(fmt.Sprintf("grid: %s has no axis %s", descriptor.Name(), name))
	}
	return field
}

// Key is the values of a point on CommonAxes, by their bits, in their order: to compare points, and to find them in a
// map. Values on a model's own axes are not in it.
type Key [len(CommonAxes)]uint64

// KeyOf returns the key of a point.
func KeyOf(p *trellisv1.Parameters) (key Key) {
	for place := range CommonAxes {
		key[place] = math.Float64bits(CommonAxes[place].Value(p))
	}
	return key
}

// At returns the value on the axis at a place.
func (k *Key) At(place int) float64 { return math.Float64frombits(k[place]) }

// Set changes the value on the axis at a place.
func (k *Key) Set(place int, value float64) { k[place] = math.Float64bits(value) }

// Parameters returns the point with the key, with these values on its model's own axes.
func (k *Key) Parameters(own map[string]float64) *trellisv1.Parameters {
	p := &trellisv1.Parameters{Values: own}
	for place := range CommonAxes {
		CommonAxes[place].Set(p, k.At(place))
	}
	return p
}

// WithMaxEpochs returns a copy of a point with another max_epochs. They share the values on the model's own axes.
func WithMaxEpochs(p *trellisv1.Parameters, epochs uint32) *trellisv1.Parameters {
	key := KeyOf(p)
	key.Set(MaxEpochs, float64(epochs))
	return key.Parameters(p.GetValues())
}

// MaxAxisValues is the maximum number of values of an axis, by the rules of its message.
const MaxAxisValues = 10_000

// Axis returns the bounds of an axis that every model has, or that only this model has. It returns nil if there is no
// such axis. If the model is nil, it only knows the common axes.
func Axis(model *trellisv1.Model, name string) *trellisv1.ModelAxis {
	for _, axis := range CommonAxes {
		if axis.GetName() == name {
			return axis.ModelAxis
		}
	}
	return axisOf(model, name)
}
