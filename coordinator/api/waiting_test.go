package api

import (
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

// missing is a memory in which all studies wait for one thing.
type missing struct {
	Memory
	why trellisv1.WaitingReason
}

func (m missing) WaitingFor(string) *trellisv1.WaitingFor {
	return &trellisv1.WaitingFor{Reason: m.why}
}

// A study that can't be trained now has no end, but says what it waits for.
func TestNobodyKnowsWhenAWaitingStudyEnds(t *testing.T) {
	study := &trellisv1.Study{Name: "s", Forecast: &trellisv1.Forecast{
		Epochs: &trellisv1.Estimate{Expected: 3}, Seconds: &trellisv1.Estimate{Expected: 60},
		Alternatives: []*trellisv1.Forecast_Alternative{{Slots: 2, Seconds: 30}},
	}}
	for why, ends := range map[trellisv1.WaitingReason]bool{
		trellisv1.WaitingReason_WAITING_REASON_DATA_MISSING:    false,
		trellisv1.WaitingReason_WAITING_REASON_TOO_LARGE:       false,
		trellisv1.WaitingReason_WAITING_REASON_ANOTHER_MACHINE: true,
	} {
		got := studyService{memory: missing{why: why}}.waiting(study)
		if f := got.GetForecast(); f.GetSeconds() != nil != ends || len(f.GetAlternatives()) > 0 != ends || f.GetEpochs() == nil {
			t.Errorf("%v: the forecast is %v", why, f)
		}
		if got.GetWaitingFor().GetReason() != why {
			t.Errorf("%v: it waits for %v", why, got.GetWaitingFor())
		}
	}
	if study.GetForecast().GetSeconds() == nil || study.GetWaitingFor() != nil {
		t.Errorf("the study was changed: %v", study)
	}
}
