package model

import "errors"

// ErrState means that a state belongs to another run.
var ErrState = errors.New("state does not fit the run")

// State is what a run must remember between two epochs. All four slices have one length: the number of weights, in the
// order of the network's parameters. It is empty for a formula.
type State struct {
	// Steps counts the optimiser's steps.
	Steps uint64
	// Weights, and the optimiser's running means of the gradients and of their squares. The latter two are zero for
	// weights that are not trained.
	Weights, FirstMoments, SecondMoments []float32
	// BestWeights are those after the best epoch; as initialised while there is none.
	BestWeights []float32
}

// All points to the four slices in turn.
func (s *State) All() [4]*[]float32 {
	return [4]*[]float32{&s.Weights, &s.FirstMoments, &s.SecondMoments, &s.BestWeights}
}
