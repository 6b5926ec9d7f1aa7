package trainer

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"strconv"
	"strings"

	"trellis/trainer/model"
	"trellis/trainer/network"
)

// ErrNoWeights means that a checkpoint has no best weights: the model has none, or no validation loss was finite.
var ErrNoWeights = errors.New("checkpoint has no weights to use")

// modelTensor is a tensor in a model file's header.
type modelTensor struct {
	Type  string `json:"dtype"`
	Shape []int  `json:"shape"`
	// Offsets are of the first byte and the one after the last, counted from the header's end.
	Offsets [2]int `json:"data_offsets"`
}

// modelMetadata is the key in the header of what the file says besides its tensors.
const modelMetadata = "__metadata__"

// WriteModel writes the best weights of a run as a safetensors file, with PyTorch's names and shapes:
// safetensors.torch.load_file returns the state_dict of a module with the paper's encoder and decoder. DESIGN.md
// describes the format. config is the run's configuration. Its data and its number of epochs don't matter. origin is
// added to the file's metadata.
//
// It returns an error that wraps ErrNoWeights if there are no best weights, ErrCheckpointMismatch if the checkpoint is
// of a network of another size, and ErrInvalidConfig if there is no such network. In these cases nothing has been
// written.
func WriteModel(w io.Writer, config Config, checkpoint *Checkpoint, origin map[string]string) error {
	n, err := withBestWeights(&config, checkpoint)
	if err != nil {
		return fmt.Errorf("write model %q: %w", config.Model, err)
	}
	metadata := ModelMetadata(config, checkpoint, origin)
	metadata["format"] = "pt"
	header, err := modelHeader(metadata, n.Parameters)
	if err != nil {
		return fmt.Errorf("write model: %w", err)
	}
	file := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	file = append(file, header...)
	for _, value := range n.Weights {
		file = binary.LittleEndian.AppendUint32(file, math.Float32bits(value))
	}
	if _, err := w.Write(file); err != nil {
		return fmt.Errorf("write model: %w", err)
	}
	return nil
}

// number writes a number with the fewest digits that tell it from others.
func number(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }

// ModelMetadata is what the files of a trained network say besides its weights: its model, its input, its parameters,
// how it was trained and how good it is, and origin.
func ModelMetadata(config Config, checkpoint *Checkpoint, origin map[string]string) map[string]string {
	summary := checkpoint.Summary()
	metadata := map[string]string{
		"model":            config.Model,
		"parameters":       strconv.Itoa(summary.Weights),
		"epoch":            strconv.Itoa(summary.BestEpoch),
		"epochs":           strconv.Itoa(summary.Epoch),
		"numerics_version": NumericsVersion,
	}
	input := config.input()
	for name, value := range map[string]int{
		"channels": input.Channels, "height": input.Height, "width": input.Width, "classes": input.Classes,
	} {
		metadata[name] = strconv.Itoa(value)
	}
	metadata[cmp.Or(config.Objective.Metric, validationLoss)] = number(summary.BestValue)
	for _, p := range hyperparameters {
		metadata[p.name] = p.text(&config)
	}
	m := config.describe()
	for name, value := range config.values() {
		metadata[name] = valueText(m.Axis(name), value)
	}
	maps.Copy(metadata, origin)
	return metadata
}

// modelHeader is the JSON before the weights, which are in the order of the parameters.
func modelHeader(metadata map[string]string, parameters []network.Parameter) ([]byte, error) {
	header := map[string]any{modelMetadata: metadata}
	offset := 0
	for _, parameter := range parameters {
		end := offset + 4*len(parameter.Values)
		header[parameter.Name] = modelTensor{Type: "F32", Shape: parameter.Shape, Offsets: [2]int{offset, end}}
		offset = end
	}
	encoded, err := json.Marshal(header)
	if err != nil {
		return nil, err
	}
	// Spaces, so that the weights begin at a multiple of 8 and can be mapped into memory.
	for len(encoded)%8 != 0 {
		encoded = append(encoded, ' ')
	}
	return encoded, nil
}

// withBestWeights builds the network of a run with the best weights of its checkpoint.
func withBestWeights(config *Config, checkpoint *Checkpoint) (*network.Network, error) {
	summary := checkpoint.Summary()
	switch {
	case summary.Weights == 0:
		return nil, fmt.Errorf("%w: it has no network", ErrNoWeights)
	case summary.BestEpoch == 0:
		return nil, fmt.Errorf("%w: no %s was finite until epoch %d", ErrNoWeights,
			strings.ReplaceAll(cmp.Or(config.Objective.Metric, validationLoss), "_", " "), summary.Epoch)
	}
	n, err := newNetwork(config)
	if err != nil {
		return nil, err
	}
	if summary.Weights != len(n.Weights) {
		return nil, fmt.Errorf("%w: it has %d weights, want %d", ErrCheckpointMismatch, summary.Weights, len(n.Weights))
	}
	copy(n.Weights, checkpoint.state.BestWeights)
	return n, nil
}

// newNetwork builds the network of a configuration, of which only the model, the input, the latent dimension and the
// values on the model's own axes matter. Its weights are zero.
func newNetwork(config *Config) (*network.Network, error) {
	definition, err := find(config.Model)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidConfig, err)
	}
	trained, ok := definition.(model.Network)
	if !ok || config.LatentDim < 1 || config.LatentDim > MaxLatentDim {
		return nil, fmt.Errorf("%w: there is no network of model %q and %d latent dimensions", ErrInvalidConfig,
			config.Model, config.LatentDim)
	}
	if wrong := config.checkValues(definition.Describe()); len(wrong) > 0 {
		return nil, fmt.Errorf("%w: %w", ErrInvalidConfig, errors.Join(wrong...))
	}
	m := definition.Describe()
	if err := m.Check(config.input()); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidConfig, err)
	}
	if _, err := config.plan(trained); err != nil { // Before anything of its size is allocated.
		return nil, fmt.Errorf("%w: %w", ErrInvalidConfig, err)
	}
	return network.Build(config.layers(trained))
}
