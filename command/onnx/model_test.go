package onnx

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	onnxv1 "trellis/proto/onnx/v1"
	"trellis/trainer"
	"trellis/trainer/dataset"
)

const side = 28

// trained returns a model's configuration, and its checkpoint after two epochs on a few images.
func trained(t *testing.T, model string, latentDim int) (trainer.Config, *trainer.Checkpoint) {
	t.Helper()
	return trainedOn(t, model, latentDim, trainer.Image{Channels: 1, Height: side, Width: side})
}

// trainedOn trains a model on images of a shape.
func trainedOn(t *testing.T, model string, latentDim int, shape trainer.Image) (trainer.Config, *trainer.Checkpoint) {
	t.Helper()
	train := func(config trainer.Config) (trainer.Config, *trainer.Checkpoint) {
		var last *trainer.Checkpoint
		config.Checkpoint = func(c *trainer.Checkpoint) error { last = c.Clone(); return nil }
		if _, err := trainer.Train(t.Context(), config, func(trainer.Report) error { return nil }); err != nil {
			t.Fatal(err)
		}
		return config, last
	}
	config := trainer.Config{
		Model: model, LatentDim: latentDim, LearningRate: 5e-3, BatchSize: 32, Seed: 3, MaxEpochs: 2,
		Data: images(32, shape), Input: trainer.Input{Image: shape, Classes: 10},
	}
	switch model {
	case trainer.DenoisingAutoencoder:
		config.Values = map[string]float64{trainer.Noise: 0.2}
	case trainer.Classifier:
		pretrained := config
		pretrained.Model = trainer.ConvAutoencoder
		_, config.Pretrained = train(pretrained)
	}
	return train(config)
}

// inferenceOf returns the network of a checkpoint, and some of its images.
func inferenceOf(
	t *testing.T, config trainer.Config, checkpoint *trainer.Checkpoint,
) (*trainer.Inference, []float32) {
	t.Helper()
	inference, err := trainer.NewInference(config, checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	pixels := make([]float32, 5*config.Input.Size())
	for i := range pixels {
		pixels[i] = float32(config.Data.Test.Pixels[i]) / 255
	}
	return inference, pixels
}

// images are made up: bright squares on dark ground, whose labels say where.
func images(count int, shape trainer.Image) dataset.Split {
	set := func(count int) dataset.Images {
		its := dataset.Images{Pixels: make([]uint8, 0, count*shape.Size()), Labels: make([]uint8, count)}
		for i := range count {
			its.Labels[i] = uint8(i % 10)
			for p := range shape.Size() {
				pixel := uint8((i*31 + p*7) % 97)
				if row, column := p/shape.Width, p%shape.Width; row/6 == i%4 && column/6 == i%5 {
					pixel = uint8(200 + i%50)
				}
				its.Pixels = append(its.Pixels, pixel)
			}
		}
		return its
	}
	return dataset.Split{
		Digest: "made up", Channels: shape.Channels, Height: shape.Height, Width: shape.Width,
		Train: set(count), Validation: set(16), Test: set(16),
	}
}

// The file has all outputs that the model has, and gives what the trainer's own network gives, computed by its
// description alone.
func TestWrite(t *testing.T) {
	for _, test := range []struct {
		model   string
		outputs map[string]func(context.Context, *trainer.Inference, []float32) ([]float32, error)
	}{
		{trainer.ConvAutoencoder, autoencoder},
		{trainer.DenoisingAutoencoder, autoencoder},
		{trainer.VariationalAutoencoder, variational},
		{trainer.Classifier, classifier},
	} {
		t.Run(test.model, func(t *testing.T) {
			t.Parallel()
			config, checkpoint := trained(t, test.model, 5)
			inference, pixels := inferenceOf(t, config, checkpoint)
			var file, again bytes.Buffer
			metadata := map[string]string{"model": test.model, "trial": "3", "study": "s"}
			for _, out := range []*bytes.Buffer{&file, &again} {
				if err := Write(out, inference, metadata, "1.2.3"); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(file.Bytes(), again.Bytes()) {
				t.Error("the same network has other bytes")
			}
			model := new(onnxv1.Model)
			if err := proto.Unmarshal(file.Bytes(), model); err != nil {
				t.Fatal(err)
			}
			props := model.GetMetadataProps()
			if len(props) != 3 || props[0].GetKey() != "model" || props[1].GetValue() != "s" {
				t.Errorf("metadata is %v", props)
			}
			values := evaluate(t, model.GetGraph(), pixels)
			var names []string
			for _, output := range model.GetGraph().GetOutput() {
				name := output.GetName()
				names = append(names, name)
				get := test.outputs[name]
				if get == nil {
					t.Errorf("unexpected output %q", name)
					continue
				}
				want, err := get(t.Context(), inference, pixels)
				if err != nil {
					t.Fatal(err)
				}
				checkShape(t, output, values[name].shape)
				checkClose(t, name, values[name].values, want)
			}
			if len(names) != len(test.outputs) {
				t.Errorf("outputs are %v, want %d", names, len(test.outputs))
			}
		})
	}
}

var (
	encode = func(ctx context.Context, i *trainer.Inference, images []float32) ([]float32, error) {
		return i.Encode(ctx, images)
	}
	autoencoder = map[string]func(context.Context, *trainer.Inference, []float32) ([]float32, error){
		Code: encode,
		Reconstruction: func(ctx context.Context, i *trainer.Inference, images []float32) ([]float32, error) {
			return i.Reconstruct(ctx, images)
		},
	}
	variational = map[string]func(context.Context, *trainer.Inference, []float32) ([]float32, error){
		Code: encode, Reconstruction: autoencoder[Reconstruction],
		LogVariance: func(ctx context.Context, i *trainer.Inference, images []float32) ([]float32, error) {
			return i.LogVariance(ctx, images)
		},
	}
	classifier = map[string]func(context.Context, *trainer.Inference, []float32) ([]float32, error){
		Code: encode,
		LogProbabilities: func(ctx context.Context, i *trainer.Inference, images []float32) ([]float32, error) {
			return i.Classify(ctx, images)
		},
	}
)

// checkShape compares a value's shape with what the file says of it.
func checkShape(t *testing.T, output *onnxv1.ValueInfo, shape []int) {
	t.Helper()
	dims := output.GetType().GetTensorType().GetShape().GetDim()
	said := []int{5}
	for _, dim := range dims[1:] {
		said = append(said, int(dim.GetDimValue()))
	}
	if dims[0].GetDimParam() != "batch" || !slices.Equal(said, shape) {
		t.Errorf("%s is said to have shape %v, and has %v", output.GetName(), dims, shape)
	}
}

func checkClose(t *testing.T, name string, got []float64, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s has %d values, want %d", name, len(got), len(want))
	}
	largest := 0.0
	for i := range want {
		largest = max(largest, math.Abs(got[i]-float64(want[i]))/max(1, math.Abs(float64(want[i]))))
	}
	if !(largest < 1e-5) {
		t.Errorf("%s differs by %v", name, largest)
	}
}

// value is a tensor in float64.
type value struct {
	shape  []int
	values []float64
}

// evaluate computes all values of a graph in float64, plainly, as ONNX defines its operators.
func evaluate(t *testing.T, graph *onnxv1.Graph, images []float32) map[string]value {
	t.Helper()
	values := map[string]value{}
	input := value{shape: []int{len(images) / (side * side), 1, side, side}}
	for _, pixel := range images {
		input.values = append(input.values, float64(pixel))
	}
	values[graph.GetInput()[0].GetName()] = input
	for _, tensor := range graph.GetInitializer() {
		var its value
		for _, dim := range tensor.GetDims() {
			its.shape = append(its.shape, int(dim))
		}
		if tensor.GetDataType() == onnxv1.ElementType_ELEMENT_TYPE_INT64 {
			for data := range slices.Chunk(tensor.GetRawData(), 8) {
				its.values = append(its.values, float64(int64(binary.LittleEndian.Uint64(data))))
			}
		} else {
			for data := range slices.Chunk(tensor.GetRawData(), 4) {
				its.values = append(its.values, float64(math.Float32frombits(binary.LittleEndian.Uint32(data))))
			}
		}
		values[tensor.GetName()] = its
	}
	for _, node := range graph.GetNode() {
		var inputs []value
		for _, name := range node.GetInput() {
			its, ok := values[name]
			if !ok {
				t.Fatalf("%s needs %s, which nothing before it makes", node.GetName(), name)
			}
			inputs = append(inputs, its)
		}
		if _, ok := values[node.GetOutput()[0]]; ok {
			t.Fatalf("%s is made twice", node.GetOutput()[0])
		}
		values[node.GetOutput()[0]] = apply(t, node, inputs)
	}
	return values
}

func apply(t *testing.T, node *onnxv1.Node, inputs []value) value {
	t.Helper()
	attributes := map[string][]int64{}
	for _, attribute := range node.GetAttribute() {
		attributes[attribute.GetName()] = attribute.GetInts()
		if attribute.I != nil {
			attributes[attribute.GetName()] = []int64{attribute.GetI()}
		}
	}
	x := inputs[0]
	pointwise := func(f func(float64) float64) value {
		out := value{shape: x.shape}
		for _, each := range x.values {
			out.values = append(out.values, f(each))
		}
		return out
	}
	switch node.GetOpType() {
	case "Relu":
		return pointwise(func(x float64) float64 { return max(x, 0) })
	case "Sigmoid":
		return pointwise(func(x float64) float64 { return 1 / (1 + math.Exp(-x)) })
	case "Reshape":
		out := value{values: x.values}
		for i, length := range inputs[1].values {
			if length == 0 {
				length = float64(x.shape[i])
			}
			out.shape = append(out.shape, int(length))
		}
		return out
	case "LogSoftmax":
		out := value{shape: x.shape}
		for row := range slices.Chunk(x.values, x.shape[attributes["axis"][0]]) {
			sum := 0.0
			for _, score := range row {
				sum += math.Exp(score)
			}
			for _, score := range row {
				out.values = append(out.values, score-math.Log(sum))
			}
		}
		return out
	case "Gemm":
		if attributes["transB"][0] != 1 {
			t.Fatal("weights of a linear layer are (out, in)")
		}
		w, bias := inputs[1], inputs[2]
		out := value{shape: []int{x.shape[0], w.shape[0]}}
		for row := range slices.Chunk(x.values, x.shape[1]) {
			for o := range w.shape[0] {
				sum := bias.values[o]
				for i, each := range row {
					sum += each * w.values[o*w.shape[1]+i]
				}
				out.values = append(out.values, sum)
			}
		}
		return out
	case "Conv", "ConvTranspose":
		return convolve(x, inputs[1], inputs[2], attributes, node.GetOpType() == "ConvTranspose")
	}
	t.Fatalf("%s is no operator that this test knows", node.GetOpType())
	return value{}
}

// convolve is Conv or ConvTranspose: both add products of pixels and weights, the one to where the window is, the other
// from there.
func convolve(x, w, bias value, attributes map[string][]int64, transposed bool) value {
	kernel, stride, pad := int(attributes["kernel_shape"][0]), int(attributes["strides"][0]), int(attributes["pads"][0])
	images, in, size := x.shape[0], x.shape[1], x.shape[2]
	out, outSize := w.shape[0], (size+2*pad-kernel)/stride+1
	if transposed {
		out, outSize = w.shape[1], (size-1)*stride-2*pad+kernel+int(attributes["output_padding"][0])
	}
	y := value{shape: []int{images, out, outSize, outSize}, values: make([]float64, images*out*outSize*outSize)}
	for i := range y.values {
		y.values[i] = bias.values[i/(outSize*outSize)%out]
	}
	small, large := outSize, size
	if transposed {
		small, large = size, outSize
	}
	for n := range images {
		for i := range in {
			for o := range out {
				for k := range kernel * kernel {
					weight := w.values[(o*in+i)*kernel*kernel+k]
					if transposed {
						weight = w.values[(i*out+o)*kernel*kernel+k]
					}
					for p := range small * small {
						row, column := p/small*stride+k/kernel-pad, p%small*stride+k%kernel-pad
						if row < 0 || column < 0 || row >= large || column >= large {
							continue
						}
						from, to := ((n*in+i)*large+row)*large+column, ((n*out+o)*small)*small+p
						if transposed {
							from, to = ((n*in+i)*small)*small+p, ((n*out+o)*large+row)*large+column
						}
						y.values[to] += weight * x.values[from]
					}
				}
			}
		}
	}
	return y
}
