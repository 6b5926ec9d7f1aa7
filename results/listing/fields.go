package listing

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/condition"
	"trellis/results/grid"
	"trellis/results/lifecycle"
	"trellis/results/spelling"
)

// Field is a field by which trials can be ordered and filtered.
type Field struct {
	// Name is its name in requests.
	Name string
	// order returns a number that sorts as the field does, or missing.
	order func(*trellisv1.Trial) uint64
	// value returns the field's value in a filter: an int64, float64 or string, according to celType.
	value   func(*trellisv1.Trial) any
	celType *cel.Type
	// number returns the value of a field whose values are numbers that may be missing or not finite, else it is nil.
	number func(*trellisv1.Trial) *float64
	// valueOf returns the value in a filter of a trial that has this order, if Follows says so. It is nil for parameters.
	valueOf func(order uint64) any
	// descends says that higher numbers have lower orders.
	descends bool
}

// missing is the order of a trial that has no value, or one that is not a finite number. Such trials come last in
// ascending and in descending order.
const missing = math.MaxUint64

// Missing is missing.
const Missing = missing

// Order returns a number that sorts as the field does, or Missing.
func (f Field) Order(trial *trellisv1.Trial) uint64 { return f.order(trial) }

// Follows says whether a trial's value of the field follows from its order: see ValueOf.
func (f Field) Follows(trial *trellisv1.Trial) bool {
	if f.number == nil {
		return true
	}
	number := f.number(trial)
	return number == nil || math.IsNaN(*number) || Finite(number) && (*number != 0 || !math.Signbit(*number))
}

// ValueOf returns the value in a filter of a trial that has an order, from which it must follow.
func (f Field) ValueOf(order uint64) any { return f.valueOf(order) }

// Orders returns the lowest and the highest order that the numbers have which compare so with one: none, if the first is
// above the second. The relation must not be condition.NotEqual. It is of a field whose IsNumber is true.
func (f Field) Orders(relation condition.Relation, number float64) (lowest, highest uint64) {
	at := lossOrder(&number)
	below, above := relation == condition.Less || relation == condition.LessOrEqual,
		relation == condition.Greater || relation == condition.GreaterOrEqual
	if f.descends {
		at, below, above = ^at, above, below
	}
	its := relation == condition.Equal || relation == condition.LessOrEqual || relation == condition.GreaterOrEqual
	lowest, highest = at, at
	switch {
	case below && its:
		lowest = 0
	case below:
		lowest, highest = 0, at-1
	case above && its:
		highest = missing - 1
	case above:
		lowest, highest = at+1, missing-1
	}
	return lowest, highest
}

// IsOutcome says whether the field is one of what becomes of a trial, or its index: not a parameter.
func (f Field) IsOutcome() bool { return f.valueOf != nil }

// IsWhole says whether the values of an outcome are whole numbers, which are 0 where they are missing.
func (f Field) IsWhole() bool { return f.IsOutcome() && f.celType == cel.IntType }

// IsNumber says whether the values of an outcome are numbers that may be missing.
func (f Field) IsNumber() bool { return f.IsOutcome() && f.celType == cel.DynType }

// Number returns a trial's value of the field if it is a number, and nil if its values are no numbers. It is NaN if the
// trial has none.
func (f Field) Number(trial *trellisv1.Trial) *float64 {
	switch value := f.value(trial).(type) {
	case int64:
		number := float64(value)
		return &number
	case float64:
		return &value
	}
	return nil
}

// Fields are the fields that the trials of every study have.
var Fields = []Field{
	integer("index", (*trellisv1.Trial).GetIndex),
	loss("objective", func(t *trellisv1.Trial) *float64 { return t.Objective }),
	loss("test_loss", func(t *trellisv1.Trial) *float64 { return t.TestLoss }),
	{
		Name:    "state",
		order:   func(t *trellisv1.Trial) uint64 { return uint64(t.State) },
		value:   func(t *trellisv1.Trial) any { return lifecycle.Name(t.State) },
		valueOf: func(order uint64) any { return lifecycle.Name(trellisv1.TrialState(order)) },
		celType: cel.StringType,
	},
	integer("epochs", func(t *trellisv1.Trial) uint64 { return uint64(t.Epochs) }),
	{
		Name: "best_epoch",
		order: func(t *trellisv1.Trial) uint64 {
			if t.BestEpoch == 0 {
				return missing
			}
			return uint64(t.BestEpoch)
		},
		value: func(t *trellisv1.Trial) any { return int64(t.BestEpoch) },
		valueOf: func(order uint64) any {
			if order == missing {
				order = 0
			}
			return int64(order)
		},
		celType: cel.IntType,
	},
	asParameter(integer(grid.MaxEpochs, func(t *trellisv1.Trial) uint64 { return uint64(t.GetParameters().GetMaxEpochs()) })),
	asParameter(integer(grid.Seed, func(t *trellisv1.Trial) uint64 { return uint64(t.GetParameters().GetSeed()) })),
}

func integer(name string, get func(*trellisv1.Trial) uint64) Field {
	return Field{
		Name:    name,
		order:   get,
		value:   func(t *trellisv1.Trial) any { return int64(get(t)) },
		valueOf: func(order uint64) any { return int64(order) },
		celType: cel.IntType,
	}
}

// asParameter returns the field as that of a parameter.
func asParameter(field Field) Field {
	field.number, field.valueOf = nil, nil
	return field
}

// loss returns a field that may have no value yet. Filters see a missing value as NaN, which is neither below nor above
// anything.
func loss(name string, get func(*trellisv1.Trial) *float64) Field {
	return Field{
		Name:  name,
		order: func(t *trellisv1.Trial) uint64 { return lossOrder(get(t)) },
		value: func(t *trellisv1.Trial) any {
			if value := get(t); value != nil {
				return *value
			}
			return math.NaN()
		},
		celType: cel.DynType,
		number:  get,
		valueOf: func(order uint64) any { return numberOf(order) },
	}
}

// numberOf returns the number that has an order of losses, or NaN if it is missing.
func numberOf(order uint64) float64 {
	if order == missing {
		return math.NaN()
	}
	return Ranking{}.ObjectiveOf(Place{Number: order}.Key())
}

// WithMetrics returns the taken fields and fields for the metrics that runs report, on the validation and, with the prefix
// test_, on the test images, except for names that are taken.
func WithMetrics(names []string, taken []Field) []Field {
	all := taken[:len(taken):len(taken)]
	for _, name := range names {
		for _, name := range []string{name, testPrefix + name} {
			if !Has(all, name) {
				all = append(all, loss(name, func(t *trellisv1.Trial) *float64 { return metric(t, name) }))
			}
		}
	}
	return all
}

// testPrefix is what names of metrics on the test images have before them.
const testPrefix = "test_"

// metric returns a trial's value of a metric. What is reported by the name comes first: a program has no test images of ours,
// and may well report a test_accuracy beside its accuracy.
func metric(t *trellisv1.Trial, name string) *float64 {
	if value := valueIn(t.GetMetrics(), name); value != nil {
		return value
	}
	if name, ok := strings.CutPrefix(name, testPrefix); ok {
		return valueIn(t.GetTestMetrics(), name)
	}
	return nil
}

func valueIn(values map[string]float64, name string) *float64 {
	value, ok := values[name]
	if !ok {
		return nil
	}
	return &value
}

// Has says whether one of the fields has the name.
func Has(fields []Field, name string) bool {
	return slices.ContainsFunc(fields, func(f Field) bool { return f.Name == name })
}

// NewOrder returns the key function of an order_by, which must name one of the fields. It fails with ErrInvalid.
func NewOrder(orderBy string, fields []Field) (func(*trellisv1.Trial) Key, error) {
	name, reverse := strings.CutPrefix(orderBy, "-")
	if orderBy == "" {
		name = "index"
	}
	names := make([]string, len(fields))
	for i, field := range fields {
		if field.Name == name {
			return func(trial *trellisv1.Trial) Key {
				order := field.order(trial)
				if reverse && order != missing {
					order = ^order
				}
				return NewKey(order, trial)
			}, nil
		}
		names[i] = field.Name
	}
	return nil, &FieldError{fieldOrderBy, fmt.Errorf("%s: %w", spelling.Unknown("field", name, names), ErrInvalid)}
}

// FieldsOn returns the fields of a study's trials, which have these parameters.
func FieldsOn(parameters []grid.Parameter) []Field {
	all := Fields[:len(Fields):len(Fields)]
	for _, its := range parameters {
		if its.Name != grid.MaxEpochs {
			all = append(all, parameter(its))
		}
	}
	return all
}

// RankedBy returns the fields of a study's trials, which have the objective in the order of its ranking: the best
// first.
func RankedBy(r Ranking, fields []Field) []Field {
	if !r.Maximize {
		return fields
	}
	ranked := slices.Clone(fields)
	for i := range ranked {
		if ranked[i].Name == "objective" {
			ranked[i].order = r.order
			ranked[i].descends = true
			ranked[i].valueOf = func(order uint64) any {
				if order != missing {
					order = ^order
				}
				return numberOf(order)
			}
		}
	}
	return ranked
}

// parameter returns the field of a parameter. Trials of grids that do not have it come last, and filters see NaN there,
// or of another kind than numbers an empty text.
func parameter(its grid.Parameter) Field {
	name := its.Name
	of := func(t *trellisv1.Trial) *trellisv1.Value { return t.GetParameters().GetValues()[name] }
	number := func(t *trellisv1.Trial) *float64 {
		if value, ok := of(t).Numeric(); ok {
			return &value
		}
		return nil
	}
	field := asParameter(loss(name, number))
	switch its.Kind {
	case trellisv1.Kind_KIND_INTEGER:
		field.value = func(t *trellisv1.Trial) any {
			if value := number(t); value != nil {
				return int64(*value)
			}
			return math.NaN()
		}
		field.celType = cel.IntType
	case trellisv1.Kind_KIND_TEXT:
		orders := map[string]uint64{}
		for i, value := range slices.SortedFunc(slices.Values(its.Values), grid.Compare) {
			orders[value.GetText()] = uint64(i)
		}
		field.order = func(t *trellisv1.Trial) uint64 {
			if order, ok := orders[of(t).GetText()]; ok && of(t) != nil {
				return order
			}
			return missing
		}
		field.value = func(t *trellisv1.Trial) any { return of(t).GetText() }
		field.celType = cel.StringType
	case trellisv1.Kind_KIND_BOOLEAN:
		field.order = func(t *trellisv1.Trial) uint64 {
			switch {
			case of(t) == nil:
				return missing
			case of(t).GetBoolean():
				return 1
			}
			return 0
		}
		field.value = func(t *trellisv1.Trial) any { return of(t).GetBoolean() }
		field.celType = cel.BoolType
	}
	return field
}
