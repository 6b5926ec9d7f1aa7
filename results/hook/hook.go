package hook

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"slices"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
)

// The types of events.
const (
	// StudyEnded: a study was completed or canceled. One that is extended or retried afterwards ends again.
	StudyEnded = "study.ended"
	// RunFailed: an attempt at a run failed, and there will be no other.
	RunFailed = "run.failed"
	// WorkerLost: a worker fell silent, and its runs went back to the queue.
	WorkerLost = "worker.lost"
	// Test: somebody asked for it. No hook is told of it otherwise.
	Test = "hook.test"
)

// Types are those that a hook can ask for.
var Types = []string{StudyEnded, RunFailed, WorkerLost}

const (
	// Max is how many hooks there are at most.
	Max = 32
	// MaxWaiting is how many events wait for a hook at most. Beyond that, the oldest is dropped.
	MaxWaiting = 1000
	// MaxDone is how many of a hook's deliveries are remembered after they are done.
	MaxDone = 100
)

// Check returns what is wrong with what a hook wants, or nil.
func Check(h *trellisv1.Hook) error {
	if len(h.GetEvents()) == 0 {
		return errors.New("a hook needs a type of events")
	}
	for _, one := range h.GetEvents() {
		if !slices.Contains(Types, one) {
			return fmt.Errorf("unknown type of events %q", one)
		}
	}
	if _, err := path.Match(h.GetStudy(), ""); err != nil {
		return fmt.Errorf("invalid pattern %q for studies: %w", h.GetStudy(), err)
	}
	return nil
}

// Wants says whether a hook is told of an event.
func Wants(h *trellisv1.Hook, event *trellisv1.HookEvent) bool {
	if h.GetDisableTime() != nil || !slices.Contains(h.GetEvents(), event.GetType()) {
		return false
	}
	study := StudyOf(event)
	if study == "" || h.GetStudy() == "" {
		return true
	}
	match, err := path.Match(h.GetStudy(), study)
	return err == nil && match
}

// StudyOf returns the name of the study that an event is about, "" if it is about none.
func StudyOf(event *trellisv1.HookEvent) string {
	if name := event.GetData().GetStudy().GetName(); name != "" {
		return name
	}
	return event.GetData().GetRun().GetStudy()
}

// ID returns the id of an event of a command: its index, its time, and how many others it has had before. A restored backup
// may repeat indexes, but not times.
func ID(index uint64, now time.Time, before int) string {
	sum := sha256.New()
	for _, n := range []uint64{index, uint64(now.UnixNano()), uint64(before)} {
		sum.Write(binary.BigEndian.AppendUint64(nil, n))
	}
	return "evt_" + hex.EncodeToString(sum.Sum(nil)[:16])
}

// Study returns what an event has of a study.
func Study(s *trellisv1.Study) *trellisv1.Study {
	return &trellisv1.Study{
		Name: s.GetName(), State: s.GetState(), CreateTime: s.GetCreateTime(), EndTime: s.GetEndTime(),
		Progress: s.GetProgress(), CreateIndex: s.GetCreateIndex(), Numerics: s.GetNumerics(), Creator: s.GetCreator(),
		GridTrials: s.GetGridTrials(),
	}
}

// Run returns what an event has of a run.
func Run(r *trellisv1.Run) *trellisv1.Run {
	failures := r.GetFailures()
	return &trellisv1.Run{
		Study: r.GetStudy(), Id: r.GetId(), Parameters: r.GetParameters(), State: r.GetState(), Epochs: r.GetEpochs(),
		TrainLoss: r.GetTrainLoss(), ValidationLoss: r.GetValidationLoss(), BestValidationLoss: r.BestValidationLoss,
		BestEpoch: r.GetBestEpoch(), Objective: r.Objective, Metric: r.Metric, Error: r.GetError(),
		Failures: failures[max(0, len(failures)-1):], TrainingSeconds: r.GetTrainingSeconds(),
		FirstTrial: r.GetFirstTrial(), Place: r.GetPlace(),
	}
}

// Worker returns what an event has of a worker.
func Worker(w *trellisv1.Worker) *trellisv1.Worker {
	return &trellisv1.Worker{
		Name: w.GetName(), State: w.GetState(), Slots: w.GetSlots(), Version: w.GetVersion(),
		Processor: w.GetProcessor(), CreateTime: w.GetCreateTime(), UpdateTime: w.GetUpdateTime(),
		Machine: w.GetMachine(), Principal: w.GetPrincipal(), Capacity: w.GetCapacity(),
	}
}
