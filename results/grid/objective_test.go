//go:build !race

package grid

import (
	"slices"
	"strings"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

// Trials that are trained on different losses are not ranked by these.
func TestTrainLossOfSeveralLosses(t *testing.T) {
	models := Models{{Name: "plain", Data: true, Axes: append(slices.Clone(commonAxes), &trellisv1.ModelAxis{
		Name: "loss", Kind: trellisv1.Kind_KIND_TEXT, Texts: []string{"mse", "bce"}, Default: trellisv1.TextValue("mse"),
	})}}
	const train, validation = "train_loss", "validation_loss"
	for name, test := range map[string]struct {
		metric  string
		losses  [][]string // Of each grid; nil: the default.
		where   string
		refused bool
	}{
		"an axis":                  {train, [][]string{{"mse", "bce"}}, "", true},
		"two grids":                {train, [][]string{{"mse"}, {"bce"}}, "", true},
		"a grid and the default":   {train, [][]string{nil, {"bce"}}, "", true},
		"one loss":                 {train, [][]string{{"bce"}, {"bce"}}, "", false},
		"the default":              {train, [][]string{nil, {"mse"}}, "", false},
		"another metric":           {validation, [][]string{{"mse", "bce"}}, "", false},
		"one is left":              {train, [][]string{{"mse", "bce"}}, `loss == "bce"`, false},
		"both are left":            {train, [][]string{{"mse", "bce"}}, `loss == "bce" || latent_dim == 4`, true},
		"of one grid each":         {train, [][]string{{"mse", "bce"}, {"mse", "bce"}}, `loss == (latent_dim == 4 ? "mse" : "bce")`, true},
		"one is left of two grids": {train, [][]string{{"mse", "bce"}, {"bce"}}, `loss != "mse" || latent_dim == 5`, false},
		"without the loss":         {train, [][]string{{"mse", "bce"}}, `latent_dim == 4`, true},
	} {
		spec := &trellisv1.StudySpec{
			Name: "s", Model: "plain", Data: "d", Objective: &trellisv1.Objective{Metric: test.metric},
			Seeds: integers(1), Where: test.where,
		}
		for i, losses := range test.losses {
			axes := map[string]*trellisv1.Axis{
				"latent_dim": integers(uint32(4 + i)), "learning_rate": numbers(1e-3), "max_epochs": integers(2),
			}
			if losses != nil {
				axes["loss"] = trellisv1.AxisOf(losses...)
			}
			spec.Grid = append(spec.Grid, &trellisv1.Grid{Axes: axes})
		}
		err := models.Validate(spec)
		if refused := err != nil && strings.Contains(err.Error(), "don't compare"); refused != test.refused ||
			!test.refused && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A study that compares several losses already, as earlier versions allowed, gets more seeds. Another loss is refused.
func TestExtensionsOfSeveralLosses(t *testing.T) {
	models := Models{{Name: "plain", Data: true, Axes: append(slices.Clone(commonAxes), &trellisv1.ModelAxis{
		Name: "loss", Kind: trellisv1.Kind_KIND_TEXT, Texts: []string{"mse", "bce", "l1"},
		Default: trellisv1.TextValue("mse"),
	})}}
	seeds := &trellisv1.ExtendStudyRequest{Study: "s", Seeds: integers(2)}
	loss := &trellisv1.ExtendStudyRequest{Study: "s", Axes: map[string]*trellisv1.Axis{"loss": trellisv1.AxisOf("l1")}}
	for name, test := range map[string]struct {
		losses  []string
		request *trellisv1.ExtendStudyRequest
		refused bool
	}{
		"seeds":                  {[]string{"mse", "bce"}, seeds, false},
		"another loss":           {[]string{"mse", "bce"}, loss, true},
		"seeds of one loss":      {[]string{"mse"}, seeds, false},
		"a loss besides one":     {[]string{"mse"}, loss, true},
		"a loss that it has too": {[]string{"bce", "l1"}, loss, false},
	} {
		_, err := models.Merge(&trellisv1.StudySpec{
			Name: "s", Model: "plain", Data: "d", Objective: &trellisv1.Objective{Metric: "train_loss"}, Seeds: integers(1),
			Grid: []*trellisv1.Grid{{Axes: map[string]*trellisv1.Axis{
				"latent_dim": integers(4), "learning_rate": numbers(1e-3), "max_epochs": integers(2),
				"loss": trellisv1.AxisOf(test.losses...),
			}}},
		}, test.request)
		if refused := err != nil && strings.Contains(err.Error(), "don't compare"); refused != test.refused ||
			!test.refused && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
