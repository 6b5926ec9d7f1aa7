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
		refused bool
	}{
		"an axis":                {train, [][]string{{"mse", "bce"}}, true},
		"two grids":              {train, [][]string{{"mse"}, {"bce"}}, true},
		"a grid and the default": {train, [][]string{nil, {"bce"}}, true},
		"one loss":               {train, [][]string{{"bce"}, {"bce"}}, false},
		"the default":            {train, [][]string{nil, {"mse"}}, false},
		"another metric":         {validation, [][]string{{"mse", "bce"}}, false},
	} {
		spec := &trellisv1.StudySpec{
			Name: "s", Model: "plain", Data: "d", Objective: &trellisv1.Objective{Metric: test.metric},
			Seeds: integers(1),
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
