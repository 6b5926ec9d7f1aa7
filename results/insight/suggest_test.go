package insight

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
)

// bowl are the trials of a full grid whose loss grows with the distance of each value's place from the best one's.
func bowl(latentDims []uint32, learningRates, weightDecays []float64, best [3]int) (points []trainedTrial) {
	for i, latentDim := range latentDims {
		for j, learningRate := range learningRates {
			for k, weightDecay := range weightDecays {
				loss := 1.0
				for axis, place := range []int{i, j, k} {
					distance := float64(place - best[axis])
					loss *= 1 + distance*distance
				}
				points = append(points, at1(latentDim, learningRate, weightDecay, loss))
			}
		}
	}
	return points
}

func suggest(t testing.TB, spec *trellisv1.StudySpec, points ...trainedTrial) *trellisv1.SuggestStudyResponse {
	t.Helper()
	if spec == nil {
		spec = &trellisv1.StudySpec{}
	}
	if spec.Model == "" {
		spec.Model = "plain"
	}
	response, err := SuggestStudy(
		t.Context(), newTrainedStore(t, spec, points...).Snapshot(),
		&trellisv1.SuggestStudyRequest{Study: "s"},
		[]*trellisv1.Model{{Name: "plain", Axes: commonAxes}, {Name: "conv-autoencoder", Axes: commonAxes}}, nil,
	)
	ok(t, err)
	return response
}

// TestSuggestGrid: where the best value stands among those that were tried says which ones follow.
func TestSuggestGrid(t *testing.T) {
	decades := []float64{1e-4, 1e-3, 1e-2}
	for _, test := range []struct {
		name          string
		latentDims    []uint32
		learningRates []float64
		weightDecays  []float64
		best          [3]int
		want          string
	}{
		{"inside", []uint32{4, 8, 16}, decades, []float64{0}, [3]int{1, 1, 0}, "[6 8 11] [0.0003 0.001 0.003] [0]"},
		{"upper edge", []uint32{4, 8, 16}, decades, []float64{0}, [3]int{2, 2, 0}, "[11 16 32] [0.003 0.01 0.1] [0]"},
		{"lower edge", []uint32{4, 8, 16}, decades, []float64{0}, [3]int{0, 0, 0}, "[2 4 6] [1e-05 0.0001 0.0003] [0]"},
		{"two values", []uint32{4, 8}, []float64{1e-3, 3e-3}, []float64{0}, [3]int{0, 1, 0}, "[2 4] [0.003 0.009] [0]"},
		{
			"four and five values",
			[]uint32{4, 8, 16, 32},
			[]float64{1, 2, 3, 4, 5},
			[]float64{0},
			[3]int{3, 4, 0},
			"[23 32 64 128] [4.3 4.7 5 6 7] [0]",
		},
		{
			"linear",
			[]uint32{8, 12, 16},
			[]float64{0.1, 0.2, 0.3},
			[]float64{0},
			[3]int{1, 1, 0},
			"[10 12 14] [0.15 0.2 0.25] [0]",
		},
		{
			"linear, at the end of what there is",
			[]uint32{1, 391, 781},
			[]float64{0.1, 0.2, 0.3},
			[]float64{0},
			[3]int{2, 0, 0},
			"[586 781 784] [0.05 0.1 0.15] [0]",
		},
		{
			"the limits",
			[]uint32{8, 80, 784},
			[]float64{10, 100, 1000},
			[]float64{0},
			[3]int{2, 2, 0},
			"[250 784] [300 1000] [0]",
		},
		{"the lower limit", []uint32{1, 2, 4}, decades, []float64{0}, [3]int{0, 1, 0}, "[1] [0.0003 0.001 0.003] [0]"},
		{"the lower limit, and a gap", []uint32{1, 3}, decades, []float64{0}, [3]int{0, 1, 0}, "[1 2] [0.0003 0.001 0.003] [0]"},
		{"the upper limit, and a gap", []uint32{780, 784}, decades, []float64{0}, [3]int{1, 1, 0}, "[782 784] [0.0003 0.001 0.003] [0]"},
		{"whole neighbors", []uint32{4, 5, 6}, decades, []float64{0}, [3]int{1, 1, 0}, "[5] [0.0003 0.001 0.003] [0]"},
		{"a single value", []uint32{4}, decades, []float64{1e-5}, [3]int{0, 1, 0}, "[4] [0.0003 0.001 0.003] [1e-05]"},
		// 0 beside powers of ten is no point of their scale.
		{
			"without weight decay",
			[]uint32{4},
			decades,
			[]float64{0, 1e-5, 1e-4},
			[3]int{0, 1, 0},
			"[4] [0.0003 0.001 0.003] [0 1e-07 1e-06]",
		},
		{
			"with little weight decay",
			[]uint32{4},
			decades,
			[]float64{0, 1e-5, 1e-4},
			[3]int{0, 1, 1},
			"[4] [0.0003 0.001 0.003] [3e-06 1e-05 3e-05]",
		},
		{
			"with much weight decay",
			[]uint32{4},
			decades,
			[]float64{0, 1e-5, 1e-4},
			[3]int{0, 1, 2},
			"[4] [0.0003 0.001 0.003] [3e-05 0.0001 0.001]",
		},
		{
			"with weight decay",
			[]uint32{4},
			decades,
			[]float64{0, 1e-5},
			[3]int{0, 1, 1},
			"[4] [0.0003 0.001 0.003] [1e-05 0.0001]",
		},
		{
			"without the only weight decay",
			[]uint32{4},
			decades,
			[]float64{0, 1e-5},
			[3]int{0, 1, 0},
			"[4] [0.0003 0.001 0.003] [0 1e-06]",
		},
		{
			"more weight decays",
			[]uint32{4},
			decades,
			[]float64{0, 1e-6, 1e-5, 1e-4},
			[3]int{0, 1, 0},
			"[4] [0.0003 0.001 0.003] [0 1e-08 1e-07]",
		},
		{
			"far apart",
			[]uint32{4},
			decades,
			[]float64{0, 1e-200, 1e-10},
			[3]int{0, 1, 0},
			"[4] [0.0003 0.001 0.003] [0]",
		},
		{
			"linear weight decay",
			[]uint32{4},
			decades,
			[]float64{0, 0.1, 0.2},
			[3]int{0, 1, 0},
			"[4] [0.0003 0.001 0.003] [0 0.05]",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			response := suggest(t, nil, bowl(test.latentDims, test.learningRates, test.weightDecays, test.best)...)
			grid := response.GetSpec().GetGrid()[0]
			got := fmt.Sprintf("%s %s %s",
				listed(grid.GetAxes()["latent_dim"].GetValues()),
				listed(grid.GetAxes()["learning_rate"].GetValues()),
				listed(grid.GetAxes()["weight_decay"].GetValues()),
			)
			if got != test.want {
				t.Errorf("got %s, want %s; %q", got, test.want, response.GetAxes())
			}
		})
	}
}

// TestSuggestReasons: every place of the best value has its reason, and so has what can't be searched.
func TestSuggestReasons(t *testing.T) {
	open := func(point trainedTrial) trainedTrial {
		point.losses = nil
		return point
	}
	one, three, ends := []uint32{4}, []uint32{4, 8, 16}, []uint32{1, 28, 784}
	for want, points := range map[trellisv1.AxisChoice_Reason][]trainedTrial{
		trellisv1.AxisChoice_REASON_BETWEEN:           bowl(three, []float64{1, 2}, []float64{0}, [3]int{1, 0, 0}),
		trellisv1.AxisChoice_REASON_SMALLEST_TRIED:    bowl(three, []float64{1, 2}, []float64{0}, [3]int{0, 0, 0}),
		trellisv1.AxisChoice_REASON_LARGEST_TRIED:     bowl(three, []float64{1, 2}, []float64{0}, [3]int{2, 0, 0}),
		trellisv1.AxisChoice_REASON_SMALLEST_POSSIBLE: bowl(ends, []float64{1, 2}, []float64{0}, [3]int{0, 0, 0}),
		trellisv1.AxisChoice_REASON_LARGEST_POSSIBLE:  bowl(ends, []float64{1, 2}, []float64{0}, [3]int{2, 0, 0}),
		trellisv1.AxisChoice_REASON_SINGLE_VALUE:      bowl(one, []float64{1, 2}, []float64{0}, [3]int{0, 0, 0}),
		trellisv1.AxisChoice_REASON_SINGLE_ANSWER:     {at1(4, 1, 0, 1), at1(4, 2, 0, 2), open(at1(8, 1, 0, 0))},
		trellisv1.AxisChoice_REASON_NEGLIGIBLE: {
			at1(4, 1, 0, 1), at1(4, 2, 0, 2), at1(8, 1, 0, 1), at1(8, 2, 0, 2),
		},
		trellisv1.AxisChoice_REASON_OTHERS_EXPLAIN_MORE: {at1(4, 1, 0, 1), at1(8, 2, 0, 2), at1(8, 3, 0, 9)},
	} {
		choice := suggest(t, nil, points...).GetAxes()[0]
		if choice.GetReason() != want || choice.GetAxis() != "latent_dim" {
			t.Errorf("%v, want %v", choice, want)
		}
	}
	points := bowl(one, []float64{1, 2}, []float64{0, 1e-5, 1e-4}, [3]int{0, 0, 0})
	decays := suggest(t, nil, points...).GetAxes()[2]
	if decays.GetReason() != trellisv1.AxisChoice_REASON_ZERO || decays.GetBest().GetNumber() != 0 {
		t.Errorf("of no weight decay: %v", decays)
	}
}

// TestSuggestSpacing: two values are a ratio, unless the spec says that they are the ends of an even range.
func TestSuggestSpacing(t *testing.T) {
	ends := &trellisv1.Range{From: 4, To: 16, Count: 2}
	points := bowl([]uint32{4, 16}, []float64{1}, []float64{0}, [3]int{1, 0, 0})
	for _, test := range []struct {
		axis *trellisv1.Axis
		want string
	}{
		{trellisv1.AxisOf[int](4, 16), "[16 64]"},
		{&trellisv1.Axis{Log2: ends}, "[16 64]"},
		{&trellisv1.Axis{Linear: ends}, "[16 28]"},
	} {
		spec := &trellisv1.StudySpec{Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{"latent_dim": test.axis}}}}
		if got := suggest(t, spec, points...).GetSpec().GetGrid()[0].GetAxes()["latent_dim"].GetValues(); listed(got) != test.want {
			t.Errorf("after %v: %v, want %s", test.axis, got, test.want)
		}
	}
}

// The axes of a program have no bounds, so a suggestion goes beyond an edge as far as values of that kind are likely to go.
func TestSuggestBeyondProgramsValues(t *testing.T) {
	for _, test := range []struct {
		kind        trellisv1.Kind
		tried       []float64
		best        float64
		logarithmic bool
		want        string
	}{
		{trellisv1.Kind_KIND_INTEGER, []float64{2, 5, 8}, 8, false, "[8 11]"},
		{trellisv1.Kind_KIND_INTEGER, []float64{2, 5, 8}, 2, false, "[1 2]"},
		{trellisv1.Kind_KIND_INTEGER, []float64{0, 1, 2}, 0, false, "[0]"},
		{trellisv1.Kind_KIND_INTEGER, []float64{-2, 0, 2}, -2, false, "[-4 -2]"},
		{trellisv1.Kind_KIND_NUMBER, []float64{0.1, 0.5, 0.9}, 0.9, false, "[0.9 1]"},
		{trellisv1.Kind_KIND_NUMBER, []float64{0.5, 1.5, 2.5}, 2.5, false, "[2.5 3.5]"},
		{trellisv1.Kind_KIND_NUMBER, []float64{0.1, 0.5, 0.9}, 0.1, false, "[0.05 0.1]"},
		{trellisv1.Kind_KIND_NUMBER, []float64{1e-3, 1e-2, 1e-1}, 1e-1, true, "[0.1 1]"},
		{trellisv1.Kind_KIND_NUMBER, []float64{1e-2, 1e-1, 1}, 1, true, "[1 10]"},
	} {
		bounds := &trellisv1.ModelAxis{Kind: test.kind}
		guessBounds(bounds, test.tried, test.logarithmic)
		axis := searchAxis{
			ModelAxis: bounds, tried: test.tried, best: test.best, logarithmic: test.logarithmic, count: len(test.tried),
		}
		got := slices.DeleteFunc(axis.values(), func(x float64) bool {
			return x > test.tried[0] && x < test.tried[len(test.tried)-1]
		})
		if text := fmt.Sprint(got); text != test.want {
			t.Errorf("best %v of %v: %v, want %s", test.best, test.tried, text, test.want)
		}
	}
}

// TestSuggestKeeps all of the spec but its name and grid, and says why it changes what it changes.
func TestSuggestKeeps(t *testing.T) {
	spec := &trellisv1.StudySpec{
		Name: "s", Data: "mnist", Model: "conv-autoencoder", Seeds: trellisv1.AxisOf[int](1),
		EarlyStopping: &trellisv1.EarlyStopping{Patience: 10},
		Split:         &trellisv1.Split{Train: 5, Validation: 1}, Settle: &trellisv1.Settle{MaxSeeds: 3},
		Grid: []*trellisv1.Grid{
			{Axes: map[string]*trellisv1.Axis{"latent_dim": {Linear: &trellisv1.Range{From: 4, To: 16, Count: 3}}}},
			{},
		},
	}
	before := proto.CloneOf(spec)
	points := bowl([]uint32{4, 8, 12}, []float64{1e-4, 1e-3, 1e-2}, []float64{0}, [3]int{1, 1, 0})
	for _, point := range points {
		other := proto.CloneOf(point.parameters)
		other.Values["weight_decay"] = trellisv1.NumberValue(1e-5)
		points = append(points, trainedTrial{parameters: other, losses: point.losses})
	}
	got := suggest(t, spec, points...)
	want := proto.CloneOf(before)
	want.Name = "s-2"
	want.Grid = []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
		"latent_dim":    trellisv1.AxisOf[int](6, 8, 10),
		"learning_rate": trellisv1.AxisOf[float64](3e-4, 1e-3, 3e-3),
		"weight_decay":  trellisv1.AxisOf[float64](0),
		"max_epochs":    trellisv1.AxisOf[int](20),
		"batch_size":    trellisv1.AxisOf(256),
	}}}
	equal(t, "spec", got.GetSpec(), want)
	if !proto.Equal(spec, before) {
		t.Error("the study's own spec has changed")
	}
	for _, choice := range got.GetAxes() {
		choice.Total = math.Round(choice.Total*1000) / 1000
	}
	equal(
		t,
		"reasons",
		&trellisv1.SuggestStudyResponse{Axes: got.Axes, Pruned: got.Pruned},
		&trellisv1.SuggestStudyResponse{
			Axes: []*trellisv1.AxisChoice{
				{
					Axis: "latent_dim", Values: trellisv1.AxisOf(6, 8, 10).GetValues(), Reason: trellisv1.AxisChoice_REASON_BETWEEN,
					Best: trellisv1.IntegerValue(8), Below: trellisv1.IntegerValue(4),
					Above: trellisv1.IntegerValue(12), Total: 0.5,
				},
				{
					Axis: "learning_rate", Values: trellisv1.AxisOf(3e-4, 1e-3, 3e-3).GetValues(),
					Reason: trellisv1.AxisChoice_REASON_BETWEEN,
					Best:   trellisv1.NumberValue(1e-3), Below: trellisv1.NumberValue(1e-4), Above: trellisv1.NumberValue(1e-2),
					Total: 0.5,
				},
				{
					Axis: "weight_decay", Values: trellisv1.AxisOf(0.0).GetValues(), Best: trellisv1.NumberValue(0),
					Reason: trellisv1.AxisChoice_REASON_NEGLIGIBLE,
				},
				{
					Axis: "batch_size", Values: trellisv1.AxisOf(256).GetValues(), Best: trellisv1.IntegerValue(256),
					Reason: trellisv1.AxisChoice_REASON_SINGLE_VALUE,
				},
				{
					Axis: "max_epochs", Values: trellisv1.AxisOf(20).GetValues(), Reason: trellisv1.AxisChoice_REASON_STOPS_EARLY,
					Best: trellisv1.IntegerValue(20), Epoch: 1,
				},
			},
		},
	)
}

// trainedFor is the configuration trained to max_epochs with losses that fall until the best epoch.
func trainedFor(latentDim, maxEpochs, bestEpoch uint32, scale float64) trainedTrial {
	point := at1(latentDim, 1e-3, 0, 0)
	point.parameters.MaxEpochs, point.losses = maxEpochs, make([]float64, maxEpochs)
	for i := range point.losses {
		point.losses[i] = scale / float64(min(uint32(i+1), bestEpoch))
	}
	return point
}

func TestSuggestEpochs(t *testing.T) {
	stopped := trainedFor(8, 100, 40, 1)
	stopped.losses = stopped.losses[:50]
	stopping := &trellisv1.StudySpec{EarlyStopping: &trellisv1.EarlyStopping{Patience: 10}}
	for _, test := range []struct {
		name   string
		spec   *trellisv1.StudySpec
		points []trainedTrial
		want   string
	}{
		{
			"still better", nil,
			[]trainedTrial{
				trainedFor(8, 50, 50, 1), trainedFor(8, 100, 95, 1),
				trainedFor(4, 50, 50, 9), trainedFor(4, 100, 95, 9),
			},
			"[100 150]",
		},
		{"of a single value", nil, []trainedTrial{trainedFor(8, 50, 50, 1), trainedFor(4, 50, 50, 9)}, "[100]"},
		{"at its limit", nil, []trainedTrial{trainedFor(8, 10_000, 10_000, 1), trainedFor(4, 50, 50, 9)}, "[10000]"},
		{"near the limit", nil, []trainedTrial{trainedFor(8, 9000, 8999, 1), trainedFor(4, 5000, 50, 9)}, "[10000]"},
		{
			"no longer better", nil,
			[]trainedTrial{trainedFor(8, 50, 50, 1), trainedFor(8, 100, 80, 1), trainedFor(4, 50, 50, 9)},
			"[100]",
		},
		{
			"not better than before", nil,
			[]trainedTrial{trainedFor(8, 50, 40, 1), trainedFor(8, 100, 40, 1), trainedFor(4, 50, 50, 9)},
			"[50]",
		},
		{
			"stopped early", nil,
			[]trainedTrial{stopped, trainedFor(4, 100, 100, 9), trainedFor(4, 150, 100, 9)},
			"[150]",
		},
		{
			"others may need more", stopping,
			[]trainedTrial{trainedFor(8, 50, 50, 1), trainedFor(8, 100, 50, 1), trainedFor(4, 100, 100, 9)},
			"[100]",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			response := suggest(t, test.spec, test.points...)
			if got := listed(response.GetSpec().GetGrid()[0].GetAxes()["max_epochs"].GetValues()); got != test.want {
				t.Errorf("got %s, want %s; %q", got, test.want, response.GetAxes())
			}
		})
	}
}

// TestSuggestNoMore: two grids have more combinations of values than points. What follows has no more than they had.
func TestSuggestNoMore(t *testing.T) {
	points := append(bowl([]uint32{4, 8}, []float64{1e-4, 1e-3}, []float64{0}, [3]int{1, 1, 0}),
		bowl([]uint32{10, 12}, []float64{1e-3, 1e-2}, []float64{1e-5}, [3]int{1, 1, 0})...)
	for i := range points {
		points[i].losses[0] *= float64(1 + i)
	}
	grid := suggest(t, nil, points...).GetSpec().GetGrid()[0]
	if got := len(grid.Axes["latent_dim"].GetValues()) * len(grid.Axes["learning_rate"].GetValues()) * len(grid.Axes["weight_decay"].GetValues()); got < 4 ||
		got > 8 {
		t.Errorf("%d points: %v", got, grid)
	}
	seeded := &trellisv1.StudySpec{Seeds: &trellisv1.Axis{Linear: &trellisv1.Range{From: 1, To: 4, Count: 4}}}
	grid = suggest(t, seeded, points...).GetSpec().GetGrid()[0]
	if got := len(grid.Axes["latent_dim"].GetValues()) * len(grid.Axes["learning_rate"].GetValues()) * len(grid.Axes["weight_decay"].GetValues()); got != 2 {
		t.Errorf("%d points, each with 4 seeds: %v", got, grid)
	}
}

// TestSuggestNothing: there is nothing between 4, 5 and 6.
func TestSuggestNothing(t *testing.T) {
	response := suggest(t, nil, bowl([]uint32{4, 5, 6}, []float64{1}, []float64{0}, [3]int{1, 0, 0})...)
	if response.Spec != nil || response.Axes[0].Reason != trellisv1.AxisChoice_REASON_NEIGHBORS_TRIED {
		t.Errorf("%v", response)
	}
	store := newTrainedStore(t, nil, at1(4, 1, 0, 1))
	_, err := SuggestStudy(t.Context(), store.Snapshot(), &trellisv1.SuggestStudyRequest{Study: "s"}, nil, nil)
	if !errors.Is(err, results.ErrInconclusive) {
		t.Errorf("%v", err)
	}
}

// TestSuggestWhere: what the study's condition leaves out is not suggested.
func TestSuggestWhere(t *testing.T) {
	decades := []float64{1e-4, 1e-3, 1e-2}
	for _, test := range []struct{ where, latentDims, learningRates, maxEpochs, reasons string }{
		{"", "[6 8 10]", "[0.003 0.01 0.1]", "[40]", "BETWEEN LARGEST_TRIED STILL_BETTER"},
		{"learning_rate <= 0.01", "[6 8 10]", "[0.003 0.01]", "[40]", "BETWEEN LARGEST_TRIED STILL_BETTER"},
		{"learning_rate == 0.01", "[6 8 10]", "[0.01]", "[40]", "BETWEEN LEFT_OUT STILL_BETTER"},
		// A value stays that some point has.
		{
			"learning_rate <= 0.01 || latent_dim < 7", "[6 8 10]", "[0.003 0.01 0.1]", "[40]",
			"BETWEEN LARGEST_TRIED STILL_BETTER",
		},
		{"max_epochs <= 20", "[6 8 10]", "[0.003 0.01 0.1]", "[20]", "BETWEEN LARGEST_TRIED LEFT_OUT"},
		{"latent_dim == 8 && learning_rate == 0.01 && max_epochs == 20", "", "", "", "LEFT_OUT LEFT_OUT LEFT_OUT"},
	} {
		points := bowl([]uint32{4, 8, 12}, decades, []float64{0}, [3]int{1, 2, 0})
		for i := range points {
			last := points[i].losses[0]
			points[i].losses = make([]float64, points[i].parameters.MaxEpochs)
			for epoch := range points[i].losses {
				points[i].losses[epoch] = last * float64(len(points[i].losses)-epoch)
			}
		}
		response := suggest(t, &trellisv1.StudySpec{Where: test.where}, points...)
		var reasons []string
		for _, choice := range response.GetAxes() {
			switch choice.GetAxis() {
			case "latent_dim", "learning_rate", "max_epochs":
				reasons = append(reasons, strings.TrimPrefix(choice.GetReason().String(), "REASON_"))
			}
		}
		if got := strings.Join(reasons, " "); got != test.reasons {
			t.Errorf("where %q: the reasons are %s, want %s", test.where, got, test.reasons)
			continue
		}
		if test.latentDims == "" {
			if response.GetSpec() != nil {
				t.Errorf("where %q: suggests %v, which has been tried", test.where, response.GetSpec())
			}
			continue
		}
		for axis, want := range map[string]string{
			"latent_dim": test.latentDims, "learning_rate": test.learningRates, "max_epochs": test.maxEpochs,
		} {
			var got []string
			for _, value := range response.GetSpec().GetGrid()[0].GetAxes()[axis].GetValues() {
				got = append(got, value.Written())
			}
			if text := fmt.Sprint(got); text != want {
				t.Errorf("where %q: %s is %s, want %s", test.where, axis, text, want)
			}
		}
	}
}

func TestNextName(t *testing.T) {
	store := newTrainedStore(t, nil, at1(4, 1e-3, 0, 1))
	run, trials := testRun("r", 1, 0, 1)
	for _, taken := range []string{"paper", "paper-2", "quick-3"} {
		ok(
			t,
			store.CreateListed(store.next(), store.now(), &trellisv1.Study{Name: taken}, []*trellisv1.Run{run}, trials),
		)
	}
	long := strings.Repeat("a", 63)
	for name, want := range map[string]string{
		"paper": "paper-3", "paper-2": "paper-3", "quick-2": "quick-4", "quick": "quick-2", "run-1": "run-2",
		"of-2026": "of-2026-2",
		"a-02":    "a-02-2", "7": "7-2", "x-999": "x-1000", long: long[:61] + "-2",
		long[:60] + "-99": long[:59] + "-100",
		long[:60] + "-bb": long[:60] + "-2",
	} {
		if got, err := nextName(store.Snapshot(), name); got != want || err != nil {
			t.Errorf("%s is followed by %s and error %v, want %s", name, got, err, want)
		}
	}
}
