package listing

import (
	"slices"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/results/lattice"
	"trellis/results/lifecycle"
)

// Order is one in which a study's trials are listed.
type Order struct {
	// Key sorts trials.
	Key func(*trellisv1.Trial) Key
	// Kept tells the order from others of the same trials.
	Kept any
	// OfPoint says that the field is a parameter: what becomes of a trial does not move it.
	OfPoint bool
	// name is that of the field, and state that of untouched trials.
	name       string
	descending bool
	state      trellisv1.TrialState
}

// keptOrder is what an order depends on besides the trials: the places of texts in it follow from the spec.
type keptOrder struct {
	orderBy string
	spec    *trellisv1.StudySpec
}

// OrderOf returns the order of a study's trials that an order_by asks for, by one of the fields: see NewOrder. untouched is what
// has become of runs that nobody has given anything to.
func OrderOf(
	study *trellisv1.Study, untouched *trellisv1.Untouched, orderBy string, fields []Field,
) (Order, error) {
	by, err := NewOrder(orderBy, fields)
	o := Order{
		Key: by, Kept: keptOrder{orderBy: orderBy}, name: strings.TrimPrefix(orderBy, "-"),
		descending: strings.HasPrefix(orderBy, "-"), state: lifecycle.TrialPending,
	}
	parameters := grid.Parameters(study.GetSpec())
	if o.OfPoint = isPoint(o.name) || !Has(Fields, o.name) &&
		slices.ContainsFunc(parameters, func(p grid.Parameter) bool { return p.Name == o.name }); o.OfPoint {
		o.Kept = keptOrder{orderBy, study.GetSpec()}
	}
	if untouched != nil {
		o.state = untouched.State
	}
	return o, err
}

// isPoint says whether one of Fields is a parameter.
func isPoint(name string) bool { return name == grid.MaxEpochs || name == grid.Seed }

// Outcomes are the fields of what becomes of a trial, whatever its study: those of Fields that are no parameters, and those
// of a model's metrics.
func Outcomes(ranking Ranking, metrics []string) []Field {
	fields := slices.Clone(WithMetrics(metrics, RankedBy(ranking, Fields)))
	return slices.DeleteFunc(fields, func(f Field) bool { return f.Name == "index" || isPoint(f.Name) })
}

// Name is that of the order's field.
func (o Order) Name() string { return o.name }

// Number returns what a number that Field.Order has returned is in this order.
func (o Order) Number(number uint64) uint64 {
	if o.descending && number != missing {
		return ^number
	}
	return number
}

// ByIndex says whether the order is that of the indexes, and if so, whether it begins with the highest.
func (o Order) ByIndex() (ok, descending bool) {
	return o.name == "" || o.name == "index", o.Key(o.Untouched(nil, 0)).Parts()[0] != 0
}

// Untouched is an untouched trial, as far as orders and filters depend on it. It lacks its run.
func (o Order) Untouched(point *trellisv1.Parameters, index uint64) *trellisv1.Trial {
	return &trellisv1.Trial{Index: index, Parameters: point, State: o.state}
}

// Levels are what untouched trials are ordered by: the parts of their keys.
func (o Order) Levels() []lattice.Level {
	levels := []lattice.Level{{Parameter: o.name}, {Parameter: grid.LatentDim}, {Parameter: grid.MaxEpochs}}
	for i := range levels {
		levels[i].Order = func(point *trellisv1.Parameters) uint64 { return o.Key(o.Untouched(point, 0)).Parts()[i] }
	}
	return levels
}
