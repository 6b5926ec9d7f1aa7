package export

import (
	"maps"
	"slices"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// Kind is what the values of a column are.
type Kind int

// The kinds. Any column may lack values.
const (
	Integer Kind = iota
	Number
	Boolean
	Text
)

// names are what trials have values for.
type names struct {
	parameters                        map[string]Kind
	metrics, testMetrics, epochValues map[string]bool
	// losses says that there are those of a model, as programs have metrics alone.
	losses bool
}

func newNames() *names {
	return &names{
		parameters: map[string]Kind{grid.MaxEpochs: Integer},
		metrics:    map[string]bool{}, testMetrics: map[string]bool{}, epochValues: map[string]bool{},
	}
}

func (n *names) learn(trial *trellisv1.Trial) {
	for name, value := range trial.GetParameters().GetValues() {
		kind := kindOf(value)
		if known, ok := n.parameters[name]; ok {
			kind = both(known, kind)
		}
		n.parameters[name] = kind
	}
	for name := range trial.GetMetrics() {
		n.metrics[name] = true
	}
	for name := range trial.GetTestMetrics() {
		n.testMetrics[name] = true
	}
	for name := range trial.GetEpochMetrics() {
		n.epochValues[name] = true
	}
	n.losses = n.losses || len(trial.GetTrainLoss()) > 0
}

func kindOf(value *trellisv1.Value) Kind {
	switch value.GetKind().(type) {
	case *trellisv1.Value_Integer:
		return Integer
	case *trellisv1.Value_Number:
		return Number
	case *trellisv1.Value_Boolean:
		return Boolean
	}
	return Text
}

// both is the kind that has the values of two.
func both(a, b Kind) Kind {
	switch {
	case a == b:
		return a
	case a <= Number && b <= Number:
		return Number
	}
	return Text
}

// Parameters are the names of the trials' parameters but the seed, and their kinds, in the order of listings.
func (s *Spool) Parameters() []Column {
	var columns []Column
	for _, name := range slices.SortedFunc(maps.Keys(s.names.parameters), grid.CompareNames) {
		columns = append(columns, Column{name, s.names.parameters[name]})
	}
	return columns
}

// Metrics are the names of what trials report beside losses, ascending: of the best epoch, and of the test images.
// ByEpoch are the names of what they report for each epoch.
func (s *Spool) Metrics() []string     { return slices.Sorted(maps.Keys(s.names.metrics)) }
func (s *Spool) TestMetrics() []string { return slices.Sorted(maps.Keys(s.names.testMetrics)) }
func (s *Spool) ByEpoch() []string     { return slices.Sorted(maps.Keys(s.names.epochValues)) }

// HasLosses says whether a trial has the losses of a model.
func (s *Spool) HasLosses() bool { return s.names.losses }
