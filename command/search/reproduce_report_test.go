package search

import (
	"strings"
	"testing"

	"trellis/command/reproduction"
	trellisv1 "trellis/proto/trellis/v1"
)

// A complete report stays until another is complete, or is of other studies.
func TestACompleteReportStays(t *testing.T) {
	running, completed := trellisv1.PaperState_PAPER_STATE_RUNNING, trellisv1.PaperState_PAPER_STATE_COMPLETED
	finished := map[string]uint64{"a": 3, "b": 5}
	for _, test := range []struct {
		name     string
		finished map[string]uint64
		state    trellisv1.PaperState
		a, b     uint64
		want     bool
	}{
		{"there was none", nil, running, 0, 0, false},
		{"nothing has begun", finished, running, 0, 0, true},
		{"it stops before anything has begun", finished, trellisv1.PaperState_PAPER_STATE_STOPPED, 0, 0, true},
		{"the same studies", finished, running, 3, 5, true},
		{"a study was trained anew", finished, running, 3, 9, false},
		{"the same studies, complete", finished, completed, 3, 5, false},
	} {
		r := &reproductionReport{finished: test.finished, PaperReport: &trellisv1.PaperReport{
			State:  test.state,
			Stages: []*trellisv1.PaperStage{{Study: "a", CreateIndex: test.a}, {Study: "b", CreateIndex: test.b}},
		}}
		if got := r.keeps(); got != test.want {
			t.Errorf("%s: %t, want %t", test.name, got, test.want)
		}
		if got := r.shown(); strings.Contains(got, "from before") != test.want {
			t.Errorf("%s: the page has %s", test.name, got)
		}
	}
}

// A study of the analysis must be trained on the data set whose test images are here; what the analysis does not look
// at may have its own.
func TestTheAnalysisNeedsTheStudysDataSet(t *testing.T) {
	r := &reproductionReport{digest: "here", material: reproduction.NewMaterial(&trellisv1.Reproduction{
		Analysis: &trellisv1.Analysis{Autoencoder: "plain", Denoising: "noisy", Classifier: "read", Variational: "drawn"},
	})}
	study := func(name, digest string) *trellisv1.Study {
		return &trellisv1.Study{Name: name, DataSet: &trellisv1.DataSet{Name: "mnist", Digest: digest}}
	}
	for _, name := range []string{"plain", "noisy", "read", "drawn"} {
		if err := r.checkData(study(name, "here")); err != nil {
			t.Error(err)
		}
		err := r.checkData(study(name, "there"))
		if err == nil || !strings.Contains(err.Error(), "study "+name+` is trained on a data set "mnist" with the digest there`) {
			t.Errorf("%s on another data set: %v", name, err)
		}
	}
	if err := r.checkData(study("another", "there")); err != nil {
		t.Error(err)
	}
	r.material = nil
	if err := r.checkData(study("plain", "there")); err != nil {
		t.Errorf("without an analysis: %v", err)
	}
}
