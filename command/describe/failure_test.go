package describe

import (
	"strings"
	"testing"
)

func TestLastLine(t *testing.T) {
	long := strings.Repeat("x", 300)
	for message, want := range map[string]string{
		"no room":          "no room",
		"no room\n" + long: "no room\n" + long[:192] + "...",
		"it failed; its last output:\na\n" + "b\n":                               "it failed; its last output: b",
		`it failed; its last output:\n` + long + `\n` + "ImportError: no module": "it failed; its last output: ImportError: no module",
	} {
		if got := LastLine(message); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestTrials(t *testing.T) {
	for want, indices := range map[string][]uint64{
		"trial 3":                   {3},
		"trials 3 and 4":            {4, 3},
		"trials 3 to 5":             {5, 3, 4},
		"trials 0, 2, 3 and 5 to 8": {8, 7, 6, 5, 0, 2, 3},
		"trials 0, 2, 4, 6, 8, 10, 12, 14, 16, 18 and 3 more": {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 21, 22},
	} {
		if got := Trials(indices); got != want {
			t.Errorf("%v: %s, want %s", indices, got, want)
		}
	}
}
