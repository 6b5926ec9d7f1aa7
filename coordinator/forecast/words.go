package forecast

import (
	"fmt"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/pruning"
)

// basis says what a forecast is based on.
func (in Input) basis(pace *pace) string {
	parts := []string{in.paceBasis(pace)}
	if stops := in.stopBasis(); stops != "" {
		parts = append(parts, stops)
	}
	spec := in.Study.spec
	if spec.GetPruning() != nil {
		parts = append(parts, "at most, since pruning may end runs earlier, which the lower ends allow for")
	}
	if spec.GetSettle() != nil {
		parts = append(parts, "without the seeds that settle may add")
	}
	if waits := ahead(in.Ahead); waits > 0 {
		parts = append(parts, "after what older studies have in the queue, which is done first")
	}
	return strings.Join(parts, "; ")
}

func (in Input) paceBasis(pace *pace) string {
	own, others := in.Study.counts.epochs, uint64(0)
	for _, other := range in.Others {
		others += other.counts.epochs
	}
	switch {
	case own > 0 && others > 0:
		return fmt.Sprintf("%s of this study measured, and %d of %s of the same model and data",
			number(own, "epoch"), others, number(uint64(len(in.Others)), "other"))
	case own > 0:
		return number(own, "epoch") + " of this study measured"
	case others > 0:
		return fmt.Sprintf("%s of %s of the same model and data measured",
			number(others, "epoch"), number(uint64(len(in.Others)), "other study", "other studies"))
	case pace.known():
		return "the spec's epoch_time"
	default:
		return "nothing measured yet: how long an epoch takes is unknown"
	}
}

// stopBasis says where the chance of stopping early comes from.
func (in Input) stopBasis() string {
	own := in.Study.counts
	if in.Study.spec.GetEarlyStopping() == nil {
		if own.diverged == 0 {
			return ""
		}
		return fmt.Sprintf("%d of %s diverged", own.diverged, number(uint64(own.ended), "ended run"))
	}
	switch learned := len(in.trajectories()); {
	case own.ended > 0:
		text := fmt.Sprintf("%d of %s stopped early", own.stopped, number(uint64(own.ended), "ended run"))
		if own.diverged > 0 {
			text += fmt.Sprintf(", %d diverged", own.diverged)
		}
		return text
	case len(in.Study.open) > 0:
		return "no run has ended: early stopping is inferred from the losses so far"
	case learned > 0:
		return fmt.Sprintf("early stopping is inferred from %s of other studies", number(uint64(learned), "run"))
	default:
		return "early stopping is guessed at, since no losses are known yet"
	}
}

// number writes a count with its noun, whose plural is given or ends in s.
func number(n uint64, noun string, plural ...string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case len(plural) > 0:
		return fmt.Sprintf("%d %s", n, plural[0])
	default:
		return fmt.Sprintf("%d %ss", n, noun)
	}
}

// mayPrune lowers the lower ends of a forecast to what is left if a heuristic prunes all that it may: each run goes on
// to where it is judged first.
func (t *Tally) mayPrune(f *trellisv1.Forecast) {
	first := int(pruning.First(t.spec.GetPruning()))
	if first == 0 || f.Epochs.Low == 0 {
		return
	}
	least := 0.0
	count := func(number int32) {
		class := &t.classes.list[number]
		least += float64(max(0, min(first, class.maxEpochs)-class.from))
	}
	for _, held := range t.held {
		count(held.class)
	}
	for _, number := range t.queue {
		count(number)
	}
	share := min(1, least/f.Epochs.Low)
	f.Epochs.Low *= share
	if f.Seconds != nil {
		f.Seconds.Low *= share
	}
}
