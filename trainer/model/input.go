package model

import (
	"errors"
	"fmt"

	"trellis/trainer/network"
)

// The images that models take: what a step needs grows with them. How many convolutions fit is for the network's
// shape. Labels are bytes.
const (
	MinSide     = 8
	MaxSide     = 256
	MaxChannels = 4
	MaxClasses  = 256
)

// MaxWeights is how many weights a layer may have: run and checkpoint have several copies of them. A network with three
// layers of that size needs 2.9 GB to train, and 3.9 GB while a checkpoint of 0.8 GB is saved.
const MaxWeights = 1 << 24

// Check says what is wrong with an input for the model, and what would be right.
func (m *Model) Check(input network.Input) error {
	if !m.Data {
		return nil
	}
	var wrong []error
	if min(input.Height, input.Width) < m.MinSide || max(input.Height, input.Width) > m.MaxSide {
		wrong = append(wrong, fmt.Errorf("images are %d x %d pixels, want %d to %d a side", input.Height, input.Width,
			m.MinSide, m.MaxSide))
	}
	if input.Channels < 1 || input.Channels > m.MaxChannels {
		wrong = append(wrong, fmt.Errorf("images have %d channels, want 1 to %d", input.Channels, m.MaxChannels))
	}
	if m.Classes > 0 && (input.Classes < 1 || input.Classes > MaxClasses) {
		wrong = append(wrong, fmt.Errorf("images have %d classes, want 1 to %d", input.Classes, MaxClasses))
	}
	return errors.Join(wrong...)
}
