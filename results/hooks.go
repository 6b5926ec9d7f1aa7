package results

import (
	"encoding/binary"
	"fmt"
	"iter"
	"slices"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/hook"
	"trellis/results/lifecycle"
	"trellis/results/listing"
	"trellis/results/trajectory"
)

// tableHooks has the hooks, and tableDeliveries what they have been told of last, and what they are still to be told of.
const (
	tableHooks      = "hooks"
	tableDeliveries = "deliveries"
)

func hooksSchema() *memdb.TableSchema { return tableSchema(tableHooks, index(indexID, hookKey)) }

func hookKey(h *trellisv1.Hook) key { return textKey(h.Name) }

func deliveriesSchema() *memdb.TableSchema {
	return tableSchema(tableDeliveries, index(indexID, func(d *trellisv1.Delivery) key {
		return deliveryKey(d.Hook, d.Number)
	}))
}

func deliveryKey(hook string, number uint64) key {
	return newKey(len(hook) + 9).text(hook).number(number)
}

// CreateHook stores a hook, with now as its create_time. It fails with ErrExists if another has the name, with ErrIllegalMove
// if there are too many, and with ErrInvalid if it is none.
func (s *Store) CreateHook(index uint64, now *timestamppb.Timestamp, given *trellisv1.Hook) error {
	c := s.begin(index, now)
	defer c.abort()
	if err := validHook(given); err != nil {
		return err
	}
	hooks, err := all[*trellisv1.Hook](c.reader, nil, tableHooks, indexID, nil)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(hooks, func(other *trellisv1.Hook) bool { return other.Name == given.Name }) {
		return fmt.Errorf("hook %q %w", given.Name, ErrExists)
	}
	if len(hooks) >= hook.Max {
		return fmt.Errorf("there are %d hooks, and can't be more: %w", len(hooks), ErrIllegalMove)
	}
	created := proto.CloneOf(given)
	created.CreateTime, created.CreateIndex = c.now, index
	if err := insert(c.txn, tableHooks, created); err != nil {
		return err
	}
	return c.commit()
}

func validHook(h *trellisv1.Hook) error {
	err := validName(h.GetName())
	if err == nil {
		err = hook.Check(h)
	}
	if err != nil {
		return fmt.Errorf("hook %q: %w: %w", h.GetName(), err, ErrInvalid)
	}
	return nil
}

// DeleteHook deletes a hook with its deliveries, or fails with ErrNotFound.
func (s *Store) DeleteHook(index uint64, name string) error {
	c := s.begin(index, nil)
	defer c.abort()
	h, err := c.hook(name)
	if err != nil {
		return err
	}
	if err := remove(c.txn, tableHooks, h); err != nil {
		return err
	}
	if _, err := c.txn.DeleteAll(tableDeliveries, indexID+"_prefix", textKey(name)); err != nil {
		return fmt.Errorf("delete from %s: %w", tableDeliveries, err)
	}
	return c.commit()
}

// RecordDeliveries stores what has become of attempts to deliver. What is about another delivery than a hook's next one
// changes nothing: somebody has recorded it already, or the hook is another one.
func (s *Store) RecordDeliveries(
	index uint64, now *timestamppb.Timestamp, attempts []*trellisv1.DeliveryAttempt,
) error {
	c := s.begin(index, now)
	defer c.abort()
	for _, attempt := range attempts {
		if err := c.recordDelivery(attempt); err != nil {
			return err
		}
	}
	return c.commit()
}

func (c *change) recordDelivery(attempt *trellisv1.DeliveryAttempt) error {
	h, err := c.hook(attempt.GetHook())
	if isNotFound(err) {
		return nil
	}
	if err != nil || h.CreateIndex != attempt.GetCreateIndex() || h.Done == h.Created || h.Done+1 != attempt.GetNumber() {
		return err
	}
	h = proto.CloneOf(h)
	its, err := c.delivery(h, attempt.GetNumber())
	if err != nil {
		return err
	}
	its = proto.CloneOf(its)
	its.Attempts++
	its.AttemptTime, its.Status, its.Error = attempt.GetTime(), attempt.GetStatus(), attempt.GetError()
	its.RetryTime = nil
	switch attempt.GetState() {
	case trellisv1.DeliveryState_DELIVERY_STATE_WAITING:
		its.RetryTime = attempt.GetRetryTime()
		err = insert(c.txn, tableDeliveries, its)
	case trellisv1.DeliveryState_DELIVERY_STATE_DELIVERED, trellisv1.DeliveryState_DELIVERY_STATE_GIVEN_UP:
		its.State = attempt.GetState()
		err = c.deliveryIsDone(h, its)
	default:
		err = fmt.Errorf("a delivery that is %v: %w", attempt.GetState(), ErrInvalid)
	}
	if attempt.GetGone() {
		h.DisableTime = c.now
		for err == nil && h.Done < h.Created {
			err = c.endDelivery(h, trellisv1.DeliveryState_DELIVERY_STATE_GIVEN_UP)
		}
	}
	if err != nil {
		return err
	}
	return insert(c.txn, tableHooks, h)
}

// endDelivery ends the next delivery of a hook without an attempt. The change owns the hook.
func (c *change) endDelivery(h *trellisv1.Hook, state trellisv1.DeliveryState) error {
	its, err := c.delivery(h, h.Done+1)
	if err != nil {
		return err
	}
	its = proto.CloneOf(its)
	its.State, its.RetryTime = state, nil
	return c.deliveryIsDone(h, its)
}

// deliveryIsDone stores the next delivery of a hook, which is done, and forgets the oldest one.
func (c *change) deliveryIsDone(h *trellisv1.Hook, its *trellisv1.Delivery) error {
	h.Done = its.Number
	if err := insert(c.txn, tableDeliveries, its); err != nil || h.Done <= hook.MaxDone {
		return err
	}
	if _, err := c.txn.DeleteAll(tableDeliveries, indexID, deliveryKey(h.Name, h.Done-hook.MaxDone)); err != nil {
		return fmt.Errorf("delete from %s: %w", tableDeliveries, err)
	}
	return nil
}

// announce adds what has happened in this change to what hooks are to be told of. It is the last thing before the commit.
func (c *change) announce() error {
	hooks, err := all[*trellisv1.Hook](c.reader, nil, tableHooks, indexID, nil)
	if err != nil || len(hooks) == 0 {
		return err
	}
	events, err := c.happened()
	if err != nil || len(events) == 0 {
		return err
	}
	for _, h := range hooks {
		var changed *trellisv1.Hook
		for _, event := range events {
			if !hook.Wants(h, event) {
				continue
			}
			if changed == nil {
				changed = proto.CloneOf(h)
			}
			if changed.Created-changed.Done >= hook.MaxWaiting {
				if err := c.endDelivery(changed, trellisv1.DeliveryState_DELIVERY_STATE_DROPPED); err != nil {
					return err
				}
			}
			changed.Created++
			if err := insert(c.txn, tableDeliveries, &trellisv1.Delivery{
				Hook: h.Name, Number: changed.Created, Event: event,
				State: trellisv1.DeliveryState_DELIVERY_STATE_WAITING,
			}); err != nil {
				return err
			}
		}
		if changed != nil {
			if err := insert(c.txn, tableHooks, changed); err != nil {
				return err
			}
		}
	}
	return nil
}

// happened returns the events of this change: what happened to runs first, and then to workers and studies.
func (c *change) happened() (events []*trellisv1.HookEvent, err error) {
	add := func(kind string, data *trellisv1.HookEventData) {
		events = append(events, &trellisv1.HookEvent{
			Id: hook.ID(c.index, c.now.AsTime(), len(events)), Type: kind, Timestamp: c.now, Data: data,
		})
	}
	for _, section := range c.sections.inOrder {
		if section.after == nil {
			continue
		}
		for slot, member := range section.after.members {
			if member == nil || member.Run.State != lifecycle.RunFailed || !section.changed(slot) {
				continue
			}
			// A run that waits fails with others: those are told of.
			if before := section.stored(slot); before != nil && before.Run.State == lifecycle.RunLeased {
				add(hook.RunFailed, &trellisv1.HookEventData{Run: hook.Run(member.Run)})
			}
		}
	}
	for _, worker := range c.workers.rows {
		if worker.before.GetState() != worker.after.State && worker.after.State == lifecycle.WorkerLost {
			add(hook.WorkerLost, &trellisv1.HookEventData{Worker: hook.Worker(worker.after)})
		}
	}
	for _, study := range c.studies.rows {
		if !lifecycle.StudyEnded(study.after.State) || lifecycle.StudyEnded(study.before.GetState()) {
			continue
		}
		data, err := c.endedStudy(study.after)
		if err != nil {
			return nil, err
		}
		add(hook.StudyEnded, data)
	}
	return events, nil
}

// endedStudy returns what hooks are told of a study that has ended in this change: as the API shows it.
func (c *change) endedStudy(study *trellisv1.Study) (*trellisv1.HookEventData, error) {
	diverged, err := c.countDiverged(study)
	if err != nil {
		return nil, err
	}
	its := hook.Study(study)
	its.Progress = copyProgress(its.Progress)
	its.Progress.TrialsDiverged = diverged
	its.Progress.TrialsSucceeded -= diverged
	data := &trellisv1.HookEventData{Study: its}
	ranked, err := c.ranked(nil, study.Name, listing.Key{})
	if err != nil {
		return nil, err
	}
	for trial := range ranked {
		if best := trajectory.Presented(trial); best.State == lifecycle.TrialSucceeded {
			data.Best = best
		}
		break
	}
	return data, nil
}

// hook returns a hook, or ErrNotFound.
func (r reader) hook(name string) (*trellisv1.Hook, error) {
	h, err := first[*trellisv1.Hook](r, nil, tableHooks, indexID, textKey(name))
	if err == nil && h == nil {
		err = fmt.Errorf("hook %q %w", name, ErrNotFound)
	}
	return h, err
}

func (r reader) delivery(h *trellisv1.Hook, number uint64) (*trellisv1.Delivery, error) {
	its, err := first[*trellisv1.Delivery](r, nil, tableDeliveries, indexID, deliveryKey(h.Name, number))
	if err == nil && its == nil {
		err = fmt.Errorf("delivery %d of hook %q %w", number, h.Name, ErrNotFound)
	}
	return its, err
}

// Hook returns a hook, or ErrNotFound.
func (s *Snapshot) Hook(name string) (*trellisv1.Hook, error) { return s.hook(name) }

// Hooks returns all hooks, by name. The watch set fires when one of them has something else to be told of, too.
func (s *Snapshot) Hooks(ws memdb.WatchSet) ([]*trellisv1.Hook, error) {
	return all[*trellisv1.Hook](s.reader, ws, tableHooks, indexID, nil)
}

// Delivery returns one of a hook's deliveries, or ErrNotFound.
func (s *Snapshot) Delivery(h *trellisv1.Hook, number uint64) (*trellisv1.Delivery, error) {
	return s.delivery(h, number)
}

// NextDelivery returns what a hook is to be told of next, nil if nothing waits.
func (s *Snapshot) NextDelivery(h *trellisv1.Hook) (*trellisv1.Delivery, error) {
	if h.GetDone() == h.GetCreated() {
		return nil, nil
	}
	return s.delivery(h, h.GetDone()+1)
}

// ListDeliveries returns a page of a hook's deliveries, newest first. It fails with ErrNotFound, and with ErrInvalid if the
// page token is invalid.
func (s *Snapshot) ListDeliveries(request *trellisv1.ListDeliveriesRequest) (*trellisv1.ListDeliveriesResponse, error) {
	h, err := s.hook(request.GetHook())
	if err != nil {
		return nil, err
	}
	mark := listing.MarkDeliveries(h.Name)
	from, err := listing.DecodeToken(mark, request.GetPageToken())
	if err != nil {
		return nil, err
	}
	number := h.Created
	if len(from) == 8 {
		number = min(number, binary.BigEndian.Uint64(from))
	}
	response := &trellisv1.ListDeliveriesResponse{}
	left := listing.Room(listing.MaxPageBytes)
	for ; number > h.Done-min(h.Done, hook.MaxDone); number-- {
		its, err := s.delivery(h, number)
		if err != nil {
			return nil, err
		}
		if len(response.Deliveries) == listing.PageSize(request.GetPageSize()) || !left.Take(its) {
			response.NextPageToken = listing.EncodeToken(mark, newKey(8).number(number))
			break
		}
		response.Deliveries = append(response.Deliveries, its)
	}
	return response, nil
}

func hookRows(r reader) (iter.Seq2[proto.Message, error], error) {
	return rowsOf[*trellisv1.Hook](scan[*trellisv1.Hook](r, nil, tableHooks, indexID, nil))
}

func deliveryRows(r reader) (iter.Seq2[proto.Message, error], error) {
	return rowsOf[*trellisv1.Delivery](scan[*trellisv1.Delivery](r, nil, tableDeliveries, indexID, nil))
}

func (r *restorer) hook(h *trellisv1.Hook) error {
	if err := validHook(h); err != nil {
		return corrupt(err)
	}
	if err := r.follows(hookKey(h)); err != nil {
		return err
	}
	if h.Done > h.Created {
		return fmt.Errorf("of %d events of hook %q, %d are done: %w", h.Created, h.Name, h.Done, ErrCorrupt)
	}
	r.hooks = append(r.hooks, h)
	r.told[h.Name] = h.Done - min(h.Done, hook.MaxDone)
	return insert(r.txn, tableHooks, h)
}

// delivery adds a delivery. Those of a hook are the last ones that are done, and all that wait.
func (r *restorer) delivery(d *trellisv1.Delivery) error {
	last, known := r.told[d.Hook]
	if !known || d.Number != last+1 || d.Event == nil {
		return fmt.Errorf("delivery %d of hook %q is out of order: %w", d.Number, d.Hook, ErrCorrupt)
	}
	if err := r.follows(deliveryKey(d.Hook, d.Number)); err != nil {
		return err
	}
	r.told[d.Hook] = d.Number
	return insert(r.txn, tableDeliveries, d)
}

// toldAll checks that no delivery is missing.
func (r *restorer) toldAll() error {
	for _, h := range r.hooks {
		if last := r.told[h.Name]; last != h.Created {
			return fmt.Errorf("hook %q has %d deliveries, of %d: %w", h.Name, last, h.Created, ErrCorrupt)
		}
	}
	return nil
}
