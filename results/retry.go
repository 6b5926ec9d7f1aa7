package results

import (
	"fmt"

	"trellis/results/lifecycle"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// RetryStudy retries the FAILED runs of a study that is RUNNING, PAUSED or COMPLETED and, if pruned is true, its PRUNED
// runs too. They become PENDING, and continue from what is recorded. A COMPLETED study becomes RUNNING again.
//
// Failures are forgotten, so that every budget starts again. Whoever asks for a retry implies that the cause has been
// found and removed, and a run with a single attempt left would fail at the first problem. A run that was pruned is not
// judged again. A study that has been settled is settled again, because the retried runs may be tied with the best.
//
// RetryStudy returns how many runs are retried. It fails with ErrNotFound, and with ErrIllegalMove if the study is
// CANCELED or has no such runs.
func (s *Store) RetryStudy(index uint64, now *timestamppb.Timestamp, name string, pruned bool) (runs uint64, err error) {
	c := s.begin(index, now)
	defer c.abort()
	if runs, err = c.retryStudy(name, pruned); err != nil {
		return 0, refusal("retry", name, err)
	}
	return runs, c.commit()
}

func (c *change) retryStudy(name string, pruned bool) (runs uint64, err error) {
	study, err := c.studies.get(textKey(name))
	if err != nil {
		return 0, err
	}
	if err := c.reopen(study); err != nil {
		return 0, err
	}
	catalog, err := c.sections.catalog(name)
	if err != nil {
		return 0, err
	}
	for place := range len(catalog.places) {
		run, err := c.sections.at(catalog, uint32(place))
		if err != nil {
			return 0, err
		}
		state := run.run().State
		if state == lifecycle.RunFailed || pruned && state == lifecycle.RunPruned {
			run.retry()
			runs++
		}
	}
	if runs > 0 {
		c.studies.edit(study).Settled = false
		return runs, nil
	}
	what := "have failed"
	if pruned {
		what = "have failed or were pruned"
	}
	return 0, fmt.Errorf("none of its runs %s: %w", what, ErrIllegalMove)
}

// retry makes a run PENDING that has ended without results for all of its trials.
func (h handle) retry() {
	run := h.edit().Run
	run.Spared = run.Spared || run.State == lifecycle.RunPruned
	run.State = lifecycle.Run.Must(run.State, lifecycle.Retry)
	run.Failures, run.Error = nil, ""
}
