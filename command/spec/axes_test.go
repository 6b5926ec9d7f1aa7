package spec

import (
	"strings"
	"testing"
)

// A number that is too large is not taken for a text, unless it is in quotes.
func TestTooLargeNumbers(t *testing.T) {
	const text = "name: p\nprogram: {command: [train]}\nobjective: {metric: acc}\ngrid: {max_epochs: 1, a: [VALUE]}\n"
	if _, err := Parse("p.yaml", []byte(strings.Replace(text, "VALUE", "1e400", 1))); err == nil ||
		!strings.Contains(err.Error(), "1e400 is too large for a number") {
		t.Errorf("got %v", err)
	}
	spec, err := Parse("p.yaml", []byte(strings.Replace(text, "VALUE", `"1e400"`, 1)))
	if err != nil || spec.GetGrid()[0].GetAxes()["a"].GetValues()[0].GetText() != "1e400" {
		t.Errorf("in quotes: %v, %v", spec, err)
	}
}

// A program that is misspelt is one mistake, not one for each axis besides.
func TestMisspeltProgram(t *testing.T) {
	_, err := Parse("p.yaml", []byte("name: p\nprogam: {command: [train]}\nobjective: {metric: acc}\n"+
		"grid: {max_epochs: 1, lr: [1, 2]}\n"))
	if err == nil || !strings.Contains(err.Error(), `did you mean "program"?`) || strings.Contains(err.Error(), `"lr"`) {
		t.Errorf("got %v", err)
	}
}

// A program's parameters may have the names of models' parameters, and values of any kind.
func TestProgramWithModelsNames(t *testing.T) {
	names := map[string]bool{}
	for _, model := range Models() {
		for _, axis := range model.GetAxes() {
			names[axis.GetName()] = true
		}
	}
	for name := range names {
		for value, want := range map[string]string{"[true, false]": "true", "[small, large]": "small", "1.5": "1.5"} {
			text := "name: p\nprogram: {command: [train]}\nobjective: {metric: acc}\ngrid: {max_epochs: 1, " + name + ": " + value + "}\n"
			spec, err := Parse("p.yaml", []byte(text))
			if err != nil {
				t.Errorf("%s", err)
				continue
			}
			if got := spec.GetGrid()[0].GetAxes()[name].GetValues()[0].Written(); got != want {
				t.Errorf("%s: %s: got %s, want %s", name, value, got, want)
			}
		}
	}
	if _, err := Parse("p.yaml", []byte("name: p\nprogram: {command: [train]}\nobjective: {metric: acc}\n"+
		"grid: {max_epochs: [many], noise: [true]}\n")); err == nil || !strings.Contains(err.Error(), "expected a whole number") {
		t.Errorf("max_epochs that is a text: got %v", err)
	}
}
