package answer

import (
	"strings"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

// A report promises the same bits only where they are declared, and not refuted.
func TestExactnessOfPrograms(t *testing.T) {
	refuted := []*trellisv1.Refutation{{Declaration: trellisv1.Declaration_DECLARATION_DETERMINISTIC}}
	for _, test := range []struct {
		name    string
		study   *trellisv1.Study
		promise bool
	}{
		{"a model", &trellisv1.Study{Spec: &trellisv1.StudySpec{}}, true},
		{"a program", &trellisv1.Study{Spec: &trellisv1.StudySpec{Program: &trellisv1.Program{}}}, false},
		{
			"a deterministic program",
			&trellisv1.Study{Spec: &trellisv1.StudySpec{Program: &trellisv1.Program{Deterministic: true}}},
			true,
		},
		{
			"a program that is not what it declares",
			&trellisv1.Study{Spec: &trellisv1.StudySpec{Program: &trellisv1.Program{Deterministic: true}}, Refuted: refuted},
			false,
		},
	} {
		text := describeExactness(&trellisv1.Report{Study: test.study}, true)
		if promised := strings.Contains(text, "bit for bit"); promised != test.promise {
			t.Errorf("%s: got %q", test.name, text)
		}
	}
}
