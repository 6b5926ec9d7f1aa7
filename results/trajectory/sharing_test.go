package trajectory

import (
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
)

const (
	maxEpochs     = trellisv1.StopReason_STOP_REASON_MAX_EPOCHS
	earlyStopping = trellisv1.StopReason_STOP_REASON_EARLY_STOPPING
)

// TestShare: how far a run comes by its twin, and when it has come to its end.
func TestShare(t *testing.T) {
	for name, test := range map[string]struct {
		epochs, end uint32
		from        *trellisv1.Run
		want        Shared
	}{
		"nothing known": {0, 10, &trellisv1.Run{State: lifecycle.RunPending}, Shared{}},
		"on its way": {
			2, 10, &trellisv1.Run{State: lifecycle.RunLeased, Epochs: 4, TrainingSeconds: 6, SharedSeconds: 2},
			Shared{Epochs: 4, Seconds: 4},
		},
		"further than its twin": {
			6, 10, &trellisv1.Run{State: lifecycle.RunFailed, Epochs: 4, TrainingSeconds: 6},
			Shared{Epochs: 6},
		},
		"passed by its twin": {
			0, 3, &trellisv1.Run{State: lifecycle.RunCanceled, Epochs: 4, TrainingSeconds: 8}, Shared{
				3, 6, true,
				maxEpochs,
			},
		},
		"passed by a twin that stopped later": {
			0, 3, &trellisv1.Run{State: lifecycle.RunSucceeded, Epochs: 4, StopReason: earlyStopping}, Shared{
				3, 0,
				true, maxEpochs,
			},
		},
		"stopped where its twin did": {
			0, 10, &trellisv1.Run{State: lifecycle.RunSucceeded, Epochs: 4, StopReason: earlyStopping},
			Shared{4, 0, true, earlyStopping},
		},
		"stopped at its own end": {
			0, 4, &trellisv1.Run{State: lifecycle.RunSucceeded, Epochs: 4, StopReason: earlyStopping},
			Shared{4, 0, true, earlyStopping},
		},
		"longer than its twin": {
			0, 10, &trellisv1.Run{State: lifecycle.RunSucceeded, Epochs: 4, StopReason: maxEpochs}, Shared{Epochs: 4},
		},
		"as long as its twin": {
			4, 4, &trellisv1.Run{State: lifecycle.RunSucceeded, Epochs: 4, StopReason: maxEpochs}, Shared{
				4, 0, true,
				maxEpochs,
			},
		},
		// Nobody has said yet why it ends there, or whether it does.
		"at its own end, where its twin is too": {
			0, 4, &trellisv1.Run{State: lifecycle.RunLeased, Epochs: 4},
			Shared{Epochs: 4},
		},
	} {
		t.Run(name, func(t *testing.T) {
			run := &trellisv1.Run{Epochs: test.epochs, Parameters: &trellisv1.Parameters{MaxEpochs: test.end}}
			before := proto.CloneOf(run)
			if got := Share(run, test.from); got != test.want || !proto.Equal(run, before) {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}
