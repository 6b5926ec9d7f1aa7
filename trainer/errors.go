package trainer

import "errors"

var (
	// ErrInvalidConfig is wrapped by the errors of Config.Validate.
	ErrInvalidConfig = errors.New("invalid training configuration")
	// ErrCheckpointCorrupt means that data is not a complete, unaltered checkpoint.
	ErrCheckpointCorrupt = errors.New("checkpoint is corrupt")
	// ErrCheckpointVersion means that a checkpoint has another version of the format.
	ErrCheckpointVersion = errors.New("checkpoint is of another format version")
	// ErrCheckpointMismatch means that a checkpoint belongs to another run, or to another version of the arithmetic.
	ErrCheckpointMismatch = errors.New("checkpoint belongs to another run")
)
