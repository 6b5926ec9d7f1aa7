package coordinator

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"trellis/coordinator/artifact/artifacttest"
	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results"
)

// A step of FuzzSession is a byte that says what to do, the size of a message in two bytes, and the message.
const (
	// stepSend sends the message in the current session.
	stepSend = iota
	// stepOpen opens a session, which becomes the current one, and sends the message as its first.
	stepOpen
	// stepEnd breaks the current session off. The one that was opened before it becomes the current one.
	stepEnd
	// stepWait lets as many seconds pass as the message has bytes.
	stepWait
	// stepTrain has the session that got an assignment report all its epochs, and its success. The message is the
	// assignment's number and a byte by which the losses differ. Mutations hardly ever find that many values.
	stepTrain
	stepKinds
)

const (
	// maxSteps and maxWait, in seconds, bound what one input costs.
	maxSteps, maxWait = 60, 300
	// firstAssignment to firstAssignment+assignmentsNamed-1 are attempts of a message that stand for those that were
	// assigned in this order, because mutations hardly ever find the number of an attempt that stands. With the
	// attempt, a message gets the study and the run, where it names none.
	firstAssignment, assignmentsNamed = 1, 64
)

// fuzzedArtifact is the artifact that the coordinator has.
const fuzzedArtifact = "weights"

// FuzzSession: whatever workers send, in whatever order, the coordinator goes on, and its store can be written and
// restored. Restoring refuses states that no commands lead to.
func FuzzSession(f *testing.F) {
	for _, steps := range sessionSeeds() {
		f.Add(bytes.Join(steps, nil))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		serve(t, Config{Lease: 10 * time.Second}, func(h *harness) {
			synctest.Wait() // Nothing looks for artifacts now.
			artifacts := artifacttest.New()
			h.Coordinator.artifacts.Use(artifacts, nil)
			if _, _, err := artifacts.Put(h.Context(), strings.NewReader(fuzzedArtifact), 1<<10); err != nil {
				t.Fatal(err)
			}
			plain := syntheticSpec("plain", []uint32{4, 8}, []uint32{2, 3})
			plain.EarlyStopping = &trellisv1.EarlyStopping{Patience: 2}
			h.create(plain)
			audited := syntheticSpec("audited", []uint32{16}, []uint32{2})
			audited.Audit = 1
			h.create(audited)
			pruned := syntheticSpec("pruned", []uint32{32, 64, 128}, []uint32{9})
			pruned.Pruning = &trellisv1.Pruning{Method: &trellisv1.Pruning_Asha{Asha: &trellisv1.SuccessiveHalving{
				MinEpochs: 1,
			}}}
			h.create(pruned)

			player := &player{harness: h}
			for range maxSteps {
				if len(input) < 3 {
					break
				}
				kind, size := input[0]%stepKinds, int(binary.BigEndian.Uint16(input[1:]))
				message := input[3:min(len(input), 3+size)]
				input = input[3+len(message):]
				player.play(kind, message)
				synctest.Wait()
			}
			checkStorable(t, h.Coordinator.machine.store)
			for _, name := range []string{"plain", "audited", "pruned"} {
				h.study(name)
			}
			// The next worker is served.
			for len(player.sessions) > 0 {
				player.end()
			}
			synctest.Wait()
			h.connect("next", 8)
			synctest.Wait()
			checkStorable(t, h.Coordinator.machine.store)
		})
	})
}

// checkStorable wants that a store can be written, restored, and is the same then.
func checkStorable(t *testing.T, store *results.Store) {
	t.Helper()
	snapshot := store.Snapshot()
	want, err := snapshot.Hash()
	if err != nil {
		t.Fatal(err)
	}
	var written bytes.Buffer
	if _, err := snapshot.WriteTo(&written); err != nil {
		t.Fatalf("write: %v", err)
	}
	again, err := results.New()
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Restore(&written); err != nil {
		t.Fatalf("restore: %v", err)
	}
	if got, err := again.Snapshot().Hash(); err != nil || got != want {
		t.Fatalf("the restored store has another hash, or %v", err)
	}
}

// player does what an input of FuzzSession says.
type player struct {
	*harness
	sessions []playedSession

	mu          sync.Mutex
	assignments []playedAssignment
}

type playedAssignment struct {
	*trellisv1.Assignment
	session playedSession
}

type playedSession struct {
	grpc.BidiStreamingClient[trellisv1.SessionRequest, trellisv1.SessionResponse]
	end context.CancelFunc
}

func (p *player) play(kind byte, message []byte) {
	switch kind {
	case stepWait:
		time.Sleep(time.Duration(min(len(message), maxWait)) * time.Second)
		return
	case stepEnd:
		p.end()
		return
	case stepTrain:
		if len(message) > 1 {
			p.train(message[0], message[1])
		}
		return
	}
	request := &trellisv1.SessionRequest{}
	if proto.Unmarshal(message, request) != nil {
		return
	}
	p.name(request)
	if kind == stepOpen {
		p.open()
	}
	if len(p.sessions) > 0 {
		_ = p.sessions[len(p.sessions)-1].Send(request)
	}
}

// open opens a session, and keeps the assignments that come in it.
func (p *player) open() {
	ctx, cancel := context.WithCancel(p.Context())
	stream, err := p.workers.Session(ctx)
	if err != nil {
		p.Fatal(err)
	}
	p.disconnects = append(p.disconnects, cancel)
	session := playedSession{stream, cancel}
	p.sessions = append(p.sessions, session)
	go func() {
		for {
			response, err := stream.Recv()
			if err != nil {
				return
			}
			if assignment := response.GetAssignment(); assignment != nil {
				p.mu.Lock()
				p.assignments = append(p.assignments, playedAssignment{assignment, session})
				p.mu.Unlock()
			}
		}
	}()
}

// end breaks the current session off.
func (p *player) end() {
	if last := len(p.sessions) - 1; last >= 0 {
		p.sessions[last].end()
		p.sessions = p.sessions[:last]
	}
}

// train reports what an assignment asks for.
func (p *player) train(number, variant byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sort()
	if len(p.assignments) == 0 {
		return
	}
	a := p.assignments[max(0, int(number)-firstAssignment)%len(p.assignments)]
	epochs := min(a.GetConfig().GetParameters().GetMaxEpochs(), maxSteps)
	losses := make([]float64, 0, epochs)
	for epoch := a.GetEpochs() + 1; epoch <= epochs; epoch++ {
		losses = append(losses, lossAt(a.GetConfig().GetParameters(), epoch)+float64(variant))
	}
	_ = a.session.Send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Reports{
		Reports: &trellisv1.ReportBatch{Reports: []*trellisv1.Reports{
			reportsOf(a.Assignment, a.GetEpochs()+1, losses...),
		}},
	}})
	_ = a.session.Send(&trellisv1.SessionRequest{Message: &trellisv1.SessionRequest_Outcome{
		Outcome: &trellisv1.Outcome{
			Study: a.GetStudy(), Run: a.GetRun(), Attempt: a.GetAttempt(),
			Result: &trellisv1.Outcome_Success_{Success: &trellisv1.Outcome_Success{
				StopReason: trellisv1.StopReason_STOP_REASON_MAX_EPOCHS, Epochs: epochs,
			}},
		},
	}})
}

// sort puts the assignments in the order in which they were made. They come in any order, and inputs are to be
// repeatable.
func (p *player) sort() {
	slices.SortStableFunc(p.assignments, func(a, b playedAssignment) int {
		return cmp.Compare(a.GetAttempt(), b.GetAttempt())
	})
}

// name puts assignments in place of the small numbers that stand for them.
func (p *player) name(request *trellisv1.SessionRequest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sort()
	named := func(number uint64, study, run *string) uint64 {
		if number < firstAssignment || number >= firstAssignment+assignmentsNamed ||
			number-firstAssignment >= uint64(len(p.assignments)) {
			return number
		}
		assignment := p.assignments[number-firstAssignment]
		if study != nil && *study == "" {
			*study = assignment.GetStudy()
		}
		if run != nil && *run == "" {
			*run = assignment.GetRun()
		}
		return assignment.GetAttempt()
	}
	for i, attempt := range request.GetHello().GetAttempts() {
		request.GetHello().Attempts[i] = named(attempt, nil, nil)
	}
	for _, progress := range request.GetHeartbeat().GetAttempts() {
		progress.Attempt = named(progress.GetAttempt(), nil, nil)
	}
	for _, reports := range request.GetReports().GetReports() {
		reports.Attempt = named(reports.GetAttempt(), &reports.Study, &reports.Run)
	}
	if outcome := request.GetOutcome(); outcome != nil {
		outcome.Attempt = named(outcome.GetAttempt(), &outcome.Study, &outcome.Run)
	}
	if checkpoint := request.GetCheckpoint(); checkpoint != nil {
		checkpoint.Attempt = named(checkpoint.GetAttempt(), &checkpoint.Study, &checkpoint.Run)
	}
}
