package grid

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// What no worker could train is refused before it is tried, and the message says what the model takes.
func TestDataOfModel(t *testing.T) {
	models := Models{
		{Name: "digits", Data: true, MinSide: 9, MaxSide: 256, MaxChannels: 4, Classes: 10},
		{Name: "images", Data: true, MinSide: 8, MaxSide: 256, MaxChannels: 4},
		{Name: "anything", Data: true},
	}
	of := func(height, width uint32, classes *uint32) *trellisv1.DataSet {
		return &trellisv1.DataSet{Name: "tiny", Height: height, Width: width, TrainImages: 12, Classes: classes}
	}
	for _, test := range []struct {
		name, model string
		data        *trellisv1.DataSet
		rule, want  string
	}{
		{"right", "digits", of(28, 28, proto.Uint32(10)), "", ""},
		{"fewer labels", "digits", of(28, 28, proto.Uint32(3)), "", ""},
		{"not known", "digits", of(0, 0, nil), "", ""},
		{"more labels", "digits", of(28, 28, proto.Uint32(100)), "", ""},
		{
			"no labels", "digits", of(28, 28, proto.Uint32(0)),
			"data.labels", `the data set "tiny" has no labels, and the model digits learns from them`,
		},
		{"labels are not needed", "images", of(28, 28, proto.Uint32(0)), "", ""},
		{"labels do not matter", "images", of(28, 28, proto.Uint32(200)), "", ""},
		{"not square", "digits", of(9, 256, proto.Uint32(10)), "", ""},
		{
			"too large", "images", of(32, 257, nil),
			"data.image_size", `the images of the data set "tiny" have 32 x 257 pixels, and the model images takes 8 to 256 a side`,
		},
		{
			"too small", "digits", of(8, 56, proto.Uint32(10)),
			"data.image_size", `the images of the data set "tiny" have 8 x 56 pixels, and the model digits takes 9 to 256 a side`,
		},
		{"of any size", "anything", of(32, 16, nil), "", ""},
		{"gray", "images", &trellisv1.DataSet{Name: "tiny", Height: 28, Width: 28, TrainImages: 12, Channels: 1}, "", ""},
		{"colored", "images", &trellisv1.DataSet{Name: "tiny", Height: 28, Width: 28, TrainImages: 12, Channels: 4}, "", ""},
		{
			"too many channels", "images", &trellisv1.DataSet{Name: "tiny", Height: 28, Width: 28, TrainImages: 12, Channels: 5},
			"data.image_channels", `the images of the data set "tiny" have 5 channels, and the model images takes 1 to 4`,
		},
	} {
		split, err := models.ResolveSplit(&trellisv1.StudySpec{Model: test.model}, test.data)
		if test.want == "" {
			if err != nil || split.GetTrain() != 10 || split.GetValidation() != 2 {
				t.Errorf("%s: got %v and %v, want a split", test.name, split, err)
			}
			continue
		}
		got := onlyViolation(t, test.name, err)
		if got.GetRuleId() != test.rule || got.GetMessage() != test.want ||
			protovalidate.FieldPathString(got.GetField()) != "data" {
			t.Errorf("%s: got %v, want %s: %s", test.name, got, test.rule, test.want)
		}
	}
}

// onlyViolation returns what is wrong with a spec by an error that must say one thing.
func onlyViolation(t *testing.T, name string, err error) *validate.Violation {
	t.Helper()
	var invalid *protovalidate.ValidationError
	if !errors.As(err, &invalid) || len(invalid.Violations) != 1 {
		t.Fatalf("%s: got %v, want one violation", name, err)
	}
	return invalid.Violations[0].Proto
}

// sizedModel is a model of which a layer has so many weights: 2^19 for each latent dimension, doubled with each depth
// above 2. Images are too small for a depth of 4.
var sizedModel = &trellisv1.Model{
	Name: "images", Data: true,
	Axes: []*trellisv1.ModelAxis{
		{Name: LatentDim, Kind: trellisv1.Kind_KIND_INTEGER, Minimum: 1, Maximum: 784, Sizes: true, Grows: true},
		{
			Name: "depth", Kind: trellisv1.Kind_KIND_INTEGER, Minimum: 2, Maximum: 4, Sizes: true,
			Default: trellisv1.IntegerValue(2),
		},
	},
}

func sizeOf(_ string, _ *trellisv1.ModelInput, point *trellisv1.Parameters) (Size, error) {
	weights := uint64(point.Numeric(LatentDim)) << 19 << int(point.Numeric("depth")-2)
	switch {
	case point.Numeric("depth") == 4:
		return Size{}, errors.New("too small")
	case weights > 1<<24:
		return Size{}, fmt.Errorf("%d weights", weights)
	}
	return Size{Weights: weights, Train: 3, Evaluate: 1, Memory: 5}, nil
}

// What has no network is refused where it stands, and the message says which point it is, and what fits.
func TestSizes(t *testing.T) {
	models := Models{sizedModel}
	const images = `the images of the data set "large", which have 256 x 257 pixels`
	const orWhere = "; or leave out such combinations with where"
	refused := func(do, weights string) string {
		return fmt.Sprintf("latent_dim: %s fit %s, with depth 2: %s weights: 32 fits", do, images, weights)
	}
	of := func(axis *trellisv1.Axis) *trellisv1.StudySpec {
		return &trellisv1.StudySpec{Model: "images", Grid: []*trellisv1.Grid{
			{Axes: map[string]*trellisv1.Axis{LatentDim: trellisv1.AxisOf(1)}},
			{Axes: map[string]*trellisv1.Axis{LatentDim: axis}},
		}}
	}
	fixed := of(nil)
	fixed.Grid, fixed.Fixed = []*trellisv1.Grid{{}}, map[string]*trellisv1.Value{LatentDim: trellisv1.IntegerValue(33)}
	linear := func(from, to float64, count uint32) *trellisv1.Axis {
		return &trellisv1.Axis{Linear: &trellisv1.Range{From: from, To: to, Count: count}}
	}
	log2 := &trellisv1.Axis{Log2: &trellisv1.Range{From: 1, To: 64, Count: 7}}
	stepped := func(to float64) *trellisv1.Axis {
		return &trellisv1.Axis{Step: &trellisv1.Step{From: 2, To: to, By: 30}}
	}
	deep := func(where string, depths ...int) *trellisv1.StudySpec {
		spec := of(trellisv1.AxisOf(8, 20))
		spec.Grid[1].Axes["depth"], spec.Where = trellisv1.AxisOf(depths...), where
		return spec
	}
	const depth = `grid[1].axes["depth"].integers[1]`
	for _, test := range []struct {
		name       string
		spec       *trellisv1.StudySpec
		path, want string
		// largest is in units of 2^19 weights.
		largest uint64
	}{
		{"fits", of(trellisv1.AxisOf(1, 32)), "", "", 32},
		{"in a list", of(trellisv1.AxisOf(2, 33, 784)), `grid[1].axes["latent_dim"].integers[1]`, refused("33 and 784 do not", "17301504"), 0},
		{"a range that fits", of(linear(8, 32, 4)), "", "", 32},
		{"a range", of(linear(8, 64, 8)), `grid[1].axes["latent_dim"].linear`, refused("40, 48, 56 and 64 do not", "20971520"), 0},
		{"a long range", of(linear(8, 80, 10)), `grid[1].axes["latent_dim"].linear`, refused("40, 48, 56 and 3 more do not", "20971520"), 0},
		{"a logarithmic range", of(log2), `grid[1].axes["latent_dim"].log2`, refused("64 does not", "33554432"), 0},
		{"steps whose end is no point", of(stepped(61)), "", "", 32},
		{"steps", of(stepped(62)), `grid[1].axes["latent_dim"].step`, refused("62 does not", "32505856"), 0},
		{"fixed", fixed, `fixed["latent_dim"]`, refused("33 does not", "17301504"), 0},
		{
			"too deep", deep("", 2, 4), depth,
			"depth: 4 does not fit " + images + ", with latent_dim 20: too small: 2 fits" + orWhere, 0,
		},
		{
			"together too large", deep("", 2, 3), depth,
			"depth: 3 does not fit " + images + ", with latent_dim 20: 20971520 weights: 2 fits" + orWhere, 0,
		},
		{"left out", deep("depth < 3 || latent_dim < 9", 2, 3), "", "", 20},
		{"left out by one axis", deep("depth != 4", 2, 4), "", "", 20},
		{
			"not left out", deep("depth < 3 || latent_dim > 9", 2, 3), depth,
			"depth: 3 does not fit " + images + ", with latent_dim 20: 20971520 weights: 2 fits" + orWhere, 0,
		},
	} {
		data := &trellisv1.DataSet{Name: "large", Height: 256, Width: 257, TrainImages: 12}
		for _, grid := range test.spec.Grid {
			put(grid, MaxEpochs, trellisv1.AxisOf(5))
		}
		smallest, largest, err := models.Sizes(t.Context(), sizeOf, models.WithDefaults(test.spec), data)
		if test.want != "" {
			got := onlyViolation(t, test.name, err)
			if path := protovalidate.FieldPathString(got.GetField()); got.GetMessage() != test.want || path != test.path {
				t.Errorf("%s: got %s: %s, want %s: %s", test.name, path, got.GetMessage(), test.path, test.want)
			}
		} else if err != nil || smallest.GetWeights() != 1<<19 || largest.GetWeights() != test.largest<<19 ||
			largest.GetOperations() != 10*3+2 || largest.GetMemory() != 5 {
			t.Errorf("%s: got %v, %v and %v", test.name, smallest, largest, err)
		}
	}
}

// What an extension adds is refused as a value of the request, beside what the study has: its own values were right.
// The images are too small for a depth times a kernel of 20 or more, and for a latent dimension times either above 40.
func TestExtendedSizes(t *testing.T) {
	axis := func(name string, sizes *trellisv1.ModelAxis) *trellisv1.ModelAxis {
		sizes.Name, sizes.Kind, sizes.Sizes = name, trellisv1.Kind_KIND_INTEGER, true
		return sizes
	}
	models := Models{{Name: "images", Data: true, Axes: []*trellisv1.ModelAxis{
		axis(LatentDim, &trellisv1.ModelAxis{Minimum: 1, Maximum: 784, Grows: true}),
		axis("depth", &trellisv1.ModelAxis{Minimum: 2, Maximum: 5, Default: trellisv1.IntegerValue(3)}),
		axis("kernel", &trellisv1.ModelAxis{Minimum: 3, Maximum: 5, Default: trellisv1.IntegerValue(3)}),
		axis("shift", &trellisv1.ModelAxis{Maximum: 1000, Default: trellisv1.IntegerValue(500), SameLayers: true}),
	}}}
	sizer := func(_ string, _ *trellisv1.ModelInput, point *trellisv1.Parameters) (Size, error) {
		depth, kernel := point.Numeric("depth"), point.Numeric("kernel")
		if depth*kernel >= 20 || max(depth, kernel)*point.Numeric(LatentDim) > 40 {
			return Size{}, errors.New("too small")
		}
		return Size{Weights: 1}, nil
	}
	data := &trellisv1.DataSet{Name: "digits", Height: 28, Width: 28, TrainImages: 12}
	const images = `the images of the data set "digits", which have 28 x 28 pixels`
	steps := &trellisv1.Axis{Step: &trellisv1.Step{From: 1, To: 16, By: 5}}
	type axes = map[string]*trellisv1.Axis
	for _, test := range []struct {
		name, where string
		has, asks   axes
		path, want  string
	}{
		{"fits", "", axes{"kernel": trellisv1.AxisOf(4)}, axes{"depth": trellisv1.AxisOf(4)}, "", ""},
		{
			"another value would do too", "",
			axes{"kernel": trellisv1.AxisOf(5)},
			axes{"depth": trellisv1.AxisOf(4)},
			`axes["depth"].integers[0]`,
			"depth: 4 does not fit " + images + ", with the study's latent_dim 1, kernel 5: too small: 2 and 3 fit",
		},
		{
			"two are added", "", nil,
			axes{"depth": trellisv1.AxisOf(3, 2, 4), "kernel": trellisv1.AxisOf(3, 5)},
			`axes["kernel"].integers[1]`,
			"kernel: 5 does not fit " + images + ", with depth 4 and the study's latent_dim 1: too small: 3 and 4 fit",
		},
		{
			"only together", "depth == kernel && (depth < 5 || shift == 1)",
			axes{"kernel": trellisv1.AxisOf(3)},
			axes{
				"depth": trellisv1.AxisOf(5), "kernel": trellisv1.AxisOf(5), LatentDim: trellisv1.AxisOf(9), "shift": trellisv1.AxisOf(1),
			},
			`axes["depth"]`, "latent_dim 9, depth 5, kernel 5 do not fit " + images + ": too small",
		},
		{
			"the first that is too large", "", nil,
			axes{LatentDim: trellisv1.AxisOf(1, 13, 14, 15)},
			`axes["latent_dim"].integers[2]`,
			"latent_dim: 14 and 15 do not fit " + images + ", with the study's depth 3, kernel 3: too small: 13 fits",
		},
		{
			"in steps", "", nil,
			axes{LatentDim: steps},
			`axes["latent_dim"].step`,
			"latent_dim: 16 does not fit " + images + ", with the study's depth 3, kernel 3: too small: 13 fits",
		},
		{
			"the study has it", "",
			axes{"kernel": trellisv1.AxisOf(5), "depth": trellisv1.AxisOf(4)},
			axes{LatentDim: trellisv1.AxisOf(1)},
			`grid[0].axes["kernel"].integers[0]`,
			"kernel: 5 does not fit " + images + ", with the study's latent_dim 1, depth 4: too small: 3 and 4 fit",
		},
	} {
		grid := &trellisv1.Grid{Axes: axes{LatentDim: trellisv1.AxisOf(1), MaxEpochs: trellisv1.AxisOf(5)}}
		for name, axis := range test.has {
			put(grid, name, axis)
		}
		before := models.WithDefaults(&trellisv1.StudySpec{
			Name: "s", Data: "digits", Model: "images", Where: test.where, Grid: []*trellisv1.Grid{grid},
		})
		request := &trellisv1.ExtendStudyRequest{Study: "s", Axes: test.asks}
		merged, err := models.Merge(before, request)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		_, _, err = models.ExtendedSizes(t.Context(), sizer, before, request, merged, data)
		if test.want == "" {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			continue
		}
		got := onlyViolation(t, test.name, err)
		if path := protovalidate.FieldPathString(got.GetField()); got.GetMessage() != test.want || path != test.path {
			t.Errorf("%s: got %s: %s, want %s: %s", test.name, path, got.GetMessage(), test.path, test.want)
		}
	}
}

// What is kept of all images counts as memory, and saves operations unless it would be too much.
func TestMemoryCountsCodes(t *testing.T) {
	spec := &trellisv1.StudySpec{Model: "images", Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
		LatentDim: trellisv1.AxisOf(1), MaxEpochs: trellisv1.AxisOf(1),
	}}}}
	var most uint64
	sizer := func(string, *trellisv1.ModelInput, *trellisv1.Parameters) (Size, error) {
		return Size{
			Weights: 1, Memory: 5, Train: 30, Evaluate: 20, TrainSaved: 7, EvaluateSaved: 3,
			Kept: func(train, others uint64) uint64 { return most / max(most, 4*train+2*others) * (4*train + 2*others) },
		}, nil
	}
	models := Models{sizedModel}
	for most = range map[uint64]bool{50: true, 49: true} {
		_, largest, err := models.Sizes(t.Context(), sizer, models.WithDefaults(spec), &trellisv1.DataSet{
			Height: 32, Width: 32, TrainImages: 12, TestImages: 3,
		})
		memory, operations := uint64(5), float64(10*30+2*20)
		if most == 50 {
			memory, operations = 5+4*10+2*5, 10*23+2*17
		}
		if err != nil || largest.GetMemory() != memory || largest.GetOperations() != operations {
			t.Errorf("up to %d: %v, error %v; want %d bytes and %g operations", most, largest, err, memory, operations)
		}
	}
}

// A grid of 10^11 points takes as many looks at sizes as its axes that make a difference have extremes.
func TestSizesOfALargeGridAreFew(t *testing.T) {
	looks := 0
	counting := func(model string, input *trellisv1.ModelInput, point *trellisv1.Parameters) (Size, error) {
		looks++
		return sizeOf(model, input, point)
	}
	numbers := func(n uint32) *trellisv1.Axis {
		return &trellisv1.Axis{Linear: &trellisv1.Range{From: 1, To: float64(n), Count: n}}
	}
	spec := &trellisv1.StudySpec{
		Model: "images", Where: "latent_dim < 20 || learning_rate > 7", Budget: &trellisv1.Budget{Trials: 10},
		Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
			LatentDim: numbers(32), "depth": trellisv1.AxisOf(2), LearningRate: numbers(1000),
			WeightDecay: numbers(10_000), MaxEpochs: numbers(1000),
		}}},
	}
	data := &trellisv1.DataSet{Height: 32, Width: 32, TrainImages: 12}
	_, largest, err := Models{sizedModel}.Sizes(t.Context(), counting, spec, data)
	if err != nil || largest.GetWeights() != 1<<24 || looks > 3 {
		t.Errorf("%d looks, %v, %v", looks, largest, err)
	}
}

// A run says what its network is given unless that is what it was given when there was nothing else: then the
// configuration, and with it what older workers get, is as it was.
func TestInputOf(t *testing.T) {
	digits := &trellisv1.DataSet{Height: 28, Width: 28, Classes: proto.Uint32(10), Channels: 1}
	with := func(change func(*trellisv1.DataSet)) *trellisv1.DataSet {
		its := proto.CloneOf(digits)
		change(its)
		return its
	}
	for _, test := range []struct {
		name, model string
		data        *trellisv1.DataSet
		want        *trellisv1.ModelInput
	}{
		{"digits", "digits", digits, nil},
		{"channels not said", "digits", with(func(d *trellisv1.DataSet) { d.Channels = 0 }), nil},
		{"classes not known", "digits", with(func(d *trellisv1.DataSet) { d.Classes = nil }), nil},
		{"fewer classes", "digits", with(func(d *trellisv1.DataSet) { d.Classes = proto.Uint32(2) }), nil},
		{"nothing known", "digits", &trellisv1.DataSet{}, nil},
		{"no data", "synthetic", digits, nil},
		{
			"other images", "digits",
			with(func(d *trellisv1.DataSet) { d.Channels, d.Height, d.Width, d.Classes = 3, 64, 48, proto.Uint32(100) }),
			&trellisv1.ModelInput{Channels: 3, Height: 64, Width: 48, Classes: 100},
		},
		{
			"two classes", "digits", with(func(d *trellisv1.DataSet) { d.Width, d.Classes = 27, proto.Uint32(2) }),
			&trellisv1.ModelInput{Channels: 1, Height: 28, Width: 27, Classes: 10},
		},
	} {
		spec := &trellisv1.StudySpec{Model: test.model}
		if got := InputOf(spec, test.data); !proto.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
		study := &trellisv1.Study{Spec: spec, DataSet: test.data}
		if got := RunConfigFor(study, &trellisv1.Run{}, "1", 1).GetInput(); !proto.Equal(got, test.want) {
			t.Errorf("%s: a run gets %v, want %v", test.name, got, test.want)
		}
	}
}

// Weights are of a network for images of one size.
func TestSourceInput(t *testing.T) {
	wide := &trellisv1.ModelInput{Channels: 1, Height: 28, Width: 32, Classes: 26}
	for _, test := range []struct {
		name   string
		source *trellisv1.Source
		width  uint32
		want   string
	}{
		{"the same", &trellisv1.Source{Run: "r", Input: wide}, 32, ""},
		{"as ever", &trellisv1.Source{Run: "r"}, 28, ""},
		{"nothing known", &trellisv1.Source{}, 32, ""},
		{
			"other images", &trellisv1.Source{Run: "r"}, 32, `the weights are of a network for images of 28 x 28 pixels and 1 channel, ` +
				`and the data set "tiny" has images of 28 x 32 pixels and 1 channel: name a study on such images`,
		},
		{
			"digits", &trellisv1.Source{Run: "r", Input: wide}, 28, `the weights are of a network for images of 28 x 32 pixels and 1 channel, ` +
				`and the data set "tiny" has images of 28 x 28 pixels and 1 channel: name a study on such images`,
		},
	} {
		err := CheckSourceInput(&trellisv1.StudySpec{Model: "m"}, test.source, &trellisv1.DataSet{Name: "tiny", Height: 28, Width: test.width})
		var invalid *protovalidate.ValidationError
		switch {
		case test.want == "" && err == nil:
		case !errors.As(err, &invalid) || invalid.Violations[0].Proto.GetMessage() != test.want:
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
	}
}

// planeSpec has three axes of n values with which the layers of its model grow, within a plane.
func planeSpec(n uint32) (*trellisv1.Model, *trellisv1.StudySpec) {
	model, axes := &trellisv1.Model{Name: "layers", Data: true}, map[string]*trellisv1.Axis{MaxEpochs: trellisv1.AxisOf(1)}
	for _, name := range []string{LatentDim, "filters", "hidden"} {
		model.Axes = append(model.Axes, &trellisv1.ModelAxis{
			Name: name, Kind: trellisv1.Kind_KIND_INTEGER, Minimum: 1, Maximum: 784, Sizes: true, Grows: true,
		})
		axes[name] = &trellisv1.Axis{Linear: &trellisv1.Range{From: 1, To: float64(n), Count: n}}
	}
	return model, &trellisv1.StudySpec{
		Model: "layers", Grid: []*trellisv1.Grid{{Axes: axes}},
		Where: fmt.Sprintf("latent_dim + filters + hidden < %d", n/2*3+1),
	}
}

// Nobody looks on for a caller that is gone.
func TestSizesEndWithTheirCaller(t *testing.T) {
	model, spec := planeSpec(21)
	for _, after := range []int{0, 1, 7} {
		ctx, cancel := context.WithCancel(t.Context())
		looks := 0
		sizer := func(string, *trellisv1.ModelInput, *trellisv1.Parameters) (Size, error) {
			if looks++; looks == after {
				cancel()
			}
			return Size{Weights: uint64(looks)}, nil
		}
		if after == 0 {
			cancel()
		}
		_, _, err := Models{model}.Sizes(ctx, sizer, spec, &trellisv1.DataSet{Height: 32, Width: 32, TrainImages: 12})
		if !errors.Is(err, context.Canceled) || looks != after {
			t.Errorf("canceled at look %d: %d looks, %v", after, looks, err)
		}
		cancel()
	}
}
