package onnx

import (
	"encoding/binary"
	"math"

	onnxv1 "trellis/proto/onnx/v1"
	"trellis/trainer"
)

// builder adds a network's parts to a graph.
type builder struct {
	graph *onnxv1.Graph
	// results has the value that a node makes of a value, so that what parts have in common is there once.
	results map[string]string
}

// output adds a part from one value to another, which becomes an output of the graph.
func (b *builder) output(path trainer.Path, from, to, doc string) {
	value := from
	for i, step := range path {
		name := ""
		if i == len(path)-1 {
			name = to
		}
		value = b.apply(step, value, name)
	}
	b.graph.Output = append(b.graph.Output, valueInfo(to, path[len(path)-1].Shape, doc))
}

// apply adds a node for a step, unless it is there, and returns its result. An empty name lets the node choose one.
func (b *builder) apply(step trainer.Step, value, result string) string {
	node := &onnxv1.Node{Input: []string{value}}
	switch step.Kind {
	case trainer.Convolution, trainer.Transposed:
		w := step.Window
		node.OpType, node.Name = "Conv", step.Layer
		node.Attribute = []*onnxv1.Attribute{
			integers("kernel_shape", w.Kernel, w.Kernel),
			integers("strides", w.Stride, w.Stride),
			integers("pads", w.Padding, w.Padding, w.Padding, w.Padding),
		}
		if step.Kind == trainer.Transposed {
			node.OpType = "ConvTranspose"
			node.Attribute = append(node.Attribute,
				integers("output_padding", w.OutputPaddingHeight, w.OutputPaddingWidth))
		}
	case trainer.Linear:
		node.OpType, node.Name = "Gemm", step.Layer
		node.Attribute = []*onnxv1.Attribute{integer("transB", 1)}
	case trainer.ReLU:
		node.OpType, node.Name = "Relu", step.Layer+".relu"
	case trainer.Sigmoid:
		node.OpType, node.Name = "Sigmoid", step.Layer+".sigmoid"
	case trainer.Reshape:
		node.OpType, node.Name = "Reshape", value+".reshape"
	case trainer.LogSoftmax:
		node.OpType, node.Name = "LogSoftmax", value+".log_softmax"
		node.Attribute = []*onnxv1.Attribute{integer("axis", 1)}
	}
	if known, ok := b.results[node.GetName()]; ok {
		return known
	}
	switch step.Kind {
	case trainer.Convolution, trainer.Transposed, trainer.Linear:
		node.Input = append(node.Input, b.weights(step.Weight.Name, step.Weight.Shape, step.Weight.Values),
			b.weights(step.Bias.Name, step.Bias.Shape, step.Bias.Values))
	case trainer.Reshape:
		node.Input = append(node.Input, b.shape(node.GetName()+".shape", step.Shape))
	}
	if result == "" {
		result = node.GetName() + ".output"
	}
	node.Output = []string{result}
	b.graph.Node = append(b.graph.Node, node)
	b.results[node.GetName()] = result
	return result
}

// weights adds a tensor of weights.
func (b *builder) weights(name string, shape []int, values []float32) string {
	data := make([]byte, 0, 4*len(values))
	for _, value := range values {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(value))
	}
	tensor := &onnxv1.Tensor{Name: name, DataType: onnxv1.ElementType_ELEMENT_TYPE_FLOAT, RawData: data}
	for _, length := range shape {
		tensor.Dims = append(tensor.Dims, int64(length))
	}
	b.graph.Initializer = append(b.graph.Initializer, tensor)
	return name
}

// shape adds the shape that a value is to get. Its first length, 0, keeps the number of images as it is.
func (b *builder) shape(name string, shape []int) string {
	data := make([]byte, 8, 8+8*len(shape))
	for _, length := range shape {
		data = binary.LittleEndian.AppendUint64(data, uint64(length))
	}
	b.graph.Initializer = append(b.graph.Initializer, &onnxv1.Tensor{
		Name: name, DataType: onnxv1.ElementType_ELEMENT_TYPE_INT64, Dims: []int64{int64(len(shape) + 1)},
		RawData: data,
	})
	return name
}

func integer(name string, value int64) *onnxv1.Attribute {
	return &onnxv1.Attribute{Name: name, Type: onnxv1.AttributeType_ATTRIBUTE_TYPE_INT, I: &value}
}

func integers(name string, values ...int) *onnxv1.Attribute {
	its := &onnxv1.Attribute{Name: name, Type: onnxv1.AttributeType_ATTRIBUTE_TYPE_INTS}
	for _, value := range values {
		its.Ints = append(its.Ints, int64(value))
	}
	return its
}
