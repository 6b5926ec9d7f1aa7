package worker

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

const (
	// maxBatch is the maximum number of reports in one request, about 100 kB if they are losses alone, and
	// maxBatchBytes its maximum size.
	maxBatch      = 4096
	maxBatchBytes = trellisv1.MaxSessionRequest / 2
	// unacknowledgedBytes and unacknowledgedSlotBytes, for each slot, are how many bytes of reports are sent before
	// they are acknowledged. While its log is slow, a coordinator holds so much of each of thousands of workers.
	unacknowledgedBytes     = 8 << 10
	unacknowledgedSlotBytes = 256
	// elementHeader is what an element of a message takes besides itself, at most.
	elementHeader = 8
	// maxRequests is the maximum number of requests in one message, and maxOutcome what an outcome takes at most.
	maxRequests = 1024
	maxOutcome  = 8 << 10
	// maxHeartbeats is how many heartbeats are remembered that are not confirmed: more than fit into a lease.
	maxHeartbeats = 16
	// goodbyeTimeout is how long the coordinator may take to end the session after goodbye.
	goodbyeTimeout = 5 * time.Second
)

// handleResponses handles a response of the coordinator, or the responses of a batch.
func (w *Worker) handleResponses(response *trellisv1.SessionResponse) {
	for _, part := range response.Parts() {
		w.handleResponse(part)
	}
}

func (w *Worker) handleResponse(response *trellisv1.SessionResponse) {
	if welcome := response.GetWelcome(); welcome != nil {
		w.handleWelcome(welcome)
		return
	}
	switch {
	case w.session.abandoned:
		return
	case !w.session.welcomed:
		w.session.end(errNotFirst)
		return
	}
	switch m := response.GetMessage().(type) {
	case *trellisv1.SessionResponse_Assignment:
		w.assign(m.Assignment)
	case *trellisv1.SessionResponse_Stop:
		if a := w.find(m.Stop.GetAttempt()); a != nil {
			w.log.Info("stopped by the coordinator", "study", a.assignment.GetStudy(),
				"run", a.assignment.GetRun(), "attempt", a.number(), "reason", m.Stop.GetReason())
			w.forget(a)
		}
	case *trellisv1.SessionResponse_Renewal:
		w.renew(m.Renewal)
	case *trellisv1.SessionResponse_Output:
		w.session.askForOutput(m.Output)
	case *trellisv1.SessionResponse_OwnStudy:
		w.learnOfStudy(m.OwnStudy.GetState())
	case *trellisv1.SessionResponse_Unserved:
		w.learnUnserved(m.Unserved)
	case *trellisv1.SessionResponse_Acknowledgement:
		if a := w.find(m.Acknowledgement.GetAttempt()); a != nil {
			a.acknowledge(m.Acknowledgement.GetEpoch(), m.Acknowledgement.GetCheckpoint())
			if m.Acknowledgement.GetOutcome() {
				w.forget(a)
			}
		}
	}
}

// handleWelcome starts the exchange. It resends what belongs to attempts that are still valid, and drops the others.
func (w *Worker) handleWelcome(welcome *trellisv1.Welcome) {
	switch {
	case w.session.welcomed:
		w.session.end(errSecond)
		return
	case welcome.GetHeartbeatMilliseconds() == 0:
		w.session.end(errHeartbeat)
		return
	}
	w.node, w.mistaken = w.session.node, ""
	w.log.Info("connected", "coordinator", w.coordinator())
	w.metrics.sessions.Inc()
	w.session.welcomed = true
	if w.own == ownEnded {
		// It may have been extended meanwhile. The new session says how it stands.
		w.own = ownOpen
	}
	w.connected.Store(true)
	w.checkpointInterval.Store(int64(welcome.GetCheckpointMilliseconds()) * int64(time.Millisecond))
	w.heartbeat = time.Tick(time.Duration(welcome.GetHeartbeatMilliseconds()) * time.Millisecond)
	w.lease = time.Duration(welcome.GetLeaseMilliseconds()) * time.Millisecond
	w.clock, w.awake, w.contact = nil, w.config.now(), w.session.opened
	if w.lease > 0 {
		w.clock = time.Tick(w.patience() / 4)
	}
	w.giveUp, w.fence = nil, nil
	standing := make(map[uint64]bool, len(welcome.GetAttempts()))
	for _, number := range welcome.GetAttempts() {
		standing[number] = true
	}
	for _, a := range slices.Clone(w.attempts) {
		if !standing[a.number()] {
			w.log.Info("dropping an attempt that is no longer valid", "study", a.assignment.GetStudy(),
				"run", a.assignment.GetRun(), "attempt", a.number())
			w.forget(a)
			continue
		}
		w.proceed(a)
	}
}

// nextRequest returns the next request of the session, or nil if there is none. It marks the request as sent.
func (w *Worker) nextRequest() *trellisv1.SessionRequest {
	s := w.session
	switch {
	case !s.welcomed || s.abandoned:
		return nil
	case s.drainDue:
		s.drainDue = false
		return &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Drain{Drain: &trellisv1.Drain{}}}
	case s.heartbeatDue:
		s.heartbeatDue = false
		return &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Heartbeat{Heartbeat: w.beat()}}
	}
	if asked := s.nextOutput(); asked != nil {
		return &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Output{Output: w.outputPiece(asked)}}
	}
	for _, a := range w.attempts {
		if request := a.nextCheckpoint(); request != nil {
			return request
		}
	}
	if requests := w.nextRequests(); len(requests) == 1 {
		return requests[0]
	} else if len(requests) > 1 {
		return &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Batch{
			Batch: &trellisv1.SessionRequests{Requests: requests},
		}}
	}
	if w.draining && len(w.attempts) == 0 {
		s.left = true
		w.giveUp = time.After(goodbyeTimeout)
		return &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Goodbye{Goodbye: &trellisv1.Goodbye{}}}
	}
	return nil
}

// nextRequests returns the reports and outcomes that attempts have to send next and that fit into one message. It marks
// them as sent.
func (w *Worker) nextRequests() (requests []*trellisv1.SessionRequest) {
	// Outcomes come first: their slots wait for the next runs. More of them follow the last reports of their attempts.
	left := maxBatchBytes
	requests = w.appendOutcomes(requests, &left)
	batch, bytes := w.nextBatch(left)
	if len(batch.GetReports()) == 0 {
		return requests
	}
	left -= bytes
	requests = append(requests, &trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Reports{Reports: batch}})
	return w.appendOutcomes(requests, &left)
}

// appendOutcomes adds outcomes whose attempts have sent everything else, as long as there are bytes left.
func (w *Worker) appendOutcomes(requests []*trellisv1.SessionRequest, left *int) []*trellisv1.SessionRequest {
	for _, a := range w.attempts {
		if *left < maxOutcome && len(requests) > 0 || len(requests) >= maxRequests {
			break
		}
		if request := a.nextOutcome(); request != nil {
			*left -= proto.Size(request) + elementHeader
			requests = append(requests, request)
		}
	}
	return requests
}

// nextBatch returns the next reports of all attempts that fit into so many bytes, and how many they take. It marks them
// as sent. It returns none while too much is not acknowledged.
func (w *Worker) nextBatch(most int) (batch *trellisv1.ReportBatch, bytes int) {
	batch = &trellisv1.ReportBatch{}
	unacknowledged := w.unacknowledged()
	most = min(most, unacknowledgedBytes+unacknowledgedSlotBytes*w.config.Slots-unacknowledged)
	room := maxBatch
	for _, a := range w.attempts {
		for n := min(len(a.reports)-a.sent, room); n > 0; n /= 2 {
			packed := a.pack(a.reports[a.sent : a.sent+n])
			size := packed.EncodedSize() + elementHeader
			if size > most-bytes && (n > 1 || len(batch.Reports) > 0 || unacknowledged > 0) {
				continue
			}
			batch.Reports = append(batch.Reports, packed)
			a.send(n, size)
			room -= n
			bytes += size
			break
		}
		if room == 0 || bytes >= most {
			break
		}
	}
	return batch, bytes
}

// unacknowledged is how many bytes of reports have been sent in this session and not acknowledged.
func (w *Worker) unacknowledged() (bytes int) {
	for _, a := range w.attempts {
		bytes += a.bytesUnderWay
	}
	return bytes
}

// beat returns the next heartbeat, and remembers when it was sent. Only the last ones are worth it: a worker that holds
// nothing gets no confirmations.
func (w *Worker) beat() *trellisv1.Heartbeat {
	s := w.session
	if len(s.heartbeats) == maxHeartbeats {
		s.heartbeats, s.first = slices.Delete(s.heartbeats, 0, 1), s.first+1
	}
	s.heartbeats = append(s.heartbeats, time.Now())
	heartbeat := &trellisv1.Heartbeat{Number: s.first + uint64(len(s.heartbeats)) - 1}
	for _, a := range w.attempts {
		heartbeat.Attempts = append(heartbeat.Attempts,
			&trellisv1.AttemptProgress{Attempt: a.number(), Steps: a.steps.Load()})
	}
	return heartbeat
}
