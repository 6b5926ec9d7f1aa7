//go:build !race

package grid

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"buf.build/go/protovalidate"

	trellisv1 "trellis/proto/trellis/v1"
)

// One mistake is refused once, and its message has no axis with which only what layers take differs: whatever their
// values are, the network is as large. Their figures count.
func TestSameLayersAreRefusedOnce(t *testing.T) {
	whole := func(name string, axis *trellisv1.ModelAxis) *trellisv1.ModelAxis {
		axis.Name, axis.Kind, axis.Sizes = name, trellisv1.Kind_KIND_INTEGER, true
		return axis
	}
	zero := trellisv1.IntegerValue(0)
	models := Models{{Name: "images", Data: true, Axes: []*trellisv1.ModelAxis{
		whole(LatentDim, &trellisv1.ModelAxis{Minimum: 1, Maximum: 784, Grows: true}),
		whole("depth", &trellisv1.ModelAxis{Minimum: 2, Maximum: 5, Default: trellisv1.IntegerValue(3)}),
		whole("tune", &trellisv1.ModelAxis{Maximum: 1, Default: zero, SameLayers: true}),
		whole("shift", &trellisv1.ModelAxis{Maximum: 4, Default: zero, SameLayers: true}),
	}}}
	sizer := func(_ string, _ *trellisv1.ModelInput, point *trellisv1.Parameters) (Size, error) {
		if point.Numeric("depth") == 5 || point.Numeric(LatentDim)*point.Numeric("depth") > 40 {
			return Size{}, errors.New("too small")
		}
		return Size{Weights: 1, Memory: uint64(1 + point.Numeric("tune") + point.Numeric("shift"))}, nil
	}
	data := &trellisv1.DataSet{Name: "digits", Height: 28, Width: 28, TrainImages: 12}
	const images = `the images of the data set "digits", which have 28 x 28 pixels`
	for _, test := range []struct {
		where         string
		depth, latent *trellisv1.Axis
		want          string
	}{
		{"", trellisv1.AxisOf(3), trellisv1.AxisOf(8), ""},
		{"", trellisv1.AxisOf(5), trellisv1.AxisOf(8), "depth: 5 does not fit " + images + ", with latent_dim 8: too small: " +
			"2, 3 and 4 fit"},
		{"tune == 0 || shift < 3", trellisv1.AxisOf(5), trellisv1.AxisOf(8), "depth: 5 does not fit " + images +
			", with latent_dim 8: too small: 2, 3 and 4 fit"},
		{"latent_dim < 9 || shift > 0", trellisv1.AxisOf(4), trellisv1.AxisOf(8, 11), "depth: 4 does not fit " + images +
			", with latent_dim 11: too small: 2 and 3 fit"},
	} {
		spec := models.WithDefaults(&trellisv1.StudySpec{
			Name: "s", Data: "digits", Model: "images", Where: test.where, Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
				LatentDim: test.latent, MaxEpochs: trellisv1.AxisOf(5), "depth": test.depth,
				"tune": trellisv1.AxisOf(0, 1), "shift": trellisv1.AxisOf(0, 1, 2, 3, 4),
			}}},
		})
		least, most, err := models.Sizes(t.Context(), sizer, spec, data)
		if test.want != "" {
			if got := onlyViolation(t, test.where, err); got.GetMessage() != test.want {
				t.Errorf("where %q: got %s, want %s", test.where, got.GetMessage(), test.want)
			}
		} else if err != nil || least.GetMemory() != 1 || most.GetMemory() != 6 {
			t.Errorf("got %v to %v and %v, want memory of 1 to 6", least, most, err)
		}
	}
}

// A where that leaves thousands of large combinations takes few looks: if what is larger than all of them fits, all
// fit. Then the most is exact, or no network exceeds it. If not, only what decides is looked at.
func TestSizesWithinAPlane(t *testing.T) {
	product := func(x, y, z float64) float64 { return x * y * z }
	sum := func(x, y, z float64) float64 { return x + y + z }
	largest := func(x, y, z float64) float64 { return max(x, y, z) }
	const none = 1 << 20
	for _, test := range []struct {
		name        string
		n           uint32
		weights     func(x, y, z float64) float64
		limit       float64
		looks       int
		least, most uint64
		exact       bool
		refused     string
	}{
		{"all fit", 97, product, none, 2000, 1, 48 * 48 * 48, true, ""},
		{"some are as large", 31, largest, none, 300, 1, 31, true, ""},
		{"all just fit", 31, product, 15 * 15 * 15, 1000, 1, 15 * 15 * 15, true, ""},
		{"all are as large", 45, sum, none, maxMostLooks + 4, 3, 66, false, ""},
		{"the largest is too large", 31, product, 15*15*15 - 1, 20, 0, 0, false, "latent_dim: 15 does not fit"},
		{"another is too large", 31, largest, 28, 100, 0, 0, false, "latent_dim: 29 does not fit"},
		{
			"many just fit", 61, sum, 90, maxSearchLooks + 4, 0, 0, false,
			"where: leaves too many large combinations to see whether all of them fit the images",
		},
	} {
		looks := 0
		sizer := func(_ string, _ *trellisv1.ModelInput, p *trellisv1.Parameters) (Size, error) {
			looks++
			weights := test.weights(p.Numeric(LatentDim), p.Numeric("filters"), p.Numeric("hidden"))
			if weights > test.limit {
				return Size{}, fmt.Errorf("%v weights", weights)
			}
			return Size{Weights: uint64(weights), Train: 3, Evaluate: 1, Memory: 5}, nil
		}
		model, spec := planeSpec(test.n)
		data := &trellisv1.DataSet{Height: 32, Width: 32, TrainImages: 12}
		least, most, err := Models{model}.Sizes(t.Context(), sizer, spec, data)
		if looks > test.looks {
			t.Errorf("%s: %d looks, want at most %d", test.name, looks, test.looks)
		}
		if test.refused != "" {
			got := onlyViolation(t, test.name, err)
			if path := protovalidate.FieldPathString(got.GetField()); !strings.HasPrefix(got.GetMessage(), test.refused) ||
				strings.HasPrefix(test.refused, "where") != (path == "where") {
				t.Errorf("%s: %s: %s, want %s", test.name, path, got.GetMessage(), test.refused)
			}
			continue
		}
		if err != nil || least.GetWeights() != test.least || most.GetWeights() < test.most ||
			test.exact && most.GetWeights() != test.most || most.GetWeights() > test.most*5/4 {
			t.Errorf("%s: from %v to %v, %v, want %d to %d", test.name, least, most, err, test.least, test.most)
		}
	}
}
