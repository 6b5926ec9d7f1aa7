package chaos

import (
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
)

// Two people who have trained the same study have the same digest, on however many workers.
func TestDigestIsTheSame(t *testing.T) {
	skipRaced(t)
	parallel(t)
	spec := digestSpec()
	f := newFleet(t)
	one := f.newLab("one", 1)
	one.submit("study", spec, false)
	want := one.digest("study")
	one.submit("again", spec, true)
	if got := one.digest("again"); got != want {
		t.Errorf("trained anew under another name the digest is %s, want %s", got, want)
	}
	spec.Seeds = integers(2)
	one.submit("other", spec, false)
	if one.digest("other") == want {
		t.Error("another seed has the same digest")
	}
	spec.Seeds = nil
	one.stopAll()

	four := f.newLab("four", 4)
	four.submit("study", spec, false)
	if got := four.digest("study"); got != want {
		t.Errorf("four workers have the digest %s, one has %s", got, want)
	}
	four.stopAll()
}

// Nor does it matter in what form the processors do the arithmetic, or what happened to the workers.
func TestDigestOnThePortablePath(t *testing.T) {
	skipRaced(t)
	parallel(t)
	spec := digestSpec()
	f := newFleet(t)
	fastest := f.newLab("fastest", 2)
	fastest.submit("study", spec, false)
	want := fastest.digest("study")
	fastest.stopAll()

	// The portable path is slow enough to be killed in the middle of a run. Another one goes on from its checkpoint.
	portable := f.newLab("portable", 1, "--kernel", "portable")
	portable.submit("study", spec, false)
	_ = portable.client.watch(t.Context(), "study", 0, func(response *trellisv1.WatchStudyResponse) error {
		if response.GetStudy().GetProgress().GetEpochs() >= 3 {
			return errLost // enough
		}
		return nil
	})
	portable.workers[0].kill()
	portable.startWorker()
	if got := portable.digest("study"); got != want {
		t.Errorf("on the portable path, after a worker was killed, the digest is %s, want %s", got, want)
	}
	if lost := portable.failures("study"); lost != 1 {
		t.Errorf("%d attempts were lost, want 1", lost)
	}
	portable.stopAll()
}

func digestSpec() *trellisv1.StudySpec {
	spec := realSpec()
	spec.Grid[0].Axes["max_epochs"] = integers(2, 5)
	return spec
}

// digest waits for a study's end.
func (l *lab) digest(study string) string {
	l.Helper()
	report, _ := l.complete(study)
	return report.GetDigest()
}

// failures is how many attempts at a study's runs have ended without success.
func (l *lab) failures(study string) (failures int) {
	l.Helper()
	trials, err := l.client.listTrials(l.Context(), study)
	if err != nil {
		l.Fatal(err)
	}
	runs := map[string]bool{}
	for _, trial := range trials {
		if runs[trial.GetRun()] {
			continue
		}
		runs[trial.GetRun()] = true
		response, err := l.client.GetRun(l.Context(), &trellisv1.GetRunRequest{Study: study, Run: trial.GetRun()})
		if err != nil {
			l.Fatal(err)
		}
		failures += len(response.GetRun().GetFailures())
	}
	return failures
}
