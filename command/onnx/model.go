package onnx

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	onnxv1 "trellis/proto/onnx/v1"
	"trellis/trainer"
)

// Names of the network's input and outputs.
const (
	Images           = "images"
	Code             = "code"
	LogVariance      = "log_variance"
	Reconstruction   = "reconstruction"
	LogProbabilities = "log_probabilities"
)

const (
	// irVersion and opset are what onnxruntime 1.13 of 2022 and all later ones read.
	irVersion = 8
	opset     = 17
)

// Write writes a network with its weights. version is that of this program. The same arguments give the same bytes.
func Write(w io.Writer, inference *trainer.Inference, metadata map[string]string, version string) error {
	graph, err := graphOf(inference)
	if err != nil {
		return err
	}
	graph.Name = metadata["model"]
	model := &onnxv1.Model{
		IrVersion: irVersion, OpsetImport: []*onnxv1.OperatorSetId{{Version: opset}},
		ProducerName: "trellis", ProducerVersion: version, Graph: graph,
	}
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		model.MetadataProps = append(model.MetadataProps, &onnxv1.StringStringEntry{Key: key, Value: metadata[key]})
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(model)
	if err != nil {
		return fmt.Errorf("write the network as ONNX: %w", err)
	}
	_, err = w.Write(data)
	return err
}

// graphOf is the network from its images to all that it makes of them.
func graphOf(inference *trainer.Inference) (*onnxv1.Graph, error) {
	paths, err := inference.Paths()
	if err != nil {
		return nil, err
	}
	b := &builder{graph: new(onnxv1.Graph), results: map[string]string{}}
	image := inference.Image()
	b.graph.Input = []*onnxv1.ValueInfo{
		valueInfo(Images, []int{image.Channels, image.Height, image.Width}, "pixels from 0 (black) to 1 (white)"),
	}
	if paths.Encoder != nil {
		b.output(paths.Encoder, Images, Code, "what the encoder makes of each image")
		if paths.Decoder != nil {
			b.output(paths.Decoder, Code, Reconstruction, "the images that the decoder makes of the codes")
		}
	}
	if paths.LogVariance != nil {
		b.output(paths.LogVariance, Images, LogVariance,
			"natural logarithms of the variances of each image's distribution, whose means are its code")
	}
	if paths.Classifier != nil {
		b.output(paths.Classifier, Images, LogProbabilities, "natural logarithms of the classes' probabilities")
	}
	return b.graph, nil
}

// valueInfo describes a value of any number of images.
func valueInfo(name string, shape []int, doc string) *onnxv1.ValueInfo {
	dims := []*onnxv1.Dimension{{Value: &onnxv1.Dimension_DimParam{DimParam: "batch"}}}
	for _, length := range shape {
		dims = append(dims, &onnxv1.Dimension{Value: &onnxv1.Dimension_DimValue{DimValue: int64(length)}})
	}
	return &onnxv1.ValueInfo{Name: name, DocString: doc, Type: &onnxv1.Type{TensorType: &onnxv1.TensorType{
		ElemType: onnxv1.ElementType_ELEMENT_TYPE_FLOAT, Shape: &onnxv1.TensorShape{Dim: dims},
	}}}
}
