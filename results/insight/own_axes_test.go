package insight

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
)

// noisyModel has three axes of its own: a number above 0, a switch, and a number that may be 0.
var noisyModel = &trellisv1.Model{Name: "noisy", Axes: append(slices.Clip(commonAxes),
	&trellisv1.ModelAxis{Name: "noise", Maximum: 10, ExclusiveMinimum: true, Kind: trellisv1.Kind_KIND_NUMBER},
	&trellisv1.ModelAxis{Name: "fine_tune", Maximum: 1, Kind: trellisv1.Kind_KIND_INTEGER},
	&trellisv1.ModelAxis{Name: "blur", Maximum: 3, Kind: trellisv1.Kind_KIND_NUMBER},
)}

// commonAxes are the axes of all models.
var commonAxes = []*trellisv1.ModelAxis{
	{Name: "latent_dim", Kind: trellisv1.Kind_KIND_INTEGER, Minimum: 1, Maximum: 784, Common: true},
	{Name: "learning_rate", Kind: trellisv1.Kind_KIND_NUMBER, Maximum: 1000, ExclusiveMinimum: true, Common: true},
	{
		Name: "weight_decay", Kind: trellisv1.Kind_KIND_NUMBER, Maximum: 1000, Default: trellisv1.NumberValue(0), Common: true,
	},
	{
		Name: "batch_size", Kind: trellisv1.Kind_KIND_INTEGER, Minimum: 1, Maximum: 65_536,
		Default: trellisv1.IntegerValue(256), Common: true,
	},
}

// noisySpec is a search on axes of its model.
func noisySpec(noise, fineTune []float64) *trellisv1.StudySpec {
	return &trellisv1.StudySpec{
		Name:  "s",
		Model: "noisy",
		Seeds: trellisv1.AxisOf[int](1, 2),
		Grid: []*trellisv1.Grid{{
			Axes: map[string]*trellisv1.Axis{
				"noise": trellisv1.AxisOf(noise...), "fine_tune": trellisv1.AxisOf(fineTune...),
			},
		}},
	}
}

// newNoisyStore trains the spec's grid with two seeds for two epochs, each of which ends a trial: at loss(noise, fine
// tune) plus a thousandth for the second seed and, after the first epoch, one more.
func newNoisyStore(
	t testing.TB, spec *trellisv1.StudySpec, loss func(noise, fineTune float64) float64,
) *studyStore {
	t.Helper()
	axes := spec.GetGrid()[0].GetAxes()
	var points []trainedTrial
	for _, fineTune := range axes["fine_tune"].GetValues() {
		for _, noise := range axes["noise"].GetValues() {
			for _, seed := range []uint32{1, 2} {
				last := loss(noise.GetNumber(), fineTune.GetNumber()) + float64(seed-1)/1000
				point := at1(8, 1e-3, 1e-5, 0).seeded(seed, last+1, last)
				point.parameters.Values = map[string]*trellisv1.Value{"noise": noise, "fine_tune": fineTune}
				point.milestones = []uint32{1, 2}
				points = append(points, point)
			}
		}
	}
	return newTrainedStore(t, spec, points...)
}

// TestConfigurationsOnOwnAxes: points that differ there alone are different configurations, each with its seeds.
func TestConfigurationsOnOwnAxes(t *testing.T) {
	store := newNoisyStore(
		t,
		noisySpec([]float64{0.5, 0.25}, []float64{0, 1}),
		func(noise, fineTune float64) float64 { return noise + fineTune/2 },
	)
	response, err := ListConfigurations(store.Snapshot(), &trellisv1.ListConfigurationsRequest{Study: "s"})
	ok(t, err)
	if len(response.Configurations) != 8 {
		t.Fatalf("%d configurations, want 4 points with 2 lengths", len(response.Configurations))
	}
	for i, want := range []string{"0.25 0", "0.5 0", "0.25 1", "0.5 1"} {
		got := response.Configurations[i]
		values := got.Parameters.Values
		if values["noise"].Written()+" "+values["fine_tune"].Written() != want || len(got.Repetitions) != 2 ||
			got.Parameters.MaxEpochs != 2 {
			t.Errorf("rank %d is %v, want %s with two seeds", i+1, got, want)
		}
	}
}

func TestImportanceOfOwnAxes(t *testing.T) {
	store := newNoisyStore(
		t,
		noisySpec([]float64{0.5, 0.25}, []float64{0, 1}),
		func(noise, _ float64) float64 { return 1 + noise },
	)
	response, err := Importance(store.Snapshot(), &trellisv1.GetImportanceRequest{Study: "s"})
	ok(t, err)
	effects := map[string]*trellisv1.AxisEffect{}
	var names []string
	for _, effect := range response.GetImportance().GetAxes() {
		names, effects[effect.Axis] = append(names, effect.Axis), effect
	}
	if !slices.Equal(names, []string{"max_epochs", "noise", "fine_tune"}) || effects["noise"].Importance <= 0.01 ||
		effects["fine_tune"].Importance > 1e-12 {
		t.Fatalf("the axes' effects are %v", response)
	}
	first := effects["noise"].Values[0]
	if first.Value.GetNumber() != 0.25 || first.BestAt.Numeric("noise") != 0.25 || first.BestAt.Numeric("fine_tune") != 0 {
		t.Errorf("what the smallest noise does is %v", first)
	}
}

// noisy are the models of which a suggestion knows.
var noisy = []*trellisv1.Model{noisyModel}

// TestSuggestOnOwnAxes: they are zoomed and widened like the others, within what the model takes.
func TestSuggestOnOwnAxes(t *testing.T) {
	for _, test := range []struct {
		name            string
		models          []*trellisv1.Model
		noise, fineTune []float64
		best            [2]float64
		want            string
	}{
		{"inside", noisy, []float64{0.1, 1, 10}, []float64{0}, [2]float64{1, 0}, "[0.3 1 3] [0]"},
		{"highest of all", noisy, []float64{0.1, 1, 10}, []float64{0}, [2]float64{10, 0}, "[3 10] [0]"},
		{"near the highest of all", noisy, []float64{0.05, 0.5, 5}, []float64{0}, [2]float64{5, 0}, "[1.6 5 10] [0]"},
		{"near the lowest of all", noisy, []float64{1, 2, 3}, []float64{0}, [2]float64{1, 0}, "[0.5 1 1.5] [0]"},
		{"a switch", noisy, []float64{0.1, 1, 10}, []float64{0, 1}, [2]float64{1, 1}, "[0.3 1 3] [1]"},
		{"a model that is not known", nil, []float64{0.05, 0.5, 5}, []float64{0}, [2]float64{5, 0}, "[1.6 5] [0]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			spec := noisySpec(test.noise, test.fineTune)
			store := newNoisyStore(t, spec, func(noise, fineTune float64) float64 {
				return 1 + float64(
					distanceIn(test.noise, noise, test.best[0])+distanceIn(test.fineTune, fineTune, test.best[1]),
				)
			})
			response, err := SuggestStudy(t.Context(), store.Snapshot(), &trellisv1.SuggestStudyRequest{Study: "s"}, test.models, nil)
			ok(t, err)
			axes := response.Spec.Grid[0].Axes
			if got := listed(axes["noise"].GetValues()) + " " + listed(axes["fine_tune"].GetValues()); got != test.want ||
				len(axes) != 3 {
				t.Errorf("suggested %v, want %s: %v", axes, test.want, response.Axes)
			}
		})
	}
}

// distanceIn is how many places lie between two values.
func distanceIn(values []float64, a, b float64) int {
	d := slices.Index(values, a) - slices.Index(values, b)
	return d * d
}

// listed writes values as a list.
func listed(values []*trellisv1.Value) string {
	texts := make([]string, len(values))
	for i, value := range values {
		texts[i] = value.Written()
	}
	return "[" + strings.Join(texts, " ") + "]"
}

// TestSuggestFits: what is suggested can be submitted, also where not all networks fit the images. The axis that
// explains most has more of its values then.
func TestSuggestFits(t *testing.T) {
	models := grid.Models{{Name: "shaped", Axes: append(slices.Clip(commonAxes),
		&trellisv1.ModelAxis{Name: "depth", Minimum: 2, Maximum: 5, Kind: trellisv1.Kind_KIND_INTEGER, Sizes: true},
		&trellisv1.ModelAxis{Name: "kernel", Minimum: 3, Maximum: 5, Kind: trellisv1.Kind_KIND_INTEGER, Sizes: true},
	)}}
	for _, test := range []struct {
		largest             float64 // product of depth and kernel
		depthMatters        float64
		depth, kernel, left string
	}{
		{20, 2, "[3 4]", "[4 5]", ""},
		{16, 2, "[3 4]", "[4]", "kernel [5]"},
		{16, 0.5, "[3]", "[4 5]", "depth [4]"},
		{12, 2, "", "", "depth [4] kernel [5]"},
	} {
		sizer := func(_ string, _ *trellisv1.ModelInput, point *trellisv1.Parameters) (grid.Size, error) {
			if point.Numeric("depth")*point.Numeric("kernel") > test.largest {
				return grid.Size{}, errors.New("too much")
			}
			return grid.Size{Weights: 1}, nil
		}
		var points []trainedTrial
		for _, depth := range []float64{2, 3} {
			for _, kernel := range []float64{3, 4} {
				point := at1(8, 1e-3, 0, 10-test.depthMatters*depth-kernel)
				point.parameters.Values["depth"] = trellisv1.IntegerValue(int64(depth))
				point.parameters.Values["kernel"] = trellisv1.IntegerValue(int64(kernel))
				points = append(points, point)
			}
		}
		spec := &trellisv1.StudySpec{Model: "shaped", EarlyStopping: &trellisv1.EarlyStopping{Patience: 1}}
		store := newTrainedStore(t, spec, points...)
		response, err := SuggestStudy(t.Context(), store.Snapshot(), &trellisv1.SuggestStudyRequest{Study: "s"}, models, sizer)
		ok(t, err)
		var left []string
		for _, choice := range response.GetAxes() {
			if unfit := choice.GetUnfit(); len(unfit) > 0 {
				left = append(left, choice.GetAxis()+" "+listed(unfit))
			}
			if stays := choice.GetReason() == trellisv1.AxisChoice_REASON_UNFIT; stays != (len(choice.GetUnfit()) > 0) {
				t.Errorf("up to %v, %v says why with %v", test.largest, choice, stays)
			}
		}
		if got := strings.Join(left, " "); got != test.left {
			t.Errorf("up to %v, without %s, want %s", test.largest, got, test.left)
		}
		if test.depth == "" {
			if response.GetSpec() != nil {
				t.Errorf("up to %v, %v is suggested, which has been tried", test.largest, response.GetSpec())
			}
			continue
		}
		axes := response.GetSpec().GetGrid()[0].GetAxes()
		if got := listed(axes["depth"].GetValues()) + listed(axes["kernel"].GetValues()); got != test.depth+test.kernel {
			t.Errorf("up to %v, suggested %s, want %s%s", test.largest, got, test.depth, test.kernel)
		}
		if _, _, err := models.Sizes(t.Context(), sizer, response.GetSpec(), nil); err != nil {
			t.Errorf("up to %v, what is suggested is refused: %v", test.largest, err)
		}
	}
}

// TestSuggestFitsInFewLooks: many values of an axis with which layers grow are not tried one by one, and a condition
// that leaves out what is longer does not hide what is too large.
func TestSuggestFitsInFewLooks(t *testing.T) {
	latent := proto.CloneOf(commonAxes[0])
	latent.Sizes, latent.Grows = true, true
	models := grid.Models{{Name: "shaped", Axes: append([]*trellisv1.ModelAxis{latent}, commonAxes[1:]...)}}
	for _, where := range []string{"", "max_epochs <= 2"} {
		looks := 0
		sizer := func(_ string, _ *trellisv1.ModelInput, point *trellisv1.Parameters) (grid.Size, error) {
			if looks++; point.Numeric("latent_dim") > 210 {
				return grid.Size{}, errors.New("too much")
			}
			return grid.Size{Weights: 1}, nil
		}
		var points []trainedTrial
		for dim := 1; dim <= 200; dim++ {
			point := at1(uint32(dim), 1e-3, 0, 0)
			point.parameters.MaxEpochs, point.losses = 2, []float64{1001 - float64(dim), 1000 - float64(dim)}
			points = append(points, point)
		}
		spec := &trellisv1.StudySpec{Model: "shaped", Where: where}
		response, err := SuggestStudy(t.Context(), newTrainedStore(t, spec, points...).Snapshot(),
			&trellisv1.SuggestStudyRequest{Study: "s"}, models, sizer)
		ok(t, err)
		if unfit := response.GetAxes()[0].GetUnfit(); len(unfit) < 20 || looks > 200 {
			t.Errorf("where %q: %d are left out after %d looks", where, len(unfit), looks)
		}
		if _, _, err := models.Sizes(t.Context(), sizer, response.GetSpec(), nil); err != nil {
			t.Errorf("where %q: what is suggested is refused: %v", where, err)
		}
	}
}
