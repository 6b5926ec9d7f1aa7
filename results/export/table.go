package export

import (
	"iter"
	"slices"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/results/lifecycle"
)

// Table is rows under columns.
type Table struct {
	Columns []Column
	// Rows yields the cells of each row, which are valid until the next one.
	Rows iter.Seq2[[]Cell, error]
}

// field is a column with its value of a row.
type field struct {
	Column
	of func(Row) Cell
}

// fieldsOfTrials are the columns of the trials' table. A parameter or a metric whose name another column has gets a
// prefix.
func (s *Spool) fieldsOfTrials() []field {
	first := []field{
		{Column{"study", Text}, func(r Row) Cell { return textCell(r.Trial.GetStudy()) }},
		{Column{"trial", Integer}, func(r Row) Cell { return integerCell(r.Trial.GetIndex()) }},
		{Column{"state", Text}, func(r Row) Cell { return textCell(lifecycle.Name(r.Trial.GetState())) }},
	}
	result := []field{
		{Column{grid.Seed, Integer}, func(r Row) Cell { return integerCell(r.Trial.GetParameters().GetSeed()) }},
		{Column{"objective", Number}, func(r Row) Cell { return optionalCell(r.Trial.Objective) }},
		{Column{"best_epoch", Integer}, func(r Row) Cell { return positive(r.Trial.GetBestEpoch()) }},
		{Column{"epochs", Integer}, func(r Row) Cell { return integerCell(r.Trial.GetEpochs()) }},
		{Column{"stop_reason", Text}, func(r Row) Cell { return textCell(StopReason(r)) }},
	}
	if s.HasLosses() {
		result = append(result, field{Column{"test_loss", Number}, func(r Row) Cell {
			return optionalCell(r.Trial.TestLoss)
		}})
	}
	last := []field{
		{Column{"run", Text}, func(r Row) Cell { return textCell(r.Trial.GetRun()) }},
		{Column{"worker", Text}, func(r Row) Cell { return textCell(Worker(r)) }},
		{Column{"attempts", Integer}, func(r Row) Cell { return integerCell(attempts(r)) }},
		{Column{"run_seconds", Number}, func(r Row) Cell { return seconds(r) }},
		{Column{"shared_from", Text}, func(r Row) Cell { return textCell(r.Run.GetSharedFrom()) }},
		{Column{"error", Text}, func(r Row) Cell { return textCell(r.Trial.GetError()) }},
	}
	taken := map[string]bool{}
	for _, f := range slices.Concat(first, result, last) {
		taken[f.Name] = true
	}
	var parameters, metrics []field
	for _, its := range s.Parameters() {
		parameters = append(parameters, field{Column{free(taken, "parameter_", its.Name), its.Kind}, func(r Row) Cell {
			return parameterCell(grid.Value(r.Trial.GetParameters(), its.Name), its.Kind)
		}})
	}
	for _, name := range s.Metrics() {
		metrics = append(metrics, field{Column{free(taken, "metric_", name), Number}, func(r Row) Cell {
			return inMap(r.Trial.GetMetrics(), name)
		}})
	}
	for _, name := range s.TestMetrics() {
		metrics = append(metrics, field{Column{free(taken, "metric_", "test_"+name), Number}, func(r Row) Cell {
			return inMap(r.Trial.GetTestMetrics(), name)
		}})
	}
	return slices.Concat(first, parameters, result, metrics, last)
}

// free is a name that no column has, if need be with prefixes, and takes it.
func free(taken map[string]bool, prefix, name string) string {
	for taken[name] {
		name = prefix + name
	}
	taken[name] = true
	return name
}

// positive is a number that counts from 1, or no value.
func positive(value uint32) Cell {
	cell := integerCell(value)
	cell.known = value > 0
	return cell
}

// StopReason says why a trial ended that has its result: "max_epochs", "early_stopping" or "diverged"; empty if it is
// not known. A trial of fewer epochs than its run has ended at its own maximum.
func StopReason(r Row) string {
	switch trial := r.Trial; {
	case trial.GetState() != lifecycle.TrialSucceeded && trial.GetState() != lifecycle.TrialDiverged || r.Run == nil:
		return ""
	case trial.GetEpochs() < r.Run.GetEpochs():
		return reason(trellisv1.StopReason_STOP_REASON_MAX_EPOCHS)
	}
	return reason(r.Run.GetStopReason())
}

func reason(its trellisv1.StopReason) string {
	if its == trellisv1.StopReason_STOP_REASON_UNSPECIFIED {
		return ""
	}
	return strings.ToLower(strings.TrimPrefix(its.String(), "STOP_REASON_"))
}

// Worker is who trained a trial's last epoch, or holds its run; empty if it is not known.
func Worker(r Row) string {
	worker := r.Run.GetWorker()
	for _, training := range r.Run.GetTrainings() {
		if training.GetAfter() < r.Trial.GetEpochs() {
			worker = training.GetWorker()
		}
	}
	return worker
}

// attempts is how many of a run were begun, as far as they are known.
func attempts(r Row) uint32 {
	attempts := map[uint64]bool{}
	for _, training := range r.Run.GetTrainings() {
		attempts[training.GetAttempt()] = true
	}
	for _, failure := range r.Run.GetFailures() {
		attempts[failure.GetAttempt()] = true
	}
	if r.Run.GetState() == lifecycle.RunLeased {
		attempts[r.Run.GetAttempt()] = true
	}
	return uint32(len(attempts))
}

// seconds is the worker time of the trial's run, in this study and in others.
func seconds(r Row) Cell {
	if r.Run == nil {
		return Cell{}
	}
	return numberCell(r.Run.GetTrainingSeconds() + r.Run.GetSharedSeconds())
}

// TrialTable has one row for each trial.
func (s *Spool) TrialTable() Table {
	fields := s.fieldsOfTrials()
	table := Table{}
	for _, f := range fields {
		table.Columns = append(table.Columns, f.Column)
	}
	table.Rows = func(yield func([]Cell, error) bool) {
		cells := make([]Cell, len(fields))
		for row, err := range s.Rows() {
			if err != nil {
				yield(nil, err)
				return
			}
			for i, f := range fields {
				cells[i] = f.of(row)
			}
			if !yield(cells, nil) {
				return
			}
		}
	}
	return table
}

// EpochTable has one row for each epoch of each trial.
func (s *Spool) EpochTable() Table {
	table := Table{Columns: []Column{{"study", Text}, {"trial", Integer}, {"run", Text}, {"epoch", Integer}}}
	taken := map[string]bool{}
	if s.HasLosses() {
		table.Columns = append(table.Columns, Column{"train_loss", Number}, Column{"validation_loss", Number})
	}
	for _, column := range table.Columns {
		taken[column.Name] = true
	}
	metrics := s.ByEpoch()
	for _, name := range metrics {
		table.Columns = append(table.Columns, Column{free(taken, "metric_", name), Number})
	}
	table.Rows = func(yield func([]Cell, error) bool) {
		cells := make([]Cell, len(table.Columns))
		for row, err := range s.Rows() {
			if err != nil {
				yield(nil, err)
				return
			}
			cells[0], cells[1], cells[2] = textCell(row.Trial.GetStudy()), integerCell(row.Trial.GetIndex()),
				textCell(row.Trial.GetRun())
			values := ValuesOf(row.Trial, s.HasLosses(), metrics)
			for epoch := range row.Trial.GetEpochs() {
				cells[3] = integerCell(epoch + 1)
				for i := range values {
					cells[4+i] = Cell{}
					if value, ok := values[i].At(epoch); ok {
						cells[4+i] = numberCell(value)
					}
				}
				if !yield(cells, nil) {
					return
				}
			}
		}
	}
	return table
}
