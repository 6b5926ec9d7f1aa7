package insight

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/objective"
	"trellis/results/spelling"
)

// unreportedError is an ErrNoAnswer: a program has trained epochs, but reported other metrics than that of the objective.
type unreportedError struct {
	metric   string
	reported []string
}

// Error says which metric was probably meant.
func (e *unreportedError) Error() string {
	reported := strings.Join(e.reported, ", ")
	if reported == "" {
		reported = "no metric"
	}
	text := fmt.Sprintf("no run has reported %s, which the objective names; reported was %s", e.metric, reported)
	if near := spelling.Nearest(e.metric, e.reported); len(near) > 0 {
		text += fmt.Sprintf(": did you mean %s?", strings.Join(near, " or "))
	}
	return text
}

func (e *unreportedError) Unwrap() error { return results.ErrNoAnswer }

// unreportedMetric returns an unreportedError, nil if some run of a study has reported the objective's metric or none has
// trained an epoch.
func unreportedMetric(snapshot *results.Snapshot, study *trellisv1.Study) (unreported, err error) {
	if study.GetSpec().GetProgram() == nil || study.GetProgress().GetEpochs() == 0 {
		return nil, nil
	}
	runs, err := snapshot.Trajectories(study.GetName())
	if err != nil {
		return nil, err
	}
	metric, names := objective.Metric(objective.Of(study.GetSpec())), map[string]bool{}
	for _, losses := range runs {
		for name := range losses.GetMetrics() {
			names[name] = true
		}
		if names[metric] {
			return nil, snapshot.Err()
		}
	}
	return &unreportedError{metric, slices.Sorted(maps.Keys(names))}, snapshot.Err()
}

// meanMetrics returns the means by name over the maps, without names that one of the maps lacks. It returns nil if
// there are none.
func meanMetrics(all []map[string]float64) map[string]float64 {
	var means map[string]float64
	if len(all) == 0 {
		return nil
	}
	for name := range all[0] {
		sum, everywhere := 0.0, true
		for _, metrics := range all {
			value, has := metrics[name]
			sum, everywhere = sum+value, everywhere && has
		}
		if !everywhere {
			continue
		}
		if means == nil {
			means = make(map[string]float64, len(all[0]))
		}
		means[name] = sum / float64(len(all))
	}
	return means
}
