package trainer

import (
	"errors"
	"fmt"

	"trellis/trainer/kernel"
	"trellis/trainer/model"
)

// Size is how large a configuration's network is. It is zero without a network.
type Size struct {
	// Weights is how many the network has.
	Weights int
	// Train and Evaluate are the floating point operations that an image takes, forward and backward, and forward.
	// TrainSaved and EvaluateSaved are those of them that are not taken, but in the first epoch, if codes are kept.
	Train, Evaluate, TrainSaved, EvaluateSaved int
	// Memory is about how many bytes a run takes, without its data, when its checkpoint is encoded. It has what the run
	// keeps of the images in the configuration: see Kept.
	Memory int
	// CoreMemory is about how many bytes it takes for each further core that it uses.
	CoreMemory int
	// Codes is how many bytes it may keep for an image: see Kept.
	Codes int
}

// Kept is how many bytes a run keeps of so many images that it trains on, and others that it validates and tests on:
// nothing if that would be too much. Of training images it keeps nothing if they are others in each epoch.
func (s Size) Kept(train, others int) int {
	images := others
	if s.TrainSaved > 0 {
		images += train
	}
	if s.Codes == 0 || images > maxCodes/s.Codes {
		return 0
	}
	return s.Codes * images
}

// Bytes of memory, as measured: runtime and program, those of a weight (with gradient, moments, best and current
// weights, what the kernels pack of it, its checkpoint, and that encoded), and those of a tile's value (of activations
// and gradients). A further core has a tile of its own.
const (
	baseMemory      = 8 << 20
	weightMemory    = 40 + 2*16 + 2
	valueMemory     = 4 * 4
	coreValueMemory = 9
)

// Size is that of the network. The error wraps ErrInvalidConfig if there is no network for the input and the values
// on the axes; ErrTooLarge if a layer would be too large; and ErrImage if images are too small for the convolutions.
// It needs no data, whose images it only counts, and takes little memory and time.
func (c *Config) Size() (Size, error) {
	definition, err := find(c.Model)
	if err != nil {
		return Size{}, fmt.Errorf("%w: %w", ErrInvalidConfig, err)
	}
	trained, ok := definition.(model.Network)
	if !ok {
		return Size{}, nil
	}
	m := c.describe()
	if err := errors.Join(append(c.checkValues(m), m.Check(c.input()))...); err != nil {
		return Size{}, fmt.Errorf("%w: %w", ErrInvalidConfig, err)
	}
	plan, err := c.plan(trained)
	if err != nil {
		return Size{}, err
	}
	size := Size{
		Train: plan.Train, Evaluate: plan.Evaluate, TrainSaved: plan.TrainSaved, EvaluateSaved: plan.EvaluateSaved,
		Codes: 4 * plan.Codes,
	}
	for _, p := range plan.Parameters {
		size.Weights += p.Size()
	}
	values := kernel.Lanes * plan.Values
	scaled := 4 * plan.Scaled
	size.Memory = baseMemory + weightMemory*size.Weights + valueMemory*values + scaled + c.kept(size)
	size.CoreMemory = coreValueMemory*values + scaled
	return size, nil
}

// kept is what a run of that size keeps of the images in the configuration.
func (c *Config) kept(size Size) int {
	return size.Kept(c.Data.Train.Len(), c.Data.Validation.Len()+c.Data.Test.Len())
}
