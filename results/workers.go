package results

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/lifecycle"
	"trellis/results/listing"
	"trellis/results/resources"
	"trellis/results/trajectory"
)

// MaxEndedWorkers is how many LOST and GONE workers the store remembers. Beyond that, it forgets those that are GONE
// before those that are LOST, whose processes may come back and need their names, and of each those that ended first. By
// rules before trajectory.CountAudits, it forgets those that ended first, whatever they are.
const MaxEndedWorkers = 1000

// tableWorkers has the workers.
const tableWorkers = "workers"

func workersSchema() *memdb.TableSchema {
	return tableSchema(tableWorkers,
		index(indexID, workerKey),
		index(indexReady, func(w *trellisv1.Worker) key {
			if w.State != lifecycle.WorkerReady {
				return nil
			}
			return readyKey(newKey(len(w.Study)+len(w.Name)+3).text(w.Study), w)
		}),
		&memdb.IndexSchema{Name: indexLabeled, AllowMissing: true, Unique: true, Indexer: labelIndexer{}},
		index(indexEnded, func(w *trellisv1.Worker) key {
			if w.State != lifecycle.WorkerLost && w.State != lifecycle.WorkerGone {
				return nil
			}
			return newKey(len(w.Name) + 9).number(w.ModifyIndex).text(w.Name)
		}),
	)
}

func workerKey(w *trellisv1.Worker) key { return textKey(w.Name) }

// readyKey sorts READY workers that have the same before: those with free slots first, then by name.
func readyKey(k key, w *trellisv1.Worker) key {
	free := byte(0)
	if w.Runs >= w.Slots {
		free = 1
	}
	return append(k, free).text(w.Name)
}

// labelIndexer has a key for each label of a READY worker that is there for all studies.
type labelIndexer struct{ indexer[*trellisv1.Worker] }

var _ memdb.MultiIndexer = labelIndexer{}

func (labelIndexer) FromObject(raw any) (bool, [][]byte, error) {
	w, ok := raw.(*trellisv1.Worker)
	if !ok {
		return false, nil, fmt.Errorf("a %T is in the wrong table", raw)
	}
	if w.State != lifecycle.WorkerReady || w.Study != "" || len(w.Labels) == 0 {
		return false, nil, nil
	}
	keys := make([][]byte, 0, len(w.Labels))
	for _, name := range slices.Sorted(maps.Keys(w.Labels)) {
		keys = append(keys, readyKey(labelKey(name, w.Labels[name]), w))
	}
	return true, keys, nil
}

// labelKey is what the keys of workers with a label begin with.
func labelKey(name, value string) key { return textKey(strings.ReplaceAll(name+"="+value, "\x00", "")) }

// SetWorker registers a worker or changes its state. READY and DRAINING register a worker that is unknown or LOST. A
// worker that registers, or reports again that it is READY, sets its slots, version, processor, machine, capacity, labels,
// study and lease. A
// DRAINING worker keeps the runs that it holds. A worker that has a key registers with the same key and principal only; others
// fail with ErrNotOwner. LOST returns them to the queue and charges them to their budgets as WORKER_LOST,
// judged by the given rules.
// GONE returns them without a charge. A worker that already is LOST or GONE stays as it is. Other moves fail with
// ErrIllegalMove, and those of an unknown worker with ErrNotFound. A worker without a name or slots fails with
// ErrInvalid.
func (s *Store) SetWorker(
	index uint64, now *timestamppb.Timestamp, rules trajectory.Rules, worker *trellisv1.Worker,
) error {
	c := s.begin(index, now)
	defer c.abort()
	c.rules = rules
	if err := c.setWorker(worker); err != nil {
		return fmt.Errorf("change worker %q: %w", worker.GetName(), err)
	}
	return c.commit()
}

// workerEvents are the events that lead to a worker's states.
var workerEvents = map[trellisv1.WorkerState]string{
	lifecycle.WorkerReady:    lifecycle.Register,
	lifecycle.WorkerDraining: lifecycle.Drain,
	lifecycle.WorkerLost:     lifecycle.Lose,
	lifecycle.WorkerGone:     lifecycle.Dismiss,
}

func (c *change) setWorker(change *trellisv1.Worker) error {
	event, known := workerEvents[change.GetState()]
	if !known {
		return fmt.Errorf("set a worker to %s: %w", lifecycle.Name(change.GetState()), ErrInvalid)
	}
	worker, err := c.workers.get(textKey(change.GetName()))
	if isNotFound(err) && (event == lifecycle.Register || event == lifecycle.Drain) {
		return c.addWorker(change)
	}
	if err != nil {
		return err
	}
	ended := event == lifecycle.Lose || event == lifecycle.Dismiss
	if !ended && worker.Key != nil && !(bytes.Equal(worker.Key, change.GetKey()) &&
		proto.Equal(worker.Principal, change.GetPrincipal())) {
		return ErrNotOwner
	}
	if ended && worker.State == change.GetState() {
		return nil
	}
	to, err := lifecycle.Worker.Next(worker.State, event)
	if err != nil {
		return err
	}
	if event == lifecycle.Register || worker.State == lifecycle.WorkerLost {
		if worker, err = c.describeWorker(worker, change); err != nil {
			return err
		}
	}
	if worker.State == to {
		return nil
	}
	worker = c.workers.edit(worker)
	worker.State, worker.UpdateTime = to, c.now
	if !ended {
		return nil
	}
	if err := c.takeRuns(worker.Name, event); err != nil {
		return err
	}
	return c.forgetWorkers()
}

func (c *change) addWorker(worker *trellisv1.Worker) error {
	if err := validName(worker.GetName()); err != nil {
		return err
	}
	added := &trellisv1.Worker{
		Name: strings.Clone(worker.GetName()), State: worker.GetState(), CreateTime: c.now, UpdateTime: c.now,
	}
	c.workers.add(added)
	_, err := c.describeWorker(added, worker)
	return err
}

// describeWorker updates a worker's description if it has changed.
func (c *change) describeWorker(worker, description *trellisv1.Worker) (*trellisv1.Worker, error) {
	slots, version, processor := description.GetSlots(), description.GetVersion(), description.GetProcessor()
	machine, lease := description.GetMachine(), description.GetLeaseMilliseconds()
	capacity, labels, study := description.GetCapacity(), description.GetLabels(), description.GetStudy()
	if slots == 0 {
		return nil, fmt.Errorf("invalid number of slots: must be at least 1: %w", ErrInvalid)
	}
	if worker.Slots == slots && worker.Version == version && worker.Processor == processor && worker.Machine == machine &&
		bytes.Equal(worker.Key, description.GetKey()) && worker.LeaseMilliseconds == lease &&
		proto.Equal(worker.Capacity, capacity) && maps.Equal(worker.Labels, labels) && worker.Study == study {
		return worker, nil
	}
	worker = c.workers.edit(worker)
	worker.Slots, worker.Version, worker.Processor = slots, strings.Clone(version), strings.Clone(processor)
	worker.Machine = strings.Clone(machine)
	worker.Key, worker.Principal = bytes.Clone(description.GetKey()), proto.CloneOf(description.GetPrincipal())
	worker.LeaseMilliseconds, worker.Capacity = lease, proto.CloneOf(capacity)
	worker.Labels, worker.Study = maps.Clone(labels), strings.Clone(study)
	return worker, nil
}

// takeRuns takes all runs from a worker that it holds.
func (c *change) takeRuns(worker, event string) error {
	held, err := c.heldBy(nil, worker)
	if err != nil {
		return err
	}
	for _, lease := range held {
		run, err := c.leased(lease.study, lease.run, lease.attempt)
		if err != nil {
			return err
		}
		if event == lifecycle.Dismiss {
			run.endAttempt(lifecycle.Release)
			continue
		}
		if err := c.failAttempt(run, trellisv1.FailureClass_FAILURE_CLASS_WORKER_LOST, ""); err != nil {
			return err
		}
	}
	return nil
}

// forgetWorkers makes room for one more worker that has ended.
func (c *change) forgetWorkers() error {
	ended, err := all[*trellisv1.Worker](c.reader, nil, tableWorkers, indexEnded, nil)
	if err != nil {
		return err
	}
	if c.rules >= trajectory.CountAudits && len(ended) >= MaxEndedWorkers {
		slices.SortStableFunc(ended, func(a, b *trellisv1.Worker) int {
			return cmp.Compare(b.State, a.State)
		})
	}
	for len(ended) >= MaxEndedWorkers {
		if err := c.txn.Delete(tableWorkers, ended[0]); err != nil {
			return fmt.Errorf("delete from %s: %w", tableWorkers, err)
		}
		ended = ended[1:]
	}
	return nil
}

// Worker returns a worker, or ErrNotFound.
func (s *Snapshot) Worker(ws memdb.WatchSet, name string) (*trellisv1.Worker, error) {
	worker, err := first[*trellisv1.Worker](s.reader, ws, tableWorkers, indexID, textKey(name))
	if err == nil && worker == nil {
		err = ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("worker %q: %w", name, err)
	}
	return worker, nil
}

// Workers returns all workers, by name.
func (s *Snapshot) Workers(ws memdb.WatchSet) ([]*trellisv1.Worker, error) {
	return all[*trellisv1.Worker](s.reader, ws, tableWorkers, indexID, nil)
}

// ReadyWorkers returns the READY workers by name, whether or not they have free slots.
func (s *Snapshot) ReadyWorkers() ([]*trellisv1.Worker, error) {
	workers, err := s.Workers(nil)
	return slices.DeleteFunc(workers, func(w *trellisv1.Worker) bool { return w.State != lifecycle.WorkerReady }), err
}

// readyWorkers are those of the change.
func (c *change) readyWorkers() (iter.Seq[*trellisv1.Worker], error) {
	rows, err := scan[*trellisv1.Worker](c.reader, nil, tableWorkers, indexID, nil)
	if err != nil {
		return nil, err
	}
	return func(yield func(*trellisv1.Worker) bool) {
		for row := range rows {
			if i, edited := c.workers.byKey[string(workerKey(row))]; edited {
				row = c.workers.rows[i].after
			}
			if row.State == lifecycle.WorkerReady && !yield(row) {
				return
			}
		}
	}, nil
}

// readyWorkersFor are those that may be given runs of a study.
func (c *change) readyWorkersFor(study string) (iter.Seq[*trellisv1.Worker], error) {
	its, err := c.studies.get(textKey(study))
	if err != nil {
		return nil, err
	}
	ready, err := c.readyWorkers()
	if err != nil {
		return nil, err
	}
	need := resources.Of(its)
	return func(yield func(*trellisv1.Worker) bool) {
		for worker := range ready {
			if need.Serves(worker) && (need.Program || need.Suits(worker)) && !yield(worker) {
				return
			}
		}
	}, nil
}

// FreeWorkers returns the READY workers with free slots, by the study that they are there for alone, and by name. The watch set
// fires when the result may have changed.
func (s *Snapshot) FreeWorkers(ws memdb.WatchSet) ([]*trellisv1.Worker, error) {
	ready, err := all[*trellisv1.Worker](s.reader, ws, tableWorkers, indexReady, nil)
	return slices.DeleteFunc(ready, func(w *trellisv1.Worker) bool { return w.Runs >= w.Slots }), err
}

// FreeWorkersOf returns the READY workers with free slots that are there for a study alone, by name. Those of no study are
// there for all.
func (s *Snapshot) FreeWorkersOf(study string) ([]*trellisv1.Worker, error) {
	return all[*trellisv1.Worker](s.reader, nil, tableWorkers, indexReady, append(textKey(study), 0))
}

// FreeWorkersWith returns the READY workers with free slots that are there for all studies and have labels, of which there must
// be some, by name.
func (s *Snapshot) FreeWorkersWith(labels map[string]string) ([]*trellisv1.Worker, error) {
	with, err := s.withLabels(labels, 0)
	if err != nil {
		return nil, err
	}
	workers := slices.SortedFunc(with, func(a, b *trellisv1.Worker) int { return cmp.Compare(a.Name, b.Name) })
	return slices.Compact(workers), nil
}

// withLabels returns the READY workers that are there for all studies and have labels, some of them several times. Their keys
// begin with the label and the rest. It looks at as many of each label as the rarest of them has.
func (s *Snapshot) withLabels(labels map[string]string, rest ...byte) (iter.Seq[*trellisv1.Worker], error) {
	var having []memdb.ResultIterator
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		rows, err := s.txn.Get(tableWorkers, indexLabeled+"_prefix", append(labelKey(name, labels[name]), rest...))
		if err != nil {
			return nil, fmt.Errorf("scan %s by %s: %w", tableWorkers, indexLabeled, err)
		}
		having = append(having, rows)
	}
	need := resources.Need{Labels: labels}
	return func(yield func(*trellisv1.Worker) bool) {
		for i := 0; ; i++ {
			raw := having[i%len(having)].Next()
			if raw == nil {
				return
			}
			if worker := raw.(*trellisv1.Worker); need.Serves(worker) && !yield(worker) {
				return
			}
		}
	}, nil
}

// OwnersOfWorkers returns the studies that READY workers with free slots are there for alone. It looks at one worker of each study.
func (s *Snapshot) OwnersOfWorkers() (studies []string, err error) {
	from := key{1} // Beyond the workers that are there for all.
	for {
		rows, err := scanFrom[*trellisv1.Worker](s.reader, tableWorkers, indexReady, from)
		if err != nil {
			return nil, err
		}
		var one *trellisv1.Worker
		for one = range rows {
			break
		}
		if one == nil {
			return studies, nil
		}
		if one.Runs < one.Slots {
			studies = append(studies, one.Study)
		}
		from = append(textKey(one.Study), 2) // Beyond all workers of the study.
	}
}

// AwaitedWorker says what the runs of a study would wait for, even if all workers were idle: nil if one of those that are
// READY could train them. It looks only at workers with the study's labels, until it finds one.
func (s *Snapshot) AwaitedWorker(study *trellisv1.Study) (*trellisv1.WaitingFor, error) {
	spec, need := study.GetSpec(), resources.Of(study)
	own, err := scan[*trellisv1.Worker](s.reader, nil, tableWorkers, indexReady, textKey(spec.GetName()))
	if err != nil {
		return nil, err
	}
	shared, err := scan[*trellisv1.Worker](s.reader, nil, tableWorkers, indexReady, textKey(""))
	if labels := spec.GetWorkers(); err == nil && len(labels) > 0 {
		shared, err = s.withLabels(labels)
	}
	if err != nil {
		return nil, err
	}
	anyone, err := scan[*trellisv1.Worker](s.reader, nil, tableWorkers, indexReady, nil)
	if err != nil {
		return nil, err
	}
	largest := uint64(0)
	reason := resources.Missing(need, func(yield func(*trellisv1.Worker) bool) {
		for _, workers := range []iter.Seq[*trellisv1.Worker]{own, shared} {
			for worker := range workers {
				if need.Serves(worker) {
					largest = max(largest, worker.GetCapacity().GetMemory())
				}
				if !yield(worker) {
					return
				}
			}
		}
		// Whether there is any worker makes a difference.
		for worker := range anyone {
			yield(worker)
			return
		}
	})
	if reason == 0 {
		return nil, nil
	}
	why := &trellisv1.WaitingFor{Reason: reason}
	if reason == trellisv1.WaitingReason_WAITING_REASON_TOO_LARGE && !need.Program {
		why.Memory, why.LargestMemory = need.Memory+need.Data, largest
	}
	return why, nil
}

// ListWorkers returns a page of the workers, by name. It fails with ErrInvalid if the page token is invalid.
func (s *Snapshot) ListWorkers(request *trellisv1.ListWorkersRequest) (*trellisv1.ListWorkersResponse, error) {
	from, err := listing.DecodeToken(listing.MarkWorkers, request.GetPageToken())
	if err != nil {
		return nil, err
	}
	workers, err := scanFrom[*trellisv1.Worker](s.reader, tableWorkers, indexID, from)
	if err != nil {
		return nil, err
	}
	response := &trellisv1.ListWorkersResponse{}
	size := listing.PageSize(request.GetPageSize())
	for worker := range workers {
		if len(response.Workers) == size {
			response.NextPageToken = listing.EncodeToken(listing.MarkWorkers, workerKey(worker))
			break
		}
		response.Workers = append(response.Workers, worker)
	}
	return response, nil
}

func copyWorker(w *trellisv1.Worker) *trellisv1.Worker {
	return &trellisv1.Worker{
		Name: w.Name, State: w.State, Slots: w.Slots, Runs: w.Runs, Version: w.Version, Processor: w.Processor,
		CreateTime: w.CreateTime, UpdateTime: w.UpdateTime, ModifyIndex: w.ModifyIndex, Machine: w.Machine,
		Avoided: w.Avoided, Key: w.Key, Principal: w.Principal, Wrong: w.Wrong,
		LeaseMilliseconds: w.LeaseMilliseconds, Capacity: w.Capacity, Labels: w.Labels, Study: w.Study,
	}
}
