package grid

import (
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

// A latent dimension that makes a layer too large for the images is refused where it stands, and the message says what
// fits.
func TestWeightsOfModel(t *testing.T) {
	models := Models{{
		Name: "images", Data: true, MaxWeights: 1 << 24, FeatureChannels: 128, FeatureScale: 4,
		Axes: []*trellisv1.ModelAxis{{Name: LatentDim, Kind: trellisv1.Kind_KIND_INTEGER, Minimum: 1, Maximum: 784, Common: true}},
	}, {Name: "anything", Data: true}}
	refused := func(value int, weights string) string {
		return fmt.Sprintf(`latent_dim: %d is too large for the images of the data set "large", which have 256 x 257 pixels: a layer `+
			`of the model images would have %s weights, and may have 16,777,216: 32 fits`, value, weights)
	}
	of := func(axis *trellisv1.Axis) *trellisv1.StudySpec {
		return &trellisv1.StudySpec{
			Model: "images", Grid: []*trellisv1.Grid{{}, {Axes: map[string]*trellisv1.Axis{LatentDim: axis}}},
		}
	}
	fixed := of(nil)
	fixed.Grid, fixed.Fixed = []*trellisv1.Grid{{}}, map[string]*trellisv1.Value{LatentDim: trellisv1.IntegerValue(33)}
	anything := of(trellisv1.AxisOf(784))
	anything.Model = "anything"
	linear := func(from, to float64, count uint32) *trellisv1.Axis {
		return &trellisv1.Axis{Linear: &trellisv1.Range{From: from, To: to, Count: count}}
	}
	log2 := &trellisv1.Axis{Log2: &trellisv1.Range{From: 1, To: 64, Count: 7}}
	stepped := func(to float64) *trellisv1.Axis {
		return &trellisv1.Axis{Step: &trellisv1.Step{From: 2, To: to, By: 30}}
	}
	for _, test := range []struct {
		name       string
		spec       *trellisv1.StudySpec
		path, want string
	}{
		{"fits", of(trellisv1.AxisOf(1, 32)), "", ""},
		{"without layers of that size", anything, "", ""},
		{"in a list", of(trellisv1.AxisOf(2, 33, 784)), `grid[1].axes["latent_dim"].integers[1]`, refused(33, "17,301,504")},
		{"a range that fits", of(linear(8, 32, 4)), "", ""},
		{"a range", of(linear(8, 64, 8)), `grid[1].axes["latent_dim"].linear`, refused(40, "20,971,520")},
		{"a logarithmic range", of(log2), `grid[1].axes["latent_dim"].log2`, refused(64, "33,554,432")},
		{"steps whose end is no point", of(stepped(61)), "", ""},
		{"steps", of(stepped(62)), `grid[1].axes["latent_dim"].step`, refused(62, "32,505,856")},
		{"fixed", fixed, `fixed["latent_dim"]`, refused(33, "17,301,504")},
	} {
		data := &trellisv1.DataSet{Name: "large", Height: 256, Width: 257, TrainImages: 12}
		_, err := models.ResolveSplit(test.spec, data)
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
