package spans

import (
	"context"
	"maps"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/tracing"
)

const (
	// maxOpen bounds the runs whose end is looked for. Of others the end is seen when a worker reports it.
	maxOpen = 4096
	// sweepInterval is how often it is looked for.
	sweepInterval = time.Second
)

// Spans starts spans. A nil Spans starts none.
type Spans struct {
	tracer *tracing.Tracer
	store  Snapshots

	mu sync.Mutex
	// open are the runs that have been leased in this term and whose traces are sampled.
	open map[name]opened
}

// opened is a run whose end is looked for.
type opened struct {
	// grant says where it is. By its id alone, finding it would take long.
	grant *trellisv1.Grant
	// created is when its study was. seen is when it was first seen to have ended.
	created, seen time.Time
}

// Snapshots gives read access to the store.
type Snapshots interface {
	Snapshot() *results.Snapshot
}

var _ Snapshots = (*results.Store)(nil)

// name names a run.
type name struct{ study, run string }

// New returns spans, or nil if there is no tracer.
func New(tracer *tracing.Tracer, store Snapshots) *Spans {
	if tracer == nil {
		return nil
	}
	return &Spans{tracer: tracer, store: store, open: map[name]opened{}}
}

// Created traces the creation of a study by the call of ctx.
func (s *Spans) Created(ctx context.Context, study *trellisv1.Study) {
	if s == nil {
		return
	}
	created := study.GetCreateTime().AsTime()
	span := s.tracer.Root(ctx, tracing.StudyIDs(study.GetName(), created), "create study", created)
	defer span.End()
	call := trace.SpanFromContext(ctx)
	call.SetAttributes(studyKey.String(study.GetName()))
	call.AddLink(trace.Link{SpanContext: span.SpanContext()})
	if call.SpanContext().IsValid() {
		span.AddLink(trace.Link{SpanContext: call.SpanContext()})
	}
	progress := study.GetProgress()
	span.SetAttributes(studyKey.String(study.GetName()), attribute.Int64("trellis.study.trials", int64(progress.GetTrials())),
		attribute.Int64("trellis.study.runs", int64(progress.GetRuns())))
}

// Traceparent returns what names a run's trace to the worker that is to train it, or "".
func (s *Spans) Traceparent(study *trellisv1.Study, run string) string {
	if s == nil {
		return ""
	}
	return tracing.Traceparent(s.root(study.GetName(), study.GetCreateTime().AsTime(), run).SpanContext())
}

// root returns the first span of a run's trace, which is to be ended when the run ends.
func (s *Spans) root(study string, created time.Time, run string) trace.Span {
	return s.tracer.Root(context.Background(), tracing.RunIDs(study, created, run), "run", created)
}

// Now returns the time, for what will be told of with it, or no time if nothing will.
func (s *Spans) Now() (now time.Time) {
	if s != nil {
		now = time.Now()
	}
	return now
}

// Granted traces the leases that the log has accepted, as it has answered now. They were chosen, from runs as they were
// then, at a time.
func (s *Spans) Granted(chosen time.Time, runs []*trellisv1.Run, grants []*trellisv1.Grant, refusals []error) {
	if s == nil {
		return
	}
	snapshot := s.store.Snapshot()
	for i, grant := range grants {
		study, err := snapshot.Study(nil, grant.GetStudy())
		if refusals[i] != nil || err != nil {
			continue
		}
		created := study.GetCreateTime().AsTime()
		root := s.root(grant.GetStudy(), created, grant.GetRun())
		if !root.IsRecording() {
			continue
		}
		if !ended(runs[i].GetState()) { // Otherwise, it is audited.
			s.watch(grant, created)
		}
		_, span := s.tracer.StartAt(trace.ContextWithSpan(context.Background(), root), "grant", chosen)
		span.SetAttributes(studyKey.String(grant.GetStudy()), runKey.String(grant.GetRun()), workerKey.String(grant.GetWorker()))
		if run, err := snapshot.Granted(grant); err == nil && run.GetWorker() == grant.GetWorker() {
			span.SetAttributes(attemptKey.Int64(int64(run.GetAttempt())))
		}
		span.End()
	}
}

// Recording is what is being recorded.
type Recording struct {
	spans  *Spans
	before *results.Snapshot
	// watched are the runs of its outcomes whose end is looked for.
	watched map[name]bool
}

// Record begins to record: it remembers what was before. It returns nil if nothing is traced.
func (s *Spans) Record(entries []*trellisv1.RecordCommand_Entry) *Recording {
	if s == nil {
		return nil
	}
	r := &Recording{s, s.store.Snapshot(), map[name]bool{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, entry := range entries {
		its := name{entry.GetOutcome().GetStudy(), entry.GetOutcome().GetRun()}
		if _, ok := s.open[its]; ok {
			r.watched[its] = true
		}
	}
	return r
}

// Recorded traces an outcome, nil for none, that the log has accepted by now, and the run if that has ended with it.
func (r *Recording) Recorded(outcome *trellisv1.Outcome, received time.Time) {
	if r == nil || outcome == nil {
		return
	}
	s, id := r.spans, outcome.GetRun()
	lease, err := r.before.Lease(outcome.GetAttempt())
	if err != nil || lease.GetStudy() != outcome.GetStudy() || lease.GetRun() != id {
		return
	}
	study, err := r.before.Study(nil, outcome.GetStudy())
	if err != nil {
		return
	}
	created := study.GetCreateTime().AsTime()
	root := s.root(study.GetName(), created, id)
	if !root.IsRecording() {
		return
	}
	_, span := s.tracer.StartAt(trace.ContextWithSpan(context.Background(), root), "record", received)
	span.SetAttributes(studyKey.String(study.GetName()), runKey.String(id), attemptKey.Int64(int64(outcome.GetAttempt())))
	switch result := outcome.GetResult().(type) {
	case *trellisv1.Outcome_Success_:
		span.SetAttributes(outcomeKey.String("success"), epochsKey.Int64(int64(result.Success.GetEpochs())),
			attribute.String("trellis.run.stop_reason", word(result.Success.GetStopReason().String(), "STOP_REASON_")))
	case *trellisv1.Outcome_Failure:
		class := classOf(result.Failure.GetClass())
		span.SetAttributes(outcomeKey.String("failure"), errorKey.String(class))
		span.SetStatus(codes.Error, class)
	default:
		span.SetAttributes(outcomeKey.String("return"))
	}
	span.End()
	run, err := r.before.Granted(lease)
	if err != nil || ended(run.GetState()) { // It was audited.
		return
	}
	if run, err = s.store.Snapshot().Granted(lease); err != nil || !ended(run.GetState()) {
		return
	}
	its := name{study.GetName(), id}
	s.mu.Lock()
	_, still := s.open[its]
	delete(s.open, its)
	s.mu.Unlock()
	if still || !r.watched[its] { // Otherwise, sweep has ended it.
		s.end(run, created, time.Now())
	}
}

// Begin begins a term, before anything is granted in it: it looks for the runs that are leased from the term before.
func (s *Spans) Begin() {
	if s == nil {
		return
	}
	s.mu.Lock()
	clear(s.open)
	s.mu.Unlock()
	snapshot := s.store.Snapshot()
	grants, err := snapshot.Leases(maxOpen)
	if err != nil {
		return // They have no span "run" unless a worker reports their end.
	}
	for _, grant := range grants {
		study, err := snapshot.Study(nil, grant.GetStudy())
		if err != nil {
			continue
		}
		created := study.GetCreateTime().AsTime()
		if !s.root(grant.GetStudy(), created, grant.GetRun()).IsRecording() {
			continue
		}
		if run, err := snapshot.Granted(grant); err == nil && !ended(run.GetState()) { // Otherwise, it is audited.
			s.watch(grant, created)
		}
	}
}

// Run ends the spans of runs that end in other ways than by an outcome: they are pruned or canceled, or given up with a
// worker.
func (s *Spans) Run(ctx context.Context) {
	if s == nil {
		return
	}
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.sweep()
		}
	}
}

func (s *Spans) watch(grant *trellisv1.Grant, created time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) < maxOpen {
		s.open[name{grant.GetStudy(), grant.GetRun()}] = opened{grant: grant, created: created}
	}
}

// sweep ends the spans of runs that have ended. It leaves those that have just ended to Recorded.
func (s *Spans) sweep() {
	s.mu.Lock()
	open := maps.Clone(s.open)
	s.mu.Unlock()
	snapshot, now := s.store.Snapshot(), time.Now()
	for its, one := range open {
		run := &trellisv1.Run{Study: its.study, Id: its.run} // Its study was deleted.
		study, err := snapshot.Study(nil, its.study)
		if err == nil && study.GetCreateTime().AsTime().Equal(one.created) {
			if run, err = snapshot.Granted(one.grant); err != nil || !ended(run.GetState()) {
				continue
			}
		}
		s.mu.Lock()
		// Meanwhile, it may have been granted again, or that of another study of the name.
		still := s.open[its] == one
		if still && one.seen.IsZero() {
			s.open[its] = opened{one.grant, one.created, now}
		} else if still {
			delete(s.open, its)
		}
		s.mu.Unlock()
		if still && !one.seen.IsZero() {
			s.end(run, one.created, one.seen)
		}
	}
}

// end ends the first span of a run's trace.
func (s *Spans) end(run *trellisv1.Run, created, at time.Time) {
	root := s.root(run.GetStudy(), created, run.GetId())
	root.AddLink(trace.Link{SpanContext: tracing.StudyIDs(run.GetStudy(), created).Context()})
	root.SetAttributes(studyKey.String(run.GetStudy()), runKey.String(run.GetId()), epochsKey.Int64(int64(run.GetEpochs())),
		attribute.Int64("trellis.run.first_trial", int64(run.GetFirstTrial())),
		attribute.Int("trellis.run.trials", len(run.GetMilestones())), attribute.Int("trellis.run.failures", len(run.GetFailures())))
	switch run.GetState() {
	case trellisv1.RunState_RUN_STATE_UNSPECIFIED:
		root.SetAttributes(stateKey.String("deleted"))
	case trellisv1.RunState_RUN_STATE_FAILED:
		// What programs write belongs to no trace, and may be in the run's error.
		class := ""
		if failures := run.GetFailures(); len(failures) > 0 {
			class = classOf(failures[len(failures)-1].GetClass())
			root.SetAttributes(errorKey.String(class))
		}
		root.SetStatus(codes.Error, class)
		fallthrough
	default:
		root.SetAttributes(stateKey.String(word(run.GetState().String(), "RUN_STATE_")))
	}
	root.End(trace.WithTimestamp(at))
}

// ended says whether a run in a state is over.
func ended(state trellisv1.RunState) bool {
	return state != trellisv1.RunState_RUN_STATE_PENDING && state != trellisv1.RunState_RUN_STATE_LEASED
}

func classOf(class trellisv1.FailureClass) string { return word(class.String(), "FAILURE_CLASS_") }

// word returns the value of an enum as attributes have it.
func word(value, prefix string) string { return strings.ToLower(strings.TrimPrefix(value, prefix)) }

// Attributes that several spans have.
const (
	studyKey   = attribute.Key("trellis.study.name")
	runKey     = attribute.Key("trellis.run.id")
	stateKey   = attribute.Key("trellis.run.state")
	epochsKey  = attribute.Key("trellis.run.epochs")
	attemptKey = attribute.Key("trellis.attempt.number")
	outcomeKey = attribute.Key("trellis.attempt.outcome")
	workerKey  = attribute.Key("trellis.worker.name")
	errorKey   = attribute.Key("error.type")
)
