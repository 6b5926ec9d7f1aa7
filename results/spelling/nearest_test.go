package spelling

import (
	"strings"
	"testing"
)

func TestUnknown(t *testing.T) {
	names := []string{
		"name", "data", "model", "grid", "seeds", "batch_size", "early_stopping", "split", "synthetic", "settle",
		"pruning",
		"pretrained",
	}
	one := ": must be one of " + strings.Join(names, ", ")
	for word, want := range map[string]string{
		"nmae": `"nmae": did you mean "name"?`, "Model": `"Model": did you mean "model"?`,
		"batchsize": `"batchsize": did you mean "batch_size"?`, "batch": `"batch": did you mean "batch_size"?`,
		"dataset": `"dataset": did you mean "data"?`, "es": `"es": did you mean "early_stopping"?`,
		"grids": `"grids": did you mean "grid"?`, "set": `"set": did you mean "settle"?`,
		"seedx": `"seedx": did you mean "seeds"?`,
		"x":     `"x"` + one, "optimizer": `"optimizer"` + one, "": `""` + one, "\x1b[2J": `"\x1b[2J"` + one,
		strings.Repeat("grid", 100): `"` + strings.Repeat("grid", 15) + `"` + one,
	} {
		if got := Unknown("key", word, names); got != "unknown key "+want {
			t.Errorf("%q: %s, want unknown key %s", word, got, want)
		}
	}
	if got := Unknown("state", "plit", []string{
		"split", "slit",
		"none",
	}); got != `unknown state "plit": did you mean "split" or "slit"?` {
		t.Errorf("two are equally near: %s", got)
	}
	if got := Unknown("model", "x", nil); got != `unknown model "x"` {
		t.Errorf("of none: %s", got)
	}
}
