package trainer

import (
	"errors"

	"trellis/trainer/network"
)

var (
	// ErrInvalidConfig is wrapped by the errors of Config.Validate.
	ErrInvalidConfig = errors.New("invalid training configuration")
	// ErrTooLarge means that a network would have a layer of more weights than is possible.
	ErrTooLarge = errors.New("network is too large")
	// ErrImage means that images are too small for a network's convolutions.
	ErrImage = network.ErrImage
	// ErrCheckpointCorrupt means that data is not a complete, unaltered checkpoint.
	ErrCheckpointCorrupt = errors.New("checkpoint is corrupt")
	// ErrCheckpointVersion means that a checkpoint has another version of the format.
	ErrCheckpointVersion = errors.New("checkpoint is of another format version")
	// ErrCheckpointMismatch means that a checkpoint belongs to another run, or to another version of the arithmetic.
	ErrCheckpointMismatch = errors.New("checkpoint belongs to another run")
)
