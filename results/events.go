package results

import (
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/listing"
)

// MaxEvents is how many events the store remembers. Beyond that, it forgets the oldest.
const MaxEvents = 10_000

// tableEvents has the newest events.
const tableEvents = "events"

func eventsSchema() *memdb.TableSchema { return tableSchema(tableEvents, index(indexID, eventKey)) }

func eventKey(e *trellisv1.Event) key { return numberKey(e.Number) }

func numberKey(number uint64) key { return newKey(8).number(number) }

// AddEvent stores who has asked for the command at the given log index: principal, address, method and subject.
func (s *Store) AddEvent(index uint64, now *timestamppb.Timestamp, event *trellisv1.Event) error {
	c := s.begin(index, now)
	defer c.abort()
	last, err := c.lastEvent()
	if err != nil {
		return err
	}
	event = proto.CloneOf(event)
	event.Index, event.Time, event.Number = index, c.now, last.GetNumber()+1
	if err := insert(c.txn, tableEvents, event); err != nil {
		return err
	}
	if event.Number > MaxEvents {
		if _, err := c.txn.DeleteAll(tableEvents, indexID, numberKey(event.Number-MaxEvents)); err != nil {
			return fmt.Errorf("delete from %s: %w", tableEvents, err)
		}
	}
	return c.commit()
}

// lastEvent returns the newest event, nil if there is none.
func (r reader) lastEvent() (*trellisv1.Event, error) {
	raw, err := r.txn.Last(tableEvents, indexID)
	if err != nil {
		return nil, fmt.Errorf("find the last of %s: %w", tableEvents, err)
	}
	if raw == nil {
		return nil, nil
	}
	return raw.(*trellisv1.Event), nil
}

// ListEvents returns a page of the events, newest first. It fails with ErrInvalid if the page token is invalid.
func (s *Snapshot) ListEvents(request *trellisv1.ListEventsRequest) (*trellisv1.ListEventsResponse, error) {
	from, err := listing.DecodeToken(listing.MarkEvents, request.GetPageToken())
	if err != nil {
		return nil, err
	}
	last, err := s.lastEvent()
	if err != nil {
		return nil, err
	}
	number := last.GetNumber()
	if len(from) == 8 {
		number = min(number, binary.BigEndian.Uint64(from))
	}
	response := &trellisv1.ListEventsResponse{}
	size := listing.PageSize(request.GetPageSize())
	for ; number > 0; number-- {
		event, err := first[*trellisv1.Event](s.reader, nil, tableEvents, indexID, numberKey(number))
		if err != nil {
			return nil, err
		}
		if event == nil {
			break
		}
		if len(response.Events) == size {
			response.NextPageToken = listing.EncodeToken(listing.MarkEvents, eventKey(event))
			break
		}
		response.Events = append(response.Events, event)
	}
	return response, nil
}

func eventRows(r reader) (iter.Seq2[proto.Message, error], error) {
	return rowsOf[*trellisv1.Event](scan[*trellisv1.Event](r, nil, tableEvents, indexID, nil))
}

func (r *restorer) event(event *trellisv1.Event) error {
	if event.Number == 0 || r.key != nil && binary.BigEndian.Uint64(r.key)+1 != event.Number {
		return fmt.Errorf("event %d is out of order: %w", event.Number, ErrCorrupt)
	}
	if err := r.follows(eventKey(event)); err != nil {
		return err
	}
	return insert(r.txn, tableEvents, event)
}
