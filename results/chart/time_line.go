package chart

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
	"trellis/results/grid"
	"trellis/results/lifecycle"
)

const (
	defaultBars = 2000
	// maxLined is how many runs are read.
	maxLined = 4000
)

// TimeLine returns which worker trained which run when: see trellisv1.GetTimeLineRequest. It fails with
// results.ErrNotFound if there is no such study.
func TimeLine(
	snapshot *results.Snapshot, request *trellisv1.GetTimeLineRequest,
) (*trellisv1.GetTimeLineResponse, error) {
	study, err := snapshot.Study(nil, request.GetStudy())
	if err != nil {
		return nil, err
	}
	c, err := snapshot.Catalog(request.GetStudy())
	if err != nil {
		return nil, err
	}
	l := &line{
		source: &source{snapshot: snapshot, study: study, catalog: c}, bars: map[string][]*bar{},
		only: request.GetWorkers(),
	}
	for _, spec := range grid.EarlierSpecs(study) {
		l.ends = append(l.ends, grid.LongestOf(spec)...)
	}
	l.setWindow(request)
	read, total, err := l.read()
	if err != nil {
		return nil, err
	}
	response := &trellisv1.GetTimeLineResponse{
		Basis: l.basis(read, total), From: timestamppb.New(l.from), To: timestamppb.New(l.to),
		WithinSeconds: l.within.Seconds(), WorkersTotal: uint32(len(l.bars)),
	}
	l.write(response, orDefault(request.GetBars(), defaultBars))
	return response, snapshot.Err()
}

// line is an answer that is being made.
type line struct {
	*source
	from, to time.Time
	// only are the names of the workers that are wanted, if not all are.
	only []string
	// ends are the epochs at which runs ended before the study was extended by more.
	ends []uint32
	// bars are by worker, and within says how far off their times may be.
	bars   map[string][]*bar
	within time.Duration
}

// bar is an attempt, or several that were put together.
type bar struct {
	*trellisv1.GetTimeLineResponse_Bar
	from, to time.Time
	// held says that it has not ended: to is then the window's end.
	held bool
}

func (l *line) setWindow(request *trellisv1.GetTimeLineRequest) {
	l.from = l.study.GetCreateTime().AsTime()
	if request.From != nil {
		l.from = request.GetFrom().AsTime()
	}
	l.to, _ = l.snapshot.Times().Last()
	if request.To != nil {
		l.to = request.GetTo().AsTime()
	}
	if !l.to.After(l.from) {
		l.to = l.from.Add(time.Second)
	}
}

// read looks at the runs that may have been trained in the window, or at some evenly, and returns how many these are.
func (l *line) read() (read, total int, err error) {
	sections, err := l.snapshot.Sections(l.catalog)
	if err != nil {
		return 0, 0, err
	}
	first := l.snapshot.Times().Index(l.from)
	var wanted []results.Section
	for section := range sections {
		spans := endsOf(section)
		if section.Changed() < first && !spans.held {
			continue
		}
		begun := spans.begun
		if at, within, known := l.snapshot.Times().At(begun); begun == 0 || known && at.Add(-within).After(l.to) {
			continue
		}
		wanted = append(wanted, section)
		total += section.Size()
	}
	number, picked := 0, even(0, total, min(total, maxLined))
	read = len(picked)
	for _, section := range wanted {
		if l.snapshot.Err() != nil {
			return 0, 0, l.snapshot.Err()
		}
		for slot := range section.Size() {
			if number++; len(picked) == 0 || picked[0] != number-1 {
				continue
			}
			picked = picked[1:]
			if run := section.Trajectory(slot); run != nil {
				l.addRun(run.Run, run.Losses)
			}
		}
	}
	return read, total, l.snapshot.Err()
}

// attempt is what a run knows of one.
type attempt struct {
	number      uint64
	worker      string
	after, last uint32
	end         trellisv1.AttemptEnd
	failure     trellisv1.FailureClass
}

// attemptsOf returns the attempts at a run that are known, in the order in which they began. ends are as in line.
func attemptsOf(run *trellisv1.Run, ends []uint32) []attempt {
	byNumber := map[uint64]attempt{}
	at := func(number uint64, worker string) attempt {
		its, known := byNumber[number]
		if !known {
			its = attempt{number: number, worker: worker, end: trellisv1.AttemptEnd_ATTEMPT_END_RETURNED}
		}
		return its
	}
	for _, training := range run.Trainings {
		if training.Until <= run.SharedEpochs {
			continue // It trained them for another study.
		}
		its := at(training.Attempt, training.Worker)
		// Who vouches that the run has ended vouches for the epoch after its last.
		its.after, its.last = max(training.After, run.SharedEpochs), min(training.Until, run.Epochs)
		if audit := run.GetAudit(); audit.GetState() == trellisv1.AuditState_AUDIT_STATE_EQUAL &&
			training == run.Trainings[len(run.Trainings)-1] && len(run.Trainings) > 1 &&
			audit.Worker == training.Worker {
			its.end = trellisv1.AttemptEnd_ATTEMPT_END_AUDITED
		}
		byNumber[its.number] = its
	}
	for _, output := range run.Outputs {
		its := at(output.Attempt, output.Worker)
		byNumber[its.number] = its
	}
	for _, failure := range slices.Concat(run.Failures, run.GetAudit().GetFailures()) {
		its := at(failure.Attempt, failure.Worker)
		its.end, its.failure = trellisv1.AttemptEnd_ATTEMPT_END_FAILED, failure.Class
		byNumber[its.number] = its
	}
	for _, its := range append(run.GetDecided().GetDisagreements(), run.GetDispute()) {
		for _, training := range contestedIn(its) {
			if _, known := byNumber[training.Attempt]; !known {
				byNumber[training.Attempt] = attempt{
					number: training.Attempt, worker: training.Worker, end: trellisv1.AttemptEnd_ATTEMPT_END_FAILED,
					failure: trellisv1.FailureClass_FAILURE_CLASS_CONFLICT,
				}
			}
		}
	}
	if run.Worker != "" {
		its := at(run.Attempt, run.Worker)
		its.end = trellisv1.AttemptEnd_ATTEMPT_END_HELD
		byNumber[its.number] = its
	}
	attempts := slices.SortedFunc(maps.Values(byNumber), func(a, b attempt) int {
		return cmp.Compare(a.number, b.number)
	})
	if run.State == lifecycle.RunSucceeded {
		// The last with epochs that did not fail has ended the run.
		for i := len(attempts) - 1; i >= 0; i-- {
			if attempts[i].end == trellisv1.AttemptEnd_ATTEMPT_END_RETURNED && attempts[i].last > 0 {
				attempts[i].end = trellisv1.AttemptEnd_ATTEMPT_END_SUCCEEDED
				break
			}
		}
	}
	for i := range attempts {
		its := &attempts[i]
		if its.end != trellisv1.AttemptEnd_ATTEMPT_END_RETURNED || !slices.Contains(ends, its.last) ||
			!slices.Contains(run.Milestones, its.last) {
			continue
		}
		// It ended the run as it was before an extension, or trained that again: an extension forgets audits.
		its.end = trellisv1.AttemptEnd_ATTEMPT_END_SUCCEEDED
		if its.after == 0 && slices.ContainsFunc(attempts[:i], func(earlier attempt) bool {
			return earlier.end == trellisv1.AttemptEnd_ATTEMPT_END_SUCCEEDED && earlier.last == its.last
		}) {
			its.end = trellisv1.AttemptEnd_ATTEMPT_END_AUDITED
		}
	}
	return attempts
}

// contestedIn returns the attempts that ended because of what they claimed in a disagreement: all but the first, which
// it is about, and but that with which it was decided. Their failures don't count once it is decided.
func contestedIn(its *trellisv1.Disagreement) (trainings []*trellisv1.Training) {
	for i, claim := range its.GetClaims() {
		isLast := i == len(its.Claims)-1
		if i > 0 && claim.GetTraining().GetAttempt() > 0 && !(isLast && claim.Stands) {
			trainings = append(trainings, claim.Training)
		}
	}
	return trainings
}

// addRun adds bars for the attempts at a run that are in the window.
func (l *line) addRun(run *trellisv1.Run, losses *trellisv1.Losses) {
	attempts := attemptsOf(run, l.ends)
	for i, its := range attempts {
		if len(l.only) > 0 && !slices.Contains(l.only, its.worker) {
			continue
		}
		from, within, known := l.snapshot.Times().At(its.number / results.MaxGrants)
		if !known {
			continue
		}
		b := &bar{
			GetTimeLineResponse_Bar: &trellisv1.GetTimeLineResponse_Bar{
				Attempt: its.number, Attempts: 1, Run: run.Id, Trial: run.FirstTrial, End: its.end,
				Failure: its.failure, Epochs: its.last - min(its.after, its.last),
			},
			from: from, held: its.end == trellisv1.AttemptEnd_ATTEMPT_END_HELD,
		}
		if its.end == trellisv1.AttemptEnd_ATTEMPT_END_FAILED {
			b.Failed = 1
		}
		l.end(b, run, losses, attempts, i)
		if b.to.Before(l.from) || b.from.After(l.to) {
			continue
		}
		b.Seconds = b.to.Sub(b.from).Seconds()
		l.within = max(l.within, within)
		l.bars[its.worker] = append(l.bars[its.worker], b)
	}
}

// end finds out when an attempt ended. The last attempt at a run ended when the run changed last, unless it was
// audited, contested or extended since: then, as any other, it took as long as its epochs, and ended before the next
// began. A run that was changed by something else after its end has a bar that is too long.
func (l *line) end(b *bar, run *trellisv1.Run, losses *trellisv1.Losses, attempts []attempt, i int) {
	its, isLast := attempts[i], i == len(attempts)-1
	if b.held {
		if b.to = l.to; b.to.Before(b.from) {
			b.to = b.from
		}
		return
	}
	next := run.ModifyIndex
	if !isLast {
		next = attempts[i+1].number / results.MaxGrants
	}
	latest, within, known := l.snapshot.Times().At(next)
	ended := run.State == lifecycle.RunSucceeded || run.State == lifecycle.RunFailed
	if isLast && ended && run.Audit == nil && run.Decided == nil && !l.extended() && known {
		b.to = latest
		l.within = max(l.within, within)
	} else {
		took := 0.0
		for epoch := its.after; epoch < its.last && int(epoch) < len(losses.GetSeconds()); epoch++ {
			took += float64(losses.Seconds[epoch])
		}
		b.Estimated = true
		b.to = b.from.Add(time.Duration(took * float64(time.Second)))
		if known && b.to.After(latest) {
			b.to = latest
		}
	}
	if b.to.Before(b.from) {
		b.to = b.from
	}
}

// extended says that trials may have been added to runs that had ended, which changes these.
func (l *line) extended() bool {
	return l.study.SpecHistory != nil || len(l.study.EarlierSpecs) > 0 ||
		l.catalog.Base != nil && len(l.catalog.Listed()) > 0
}

// write puts bars on lines, and those together for which there is no room.
func (l *line) write(response *trellisv1.GetTimeLineResponse, most int) {
	workers := slices.Sorted(maps.Keys(l.bars))
	lanes, count := 0, 0
	for _, name := range workers {
		lanes += assign(l.bars[name])
		count += len(l.bars[name])
	}
	// Bars shorter than this are put together with those that begin in the same part of the window: so there are at
	// most two for each part.
	part := time.Duration(0)
	if count > most {
		part = time.Duration(min(2*float64(l.to.Sub(l.from))*float64(lanes)/float64(most), 1<<62)) + 1
	}
	for _, name := range workers {
		bars := l.together(l.bars[name], part)
		if len(response.Bars)+len(bars) > most && len(response.Bars) > 0 {
			break
		}
		for _, b := range bars[:min(len(bars), most)] {
			b.Worker = uint32(len(response.Workers))
			b.From = timestamppb.New(b.from)
			if !b.held {
				b.To = timestamppb.New(b.to)
			}
			response.Bars = append(response.Bars, b.GetTimeLineResponse_Bar)
		}
		response.Workers = append(response.Workers, name)
	}
}

// assign gives the bars of a worker slots, so that those of one do not overlap, and returns how many these are.
func assign(bars []*bar) int {
	slices.SortFunc(bars, func(a, b *bar) int {
		return cmp.Or(a.from.Compare(b.from), cmp.Compare(a.Attempt, b.Attempt))
	})
	var free []time.Time
	for _, b := range bars {
		slot := slices.IndexFunc(free, func(at time.Time) bool { return !at.After(b.from) })
		if slot < 0 {
			slot = len(free)
			free = append(free, time.Time{})
		}
		b.Slot, free[slot] = uint32(slot), b.to
	}
	return len(free)
}

// together puts bars of one slot together that are shorter than a part of the window and begin in the same one.
func (l *line) together(bars []*bar, part time.Duration) []*bar {
	if part == 0 {
		return bars
	}
	type group struct {
		slot uint32
		part int64
	}
	var joined []*bar
	groups := map[group]*bar{}
	for _, b := range bars {
		if b.held || b.to.Sub(b.from) >= part {
			joined = append(joined, b)
			continue
		}
		at := group{b.Slot, int64(b.from.Sub(l.from) / part)}
		first, known := groups[at]
		if !known {
			groups[at] = b
			joined = append(joined, b)
			continue
		}
		first.to = b.to
		first.Attempts += b.Attempts
		first.Failed += b.Failed
		first.Epochs += b.Epochs
		first.Seconds += b.Seconds
		first.Estimated = first.Estimated || b.Estimated
		if first.End != b.End {
			first.End = trellisv1.AttemptEnd_ATTEMPT_END_UNSPECIFIED
		}
	}
	return joined
}
