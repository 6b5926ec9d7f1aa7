package results

import (
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/trajectory"
)

var update = flag.Bool("update", false, "rewrite the transcripts in testdata")

// TestTranscripts replays the scenarios in testdata: lines that begin with "> " are commands, numbered from 1 as in a
// log, the lines below each are what the store answers. Run with -update to rewrite the answers.
//
//	create STUDY RUN:MILESTONE,... ... | fresh STUDY RUN:MILESTONE,... ...
//	study STUDY STATE | delete STUDY | worker NAME STATE SLOTS [MACHINE] | grant STUDY RUN WORKER [STUDY RUN WORKER]...
//	report STUDY RUN ATTEMPT FIRST-EPOCH VALIDATION-LOSS,... [EPOCH:TEST-LOSS,...]
//	checkpoint STUDY RUN ATTEMPT EPOCH DIGIT
//	success STUDY RUN ATTEMPT EPOCHS (it has stopped early) | complete STUDY RUN ATTEMPT EPOCHS (it has come to its maximum)
//	failure STUDY RUN ATTEMPT CLASS MESSAGE | return STUDY RUN ATTEMPT
//	rules VERSION: of the commands below, which are else applied by the latest
//	show STUDY | workers | next | best STUDY | checkpoints STUDY RUN | artifacts
//
// An attempt is written as the number of the command that granted it, followed by .PLACE if it was not the first in it.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			ok(t, err)
			got := replay(t, string(want))
			if *update {
				ok(t, os.WriteFile(file, []byte(got), 0o644))
				return
			}
			if got != string(want) {
				t.Errorf("%s has other answers now:\n%s", file, got)
			}
		})
	}
}

// replay returns the transcript with the store's answers in place of its own.
func replay(t *testing.T, transcript string) string {
	r := &replayer{t: t, store: newStore(t), rules: trajectory.LatestRules}
	var out strings.Builder
	for line := range strings.Lines(transcript) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
			fmt.Fprintln(&out, line)
		case strings.HasPrefix(line, "> "):
			fmt.Fprintln(&out, line)
			out.WriteString(r.run(strings.Fields(line[2:])))
		}
	}
	return out.String()
}

type replayer struct {
	t     *testing.T
	store *Store
	index uint64
	rules trajectory.Rules
}

func (r *replayer) run(words []string) string {
	args := append(words[1:], make([]string, 6)...)
	switch words[0] {
	case "rules":
		r.rules = trajectory.Rules(r.number(args[0]))
		return ""
	case "show":
		return r.show(args[0])
	case "workers":
		return r.workers()
	case "next":
		runs, err := r.store.Snapshot().NextRuns(nil, 9)
		ok(r.t, err)
		return line("next", runs, func(run *trellisv1.Run) string { return run.Study + "/" + run.Id })
	case "checkpoints":
		run, err := r.store.Snapshot().Run(nil, args[0], args[1])
		ok(r.t, err)
		return line("checkpoints", run.Checkpoints, func(c *trellisv1.Checkpoint) string {
			return fmt.Sprintf("%d:%s", c.Epoch, c.Sha256[:1])
		})
	case "artifacts":
		artifacts, err := r.store.Snapshot().Artifacts()
		ok(r.t, err)
		return line("artifacts", slices.Sorted(maps.Keys(artifacts)), func(sha256 string) string { return sha256[:1] })
	case "best":
		best, err := r.store.Snapshot().Best(nil, args[0])
		if err != nil {
			return err.Error() + "\n"
		}
		return fmt.Sprintf("trial %d: %v\n", best.Index, best.GetObjective())
	}
	r.index++
	var err error
	switch words[0] {
	case "create", "fresh":
		err = r.create(args[0], words[0] == "fresh", words[2:])
	case "study":
		err = r.store.SetStudyState(r.index, at(r.index), args[0],
			trellisv1.StudyState(trellisv1.StudyState_value["STUDY_STATE_"+strings.ToUpper(args[1])]))
	case "delete":
		err = r.store.DeleteStudy(r.index, args[0], 0, 0)
	case "worker":
		err = r.store.SetWorker(r.index, at(r.index), r.rules, &trellisv1.Worker{
			Name:  args[0],
			State: trellisv1.WorkerState(trellisv1.WorkerState_value["WORKER_STATE_"+strings.ToUpper(args[1])]),
			Slots: uint32(r.number(args[2])), Machine: args[3],
		})
	case "grant":
		var grants []*trellisv1.Grant
		for names := range slices.Chunk(words[1:], 3) {
			grants = append(grants, &trellisv1.Grant{Study: names[0], Run: names[1], Worker: names[2]})
		}
		var answers strings.Builder
		for _, err := range r.store.Grant(r.index, at(r.index), grants) {
			answers.WriteString(r.answer(err))
		}
		return answers.String()
	default:
		entries := []*trellisv1.RecordCommand_Entry{r.entry(words[0], args)}
		err = r.store.Record(r.index, at(r.index), r.rules, entries)[0]
	}
	return r.answer(err)
}

func (r *replayer) answer(err error) string {
	if err != nil {
		return fmt.Sprintf("%d: %v\n", r.index, err)
	}
	return fmt.Sprintf("%d: ok\n", r.index)
}

func line[T any](name string, items []T, text func(T) string) string {
	for _, item := range items {
		name += " " + text(item)
	}
	return name + "\n"
}

func (r *replayer) create(name string, fresh bool, runs []string) error {
	var all []*trellisv1.Run
	var trials []*trellisv1.Trial
	for _, text := range runs {
		id, list, _ := strings.Cut(text, ":")
		var milestones []uint32
		for _, milestone := range strings.Split(list, ",") {
			milestones = append(milestones, uint32(r.number(milestone)))
		}
		run, its := testRun(id, 16, uint64(len(trials)), milestones...)
		all, trials = append(all, run), append(trials, its...)
	}
	return r.store.CreateListed(r.index, at(r.index), &trellisv1.Study{Name: name, Fresh: fresh}, all, trials)
}

func (r *replayer) entry(kind string, args []string) *trellisv1.RecordCommand_Entry {
	study, run, attempt := args[0], args[1], r.attempt(args[2])
	switch kind {
	case "report":
		var losses []float64
		for _, loss := range strings.Split(args[4], ",") {
			losses = append(losses, r.loss(loss))
		}
		test := map[uint32]float64{}
		for _, pair := range strings.FieldsFunc(args[5], func(c rune) bool { return c == ',' }) {
			epoch, loss, _ := strings.Cut(pair, ":")
			test[uint32(r.number(epoch))] = r.loss(loss)
		}
		return columnEntry(study, run, attempt, uint32(r.number(args[3])), losses, losses, test)
	case "checkpoint":
		return checkpointEntry(study, run, attempt, uint32(r.number(args[3])), digest(args[4]))
	case "success":
		return successEntry(study, run, attempt, uint32(r.number(args[3])))
	case "complete":
		entry := successEntry(study, run, attempt, uint32(r.number(args[3])))
		entry.GetOutcome().GetSuccess().StopReason = trellisv1.StopReason_STOP_REASON_MAX_EPOCHS
		return entry
	case "failure":
		class := trellisv1.FailureClass(trellisv1.FailureClass_value["FAILURE_CLASS_"+strings.ToUpper(args[3])])
		return failureEntry(study, run, attempt, class, args[4])
	case "return":
		return returnEntry(study, run, attempt)
	}
	r.t.Fatalf("unknown command %s", kind)
	return nil
}

func (r *replayer) attempt(text string) uint64 {
	index, place, _ := strings.Cut(text, ".")
	return AttemptNumber(r.number(index), int(r.number(place)))
}

func (r *replayer) number(text string) uint64 {
	if text == "" {
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 64)
	ok(r.t, err)
	return n
}

func (r *replayer) loss(text string) float64 {
	loss, err := strconv.ParseFloat(text, 64)
	ok(r.t, err)
	return loss
}

func (r *replayer) show(name string) string {
	snapshot := r.store.Snapshot()
	study, err := snapshot.Study(nil, name)
	if err != nil {
		return err.Error() + "\n"
	}
	var out strings.Builder
	p := study.Progress
	fmt.Fprintf(&out, "%s %s, changed at %d; runs %d: %d running, %d succeeded, %d failed, %d canceled; epochs %d, %d left",
		name, lifecycle.Name(study.State), study.ModifyIndex,
		p.Runs, p.RunsRunning, p.RunsSucceeded, p.RunsFailed, p.RunsCanceled, p.Epochs, p.EpochsLeft)
	if p.EpochsShared > 0 {
		fmt.Fprintf(&out, "; %d of %v s shared, %d alone", p.EpochsShared, p.SecondsShared, p.EpochsAlone)
	}
	fmt.Fprintln(&out)
	runs, err := snapshot.RunsChangedSince(name, 0)
	ok(r.t, err)
	slices.SortFunc(runs, func(a, b *trellisv1.Run) int { return strings.Compare(a.Id, b.Id) })
	for _, run := range runs {
		fmt.Fprintf(&out, "  run %s %s after %d epochs, changed at %d", run.Id, lifecycle.Name(run.State), run.Epochs,
			run.ModifyIndex)
		if run.State == lifecycle.RunLeased {
			fmt.Fprintf(&out, ", attempt %d.%d on %s at epoch %d",
				run.Attempt/MaxGrants, run.Attempt%MaxGrants, run.Worker, run.AttemptEpochs)
		}
		if run.BestValidationLoss != nil {
			fmt.Fprintf(&out, ", best %v in epoch %d", *run.BestValidationLoss, run.BestEpoch)
		}
		if run.SharedFrom != "" {
			fmt.Fprintf(&out, ", %d epochs of %v s shared from %s", run.SharedEpochs, run.SharedSeconds, run.SharedFrom)
		}
		if run.Error != "" {
			fmt.Fprintf(&out, ", error: %s", run.Error)
		}
		fmt.Fprintln(&out)
	}
	list, err := snapshot.ListTrials(&trellisv1.ListTrialsRequest{Study: name})
	ok(r.t, err)
	for _, trial := range list.Trials {
		objective, test := math.NaN(), "-"
		if trial.Objective != nil {
			objective = *trial.Objective
		}
		if trial.TestLoss != nil {
			test = fmt.Sprint(*trial.TestLoss)
		}
		fmt.Fprintf(&out, "  trial %d of %s: %s, epochs %d/%d, objective %v in epoch %d, test %s\n", trial.Index,
			trial.Run,
			lifecycle.Name(trial.State), trial.Epochs, trial.Parameters.MaxEpochs, objective, trial.BestEpoch, test)
	}
	return out.String()
}

func (r *replayer) workers() string {
	workers, err := r.store.Snapshot().Workers(nil)
	ok(r.t, err)
	var out strings.Builder
	for _, worker := range workers {
		fmt.Fprintf(&out, "  %s %s, %d of %d slots, changed at %d\n",
			worker.Name, lifecycle.Name(worker.State), worker.Runs, worker.Slots, worker.ModifyIndex)
	}
	return out.String()
}
