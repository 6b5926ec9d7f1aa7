package insight

import (
	"cmp"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/account"
	"trellis/results/listing"
)

// MaxReportedDisagreements is the maximum number of disagreements that a report lists, and of runs whose audit was given
// up. It lists fewer if the list would be larger than a page.
const MaxReportedDisagreements = 100

// audits collects what a report says about runs that were trained again.
type audits struct {
	summary *trellisv1.AuditSummary
	// wrong are the workers whose claims were refuted, by name.
	wrong map[string]*trellisv1.AuditSummary_WrongWorker
	runs  []results.Served
	// disagreements are those of runs, each with the run's first trial.
	disagreements []runDisagreement
	// givenUp are runs whose audit was given up.
	givenUp []results.Served
}

type runDisagreement struct {
	firstTrial uint64
	listed     *trellisv1.AuditSummary_RunDisagreement
}

func newAudits() *audits {
	return &audits{summary: &trellisv1.AuditSummary{}, wrong: map[string]*trellisv1.AuditSummary_WrongWorker{}}
}

// auditsOf returns what a report says about runs that were trained again. It looks at runs only if some are disputed, or have
// been.
func auditsOf(snapshot *results.Snapshot, study string, sum *account.Sum) (*trellisv1.AuditSummary, error) {
	all := newAudits()
	if sum.Disputes == 0 {
		all.summary.Succeeded, all.summary.Due = sum.Succeeded, sum.Due
		all.summary.Equal, all.summary.SameMachine = sum.Equal, sum.SameMachine
		return all.done(), nil
	}
	runs, err := snapshot.Touched(study)
	if err != nil {
		return nil, err
	}
	for its := range runs {
		all.add(its)
	}
	return all.done(), snapshot.Err()
}

// add counts a run.
func (a *audits) add(its results.Served) {
	run := its.Run
	audit := run.GetAudit()
	if run.GetState() == trellisv1.RunState_RUN_STATE_SUCCEEDED {
		a.summary.Succeeded++
	}
	switch audit.GetState() {
	case trellisv1.AuditState_AUDIT_STATE_DUE:
		a.summary.Due++
	case trellisv1.AuditState_AUDIT_STATE_EQUAL:
		a.summary.Equal++
		if audit.GetSameMachine() {
			a.summary.SameMachine++
		}
	case trellisv1.AuditState_AUDIT_STATE_GIVEN_UP:
		a.summary.GivenUp++
		a.givenUp = append(a.givenUp, its)
	}
	if len(run.GetTrainings()) > 0 {
		a.runs = append(a.runs, its)
	}
	for _, decided := range run.GetDecided().GetDisagreements() {
		a.list(its, decided)
		for _, claim := range decided.GetClaims() {
			if claim.GetWrong() {
				a.refuted(claim.GetTraining())
			}
		}
	}
	if run.GetDispute() != nil {
		a.summary.Disputed++
		a.list(its, run.GetDispute())
	}
}

func (a *audits) list(its results.Served, disagreement *trellisv1.Disagreement) {
	a.disagreements = append(a.disagreements, runDisagreement{
		its.Run.GetFirstTrial(),
		&trellisv1.AuditSummary_RunDisagreement{
			Run: its.Run.GetId(), Parameters: its.Run.GetParameters(), Disagreement: disagreement, Trials: its.Indexes,
		},
	})
}

func (a *audits) refuted(training *trellisv1.Training) {
	its := a.wrong[training.GetWorker()]
	if its == nil {
		its = &trellisv1.AuditSummary_WrongWorker{Worker: training.GetWorker(), Machine: training.GetMachine()}
		a.wrong[training.GetWorker()] = its
	}
	its.Refuted++
}

// done returns the summary, nil if there is nothing to say.
func (a *audits) done() *trellisv1.AuditSummary {
	s := a.summary
	if s.Due+s.Equal+s.GivenUp == 0 && len(a.disagreements) == 0 {
		return nil
	}
	slices.SortStableFunc(a.disagreements, func(x, y runDisagreement) int {
		return cmp.Compare(x.firstTrial, y.firstTrial)
	})
	s.DisagreementsTotal = uint64(len(a.disagreements))
	left := listing.MaxPageBytes
	for _, d := range a.disagreements[:min(len(a.disagreements), MaxReportedDisagreements)] {
		if left <= 0 {
			break
		}
		left -= proto.Size(d.listed)
		s.Disagreements = append(s.Disagreements, d.listed)
	}
	s.GivenUpRuns = a.listGivenUp()
	if len(a.wrong) == 0 {
		return s
	}
	for _, its := range a.runs {
		a.countTrained(its.Run)
	}
	for _, worker := range a.wrong {
		s.WrongWorkers = append(s.WrongWorkers, worker)
	}
	slices.SortFunc(s.WrongWorkers, func(x, y *trellisv1.AuditSummary_WrongWorker) int {
		return strings.Compare(x.GetWorker(), y.GetWorker())
	})
	return s
}

// listGivenUp lists the runs whose audit was given up.
func (a *audits) listGivenUp() []*trellisv1.AuditSummary_GivenUpRun {
	slices.SortStableFunc(a.givenUp, func(x, y results.Served) int {
		return cmp.Compare(x.Run.GetFirstTrial(), y.Run.GetFirstTrial())
	})
	var listed []*trellisv1.AuditSummary_GivenUpRun
	left := listing.MaxPageBytes
	for _, its := range a.givenUp[:min(len(a.givenUp), MaxReportedDisagreements)] {
		if left <= 0 {
			break
		}
		one := &trellisv1.AuditSummary_GivenUpRun{
			Run: its.Run.GetId(), Parameters: its.Run.GetParameters(), Error: its.Run.GetAudit().GetError(),
			Trials: its.Indexes,
		}
		left -= proto.Size(one)
		listed = append(listed, one)
	}
	return listed
}

// countTrained counts a run for the wrong workers that have trained some of its epochs.
func (a *audits) countTrained(run *trellisv1.Run) {
	counted := map[string]bool{}
	for _, training := range run.GetTrainings() {
		name := training.GetWorker()
		its := a.wrong[name]
		if its == nil || counted[name] {
			continue
		}
		counted[name] = true
		its.Runs++
		if run.GetAudit().GetState() == trellisv1.AuditState_AUDIT_STATE_EQUAL {
			its.Audited++
		}
	}
}
