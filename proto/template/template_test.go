package template

import (
	"errors"
	"strings"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

func TestExpand(t *testing.T) {
	values := map[string]string{"lr": "0.1", "optimizer.lr": "{lr}", "text": "$(rm -rf /) ; 'x'", "seed": "1"}
	for _, test := range []struct {
		argument, want string
		err            error
	}{
		{"plain", "plain", nil},
		{"", "", nil},
		{"--lr={lr}", "--lr=0.1", nil},
		{"{optimizer.lr}{seed}", "{lr}1", nil}, // Values are not expanded again.
		{"a{text}b", "a$(rm -rf /) ; 'x'b", nil},
		{"{{lr}}", "{lr}", nil},
		{"{{{lr}}}", "{0.1}", nil},
		{"}}{{", "}{", nil},
		{"{", "", ErrUnclosed},
		{"{lr", "", ErrUnclosed},
		{"{l{r}", "", ErrUnclosed},
		{"lr}", "", ErrUnopened},
		{"{}", "", ErrEmpty},
		{"{rate}", "", ErrUnknown},
		{"{ lr }", "", ErrUnknown},
	} {
		got, err := Expand(test.argument, values)
		if got != test.want || !errors.Is(err, test.err) {
			t.Errorf("%q: got %q, %v; want %q, %v", test.argument, got, err, test.want, test.err)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, test := range []struct {
		command []string
		says    string
	}{
		{[]string{"python", "train.py", "--lr={lr}", "{seed}", "{max_epochs}", "{{x}}"}, ""},
		{nil, "the command is empty"},
		{[]string{""}, "the command is empty"},
		{[]string{"sh", "{rate}"}, `argument 1, "{rate}": unknown parameter "rate"; write {{rate}} for the text`},
		{[]string{"sh", "{"}, "argument 1"},
		{[]string{"a\x00"}, "NUL"},
	} {
		err := Check(test.command, []string{"lr"})
		if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%q: got %v, want %q", test.command, err, test.says)
		}
	}
}

func TestVariable(t *testing.T) {
	if got := Variable("optimizer.lr_0"); got != "TRELLIS_PARAM_OPTIMIZER_LR_0" {
		t.Error(got)
	}
}

func TestText(t *testing.T) {
	for want, value := range map[string]*trellisv1.Value{
		"1e-05": {Kind: &trellisv1.Value_Number{Number: 1e-5}},
		"0.1":   {Kind: &trellisv1.Value_Number{Number: 0.1}},
		"3":     {Kind: &trellisv1.Value_Number{Number: 3}},
		"-7":    {Kind: &trellisv1.Value_Integer{Integer: -7}},
		"true":  {Kind: &trellisv1.Value_Boolean{Boolean: true}},
		"adam":  {Kind: &trellisv1.Value_Text{Text: "adam"}},
	} {
		if got := Text(value); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestCompilePattern(t *testing.T) {
	for pattern, says := range map[string]string{
		`epoch (?P<epoch>\d+) loss (?P<loss>\S+)`:           "",
		`epoch (?<epoch>\d+) (?<loss>\S+) (?<checkpoint>x)`: "",
		`loss (?P<loss>\S+)`:                                "no group is named epoch: for example, epoch (?P<epoch>",
		`epoch (?P<epoch>\d+)`:                              "no group is named for a metric: for example, epoch",
		`(?P<epoch>\d+) (?P<checkpoint>\S+)`:                "no group is named for a metric",
		`(?P<epoch>\d+)|(?P<epoch>x)(?P<loss>.)`:            "two groups are named epoch",
		`(?P<epoch>\d+) (?P<1st>\S+)`:                       "the group 1st can't be a metric",
		`(`:                                                 "not a regular expression: missing closing ): (",
	} {
		_, err := CompilePattern(pattern)
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v, want %q", pattern, err, says)
		}
	}
}
