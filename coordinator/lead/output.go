package lead

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	trellisv1 "trellis/proto/trellis/v1"
)

const (
	// maxAsked is how many requests for output a session may have that are not answered.
	maxAsked = 64
	// outputTimeout is how long a worker may take to answer.
	outputTimeout = 10 * time.Second
)

var (
	errNotConnected = status.Error(codes.Unavailable, "the worker that holds the attempt is not connected")
	errManyAsk      = status.Errorf(codes.ResourceExhausted, "%d requests for the output of programs of this worker wait: "+
		"retry in a moment", maxAsked)
	errNoOutput = status.Errorf(codes.Unavailable, "the worker has not answered for %v", outputTimeout)
)

// Output returns what the program of an attempt has written from an offset on, as its worker has it now.
func (l *Leader) Output(ctx context.Context, worker string, attempt, offset uint64) (*trellisv1.OutputPiece, error) {
	open := l.sessions.of(worker)
	if open == nil {
		return nil, errNotConnected
	}
	answer, forget, err := open.ask(attempt, offset)
	if err != nil {
		return nil, err
	}
	defer forget()
	timer := time.NewTimer(outputTimeout)
	defer timer.Stop()
	select {
	case piece := <-answer:
		return piece, nil
	case <-timer.C:
		return nil, errNoOutput
	case <-open.term.Done():
		return nil, context.Cause(open.term)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// of returns a worker's session, or nil.
func (s *sessions) of(worker string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byWorker[worker]
}

// ask sends a request for output. forget must be called when nobody waits for the answer any more.
func (s *session) ask(attempt, offset uint64) (answer <-chan *trellisv1.OutputPiece, forget func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.answers) >= maxAsked {
		return nil, nil, errManyAsk
	}
	s.lastAsked++
	id, pieces := s.lastAsked, make(chan *trellisv1.OutputPiece, 1)
	if s.answers == nil {
		s.answers = map[uint64]chan<- *trellisv1.OutputPiece{}
	}
	s.answers[id] = pieces
	s.asked = append(s.asked, &trellisv1.OutputRequest{Id: id, Attempt: attempt, Offset: offset})
	s.notify()
	return pieces, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.answers, id)
	}, nil
}

// answer passes on what a worker has answered, if somebody still waits for it.
func (s *session) answer(piece *trellisv1.OutputPiece) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if pieces := s.answers[piece.GetId()]; pieces != nil {
		pieces <- piece // It has room for the one answer.
		delete(s.answers, piece.GetId())
	}
}

// admitOutput makes sure that the log may refer to what an attempt's program has written: see artifact.Keeper. What can't be
// referred to is left out.
func (h *host) admitOutput(ctx context.Context, session *session, outcome *trellisv1.Outcome) error {
	output := outcome.GetOutput()
	if output == nil {
		return nil
	}
	output.Attempt, output.Worker = outcome.GetAttempt(), session.worker
	released := session.holdUp()
	err := h.artifacts.Admit(ctx, &trellisv1.Checkpoint{Sha256: output.GetSha256(), Size: output.GetSize()})
	h.leases.heard(session.worker)
	released()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		h.warnings.warn("refused the output of a program", "study", truncate(outcome.GetStudy(), maxWarning),
			"run", truncate(outcome.GetRun(), maxWarning), "worker", session.worker,
			"error", truncate(err.Error(), maxWarning))
		outcome.Output = nil
	}
	return nil
}
