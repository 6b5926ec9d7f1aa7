package listing

import (
	"errors"
	"strings"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

// What is wrong with a filter is told in words of ours: none of CEL's, of its parser's or of Go's.
func TestFilterMistakes(t *testing.T) {
	objective := 0.5
	trial := &trellisv1.Trial{Objective: &objective, Parameters: &trellisv1.Parameters{Values: trellisv1.ValuesOf(map[string]any{"latent_dim": 4})}}
	for expression, want := range map[string]string{
		"objectve < 1":                `unknown field "objectve": did you mean "objective"?`,
		"latent_dim == 4 || foo":      `unknown field "foo": must be one of index, objective, test_loss, state, `,
		"state == succeeded":          `unknown field "succeeded": a state is a text: use state == 'succeeded'`,
		"state == 'succeded'":         `unknown state "succeded": did you mean "succeeded"?`,
		`index < 4 && state != "x"`:   `unknown state "x": must be one of pending, running, `,
		"latent_dim ==":               `something is missing after "latent_dim =="`,
		"latent_dim = 4":              `unexpected "= 4" at column 12: use ==`,
		"index > 1 and epochs > 2":    `unexpected "and epochs > 2" at column 11: use &&`,
		"index > 1\nand epochs > 2":   `unexpected "and epochs > 2" at column 1: use &&`,
		"(latent_dim > 1":             `missing ")" in "(latent_dim > 1"`,
		"latent_dim > 1)":             `unexpected ")" at column 15`,
		"latent_dim == '4'":           `== can't be used on a whole number and a text`,
		"!latent_dim":                 `! can't be used on a whole number`,
		"state + objective == 'x'":    ``,
		"foo(3)":                      `unknown function "foo"`,
		"[1,2].exists(x, x==1)":       `unknown function "exists"`,
		"state.foo":                   `can't be used`,
		"objective":                   `objective is a number: must be a condition such as objective < 0.02`,
		"state":                       `state is a text: must be a condition`,
		"objective < 'a'":             `numbers and texts can't be compared for trial 0`,
		"latent_dim / 0 == 1":         `division by zero for trial 0`,
		"state.matches('(')":          `state.matches('(') cannot be computed`,
		"int('x') == 1":               `int('x') == 1 cannot be computed`,
		"9223372036854775808 > index": `the number at "9223372036854775808 > index" is out of range`,
		"1e400 > objective":           `out of range`,
		"{'a': objective}['b'] == 1":  `it can't be computed for trial 0`,
		"@":                           `unexpected "@" at column 1`,
		"\x00":                        `filter: `,
		"[] == {}":                    `== can't be used on a list and a map`,
		"trial.index == 1":            `unknown field "trial"`,
	} {
		filter, err := NewFilter(expression, modelFields)
		if err == nil {
			_, err = filter(trial)
		}
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", expression, err, want)
		}
		if err == nil {
			continue
		}
		for _, leak := range []string{"undeclared", "container", "overload", "token", "<EOF>", "NUM_", "dyn", "literal", "0x", "int,"} {
			if strings.Contains(err.Error(), leak) {
				t.Errorf("%q: %v has %s", expression, err, leak)
			}
		}
	}
}

// A field to sort by that is misspelled is told with the one that was meant.
func TestUnknownOrder(t *testing.T) {
	for name, want := range map[string]string{
		"-objectve": `unknown field "objectve": did you mean "objective"?`,
		"lr":        `unknown field "lr": did you mean "learning_rate"?`,
		"x":         `unknown field "x": must be one of index, objective, `,
	} {
		if _, err := NewOrder(name, modelFields); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}
