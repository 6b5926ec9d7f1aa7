//go:build !race

package progress

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// Where a watch has missed the epochs at which trials ended, their lines have their results all the same.
func TestLinesOfOvertakenTrials(t *testing.T) {
	run := func(state trellisv1.RunState, epochs uint32) *trellisv1.Run {
		return &trellisv1.Run{
			Study: "s", Id: "aaaaaaaa", State: state, Epochs: epochs, Milestones: []uint32{2, 4, 6, 8},
			Parameters: &trellisv1.Parameters{MaxEpochs: 8, Seed: 1, Values: trellisv1.ValuesOf(map[string]any{
				"latent_dim": 4, "learning_rate": 1e-3, "weight_decay": 0.0,
			})},
			BestValidationLoss: proto.Float64(1 / float64(epochs)), BestEpoch: epochs,
		}
	}
	study := &trellisv1.Study{
		Name: "s", State: trellisv1.StudyState_STUDY_STATE_RUNNING, Spec: &trellisv1.StudySpec{Model: "synthetic"},
		Progress: &trellisv1.Progress{},
	}
	var out bytes.Buffer
	view := newLineView(&out, func() time.Time { return time.Time{} })
	view.trialsOf = func(_ *trellisv1.Study, points []*trellisv1.Parameters) (trials []*trellisv1.Trial) {
		if _, err := view.Write(nil); err != nil { // What the client says of the call.
			t.Error(err)
		}
		for _, point := range points {
			switch point.MaxEpochs {
			case 2:
				trials = append(trials, &trellisv1.Trial{Objective: proto.Float64(0.75), BestEpoch: 1})
			case 4:
				trials = append(trials, &trellisv1.Trial{
					State: trellisv1.TrialState_TRIAL_STATE_DIVERGED, Objective: proto.Float64(math.Inf(1)),
				})
			}
		}
		return trials
	}
	for _, run := range []*trellisv1.Run{
		run(trellisv1.RunState_RUN_STATE_LEASED, 1), run(trellisv1.RunState_RUN_STATE_SUCCEEDED, 8),
	} {
		view.Update(&trellisv1.WatchStudyResponse{Study: study, Runs: []*trellisv1.Run{run}})
	}
	want := `
trial succeeded (latent 4, learning rate 0.001, weight decay 0, maximum epochs 2): validation loss 0.750000 at epoch 1
trial diverged (latent 4, learning rate 0.001, weight decay 0, maximum epochs 4): no validation loss is a finite number
trial succeeded (latent 4, learning rate 0.001, weight decay 0, maximum epochs 6)
trial succeeded (latent 4, learning rate 0.001, weight decay 0, maximum epochs 8): validation loss 0.125000 at epoch 8
`
	if _, got, _ := strings.Cut(out.String(), "lowest 0.125000 at epoch 8"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// So many trials may end at once that not all are asked for.
func TestFewOvertakenTrialsAreAskedFor(t *testing.T) {
	asked := 0
	view := newLineView(&bytes.Buffer{}, time.Now)
	view.board.study = &trellisv1.Study{}
	view.trialsOf = func(_ *trellisv1.Study, points []*trellisv1.Parameters) []*trellisv1.Trial {
		asked += len(points)
		return nil
	}
	response := &trellisv1.WatchStudyResponse{}
	for i := range 2 * mostAsked {
		response.Runs = append(response.Runs, &trellisv1.Run{
			Id: fmt.Sprint(i), State: trellisv1.RunState_RUN_STATE_SUCCEEDED, Epochs: 2, Milestones: []uint32{1, 2},
			BestValidationLoss: proto.Float64(1), BestEpoch: 2,
		})
	}
	view.overtaken(response)
	if asked != mostAsked {
		t.Errorf("asked for %d trials, want %d", asked, mostAsked)
	}
}
