package condition

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"cel.dev/cel-go/cel"
)

// values are those of variables by their names.
type values map[string]any

func (v values) Value(name string) (any, bool) {
	value, ok := v[name]
	return value, ok
}

var language = Language{
	Variables: []Variable{
		{"lr", cel.DoubleType},
		{"optimizer.lr", cel.DoubleType},
		{"optimizer.steps", cel.IntType},
		{"batch_size", cel.IntType},
		{"model", cel.StringType},
		{"amp", cel.BoolType},
	},
	Noun: "parameter", Example: "lr < 1", Exact: true,
}

var sample = values{
	"lr": 2.0, "optimizer.lr": 0.5, "optimizer.steps": int64(3), "batch_size": int64(64), "model": "resnet18",
	"amp": true,
}

// Numbers and whole numbers mix as people expect, and names with dots are variables.
func TestConditions(t *testing.T) {
	for expression, want := range map[string]bool{
		"lr == 2":                             true,
		"2 == lr && lr != 3":                  true,
		"lr * 2 == 4.0":                       true,
		"lr * batch_size == 128.0":            true,
		"batch_size * lr == 128":              true,
		"(lr + 1) * (batch_size - 4) == 180":  true,
		"-lr * 3 == -6":                       true,
		"lr * optimizer.steps == 6":           true,
		"lr * (optimizer.steps + 1) == 8":     true,
		"optimizer.lr * 4 <= lr":              true,
		"lr in [1, 2]":                        true,
		"lr in [1, 2.5]":                      false,
		"batch_size in [64, 32]":              true,
		"batch_size / 5 == 12":                true,
		"batch_size % 5 == 4":                 true,
		"batch_size > 63.5":                   true,
		"lr == batch_size":                    false,
		"optimizer.lr < 1 && amp":             true,
		"optimizer.steps == 3 ? !amp : amp":   false,
		"model.startsWith('resnet')":          true,
		"model in ['vgg', 'resnet18'] || amp": true,
		"model.matches('^res.*[0-9]$')":       true,
		"size(model) == 8":                    true,
		"amp == true && amp != false":         true,
	} {
		its, err := language.Compile(expression)
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		got, cost, err := its.Meets(sample)
		if got != want || cost == 0 || err != nil {
			t.Errorf("%s: %t, %d and %v", expression, got, cost, err)
		}
	}
}

func TestUses(t *testing.T) {
	its, err := language.Compile("optimizer.lr < lr * batch_size || model == 'optimizer.steps'")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"lr", "optimizer.lr", "batch_size", "model"}; !slices.Equal(its.Uses(), want) {
		t.Errorf("got %v", its.Uses())
	}
}

// Mistakes are found before there is a value, and are told in plain words.
func TestMistakes(t *testing.T) {
	for expression, want := range map[string]string{
		"lr == 'x'":                       "== can't be used on a number and a text",
		"lr in ['x']":                     "can't be used on a number and a list",
		"model > 3":                       "> can't be used on a text and a whole number",
		"amp > 1":                         "can't be used on a condition and a whole number",
		"optimizr.lr > 1":                 `unknown parameter "optimizr.lr": did you mean "optimizer.lr"?`,
		"optimizer.lrr > 1":               `unknown parameter "optimizer.lrr": did you mean "optimizer.lr"?`,
		"optimizer > 1":                   `unknown parameter "optimizer": `,
		"modl.startsWith('x')":            `unknown parameter "modl": did you mean "model"?`,
		"lr % 2 == 0":                     "% can't be used on a number and a whole number: convert one with double()",
		"batch_size":                      "batch_size is a whole number: must be a condition such as lr < 1",
		"duration('1s') > duration(0)":    "can't",
		"duration('1s') < duration('2s')": `unknown function "duration"`,
		"timestamp(0).getHours() > 1":     `unknown function "timestamp"`,
		"now() > 1":                       `unknown function "now"`,
		strings.Repeat(" ", 1000) + "amp": "must have at most 1000 bytes, has 1003",
	} {
		_, err := language.Compile(expression)
		if _, ok := errors.AsType[*Mistake](err); !ok || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", expression, err, want)
		}
	}
	its, err := language.Compile("1 / (batch_size - 64) == 1")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := its.Meets(sample); err == nil || err.Error() != "division by zero" {
		t.Errorf("got %v", err)
	}
}
