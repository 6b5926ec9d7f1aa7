package results

import (
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/listing"
	"trellis/results/paper"
)

// tableTokens has the tokens.
const tableTokens = "tokens"

func tokensSchema() *memdb.TableSchema { return tableSchema(tableTokens, index(indexID, tokenKey)) }

func tokenKey(t *trellisv1.Token) key { return textKey(t.Id) }

// CreateToken stores a token, with now as its create_time, and deletes those that have expired by then. It fails with
// ErrExists if another has the id.
func (s *Store) CreateToken(index uint64, now *timestamppb.Timestamp, token *trellisv1.Token) error {
	c := s.begin(index, now)
	defer c.abort()
	if err := validName(token.GetId()); err != nil {
		return err
	}
	existing, err := first[*trellisv1.Token](c.reader, nil, tableTokens, indexID, textKey(token.GetId()))
	if err != nil {
		return err
	}
	if existing != nil {
		return fmt.Errorf("token %q %w", token.GetId(), ErrExists)
	}
	tokens, err := all[*trellisv1.Token](c.reader, nil, tableTokens, indexID, nil)
	if err != nil {
		return err
	}
	for _, other := range tokens {
		if hasExpired(other, now.AsTime()) {
			if err := remove(c.txn, tableTokens, other); err != nil {
				return err
			}
		}
	}
	token = proto.CloneOf(token)
	token.CreateTime = c.now
	if err := insert(c.txn, tableTokens, token); err != nil {
		return err
	}
	return c.commit()
}

// RevokeToken deletes a token, or fails with ErrNotFound.
func (s *Store) RevokeToken(index uint64, id string) error {
	c := s.begin(index, nil)
	defer c.abort()
	token, err := first[*trellisv1.Token](c.reader, nil, tableTokens, indexID, textKey(id))
	if err != nil {
		return err
	}
	if token == nil {
		return fmt.Errorf("token %q %w", id, ErrNotFound)
	}
	if err := remove(c.txn, tableTokens, token); err != nil {
		return err
	}
	return c.commit()
}

// Token returns a token, or ErrNotFound.
func (s *Snapshot) Token(id string) (*trellisv1.Token, error) {
	token, err := first[*trellisv1.Token](s.reader, nil, tableTokens, indexID, textKey(id))
	if err == nil && token == nil {
		err = fmt.Errorf("token %q %w", id, ErrNotFound)
	}
	return token, err
}

// ListTokens returns a page of the tokens, by id. It fails with ErrInvalid if the page token is invalid.
func (s *Snapshot) ListTokens(request *trellisv1.ListTokensRequest) (*trellisv1.ListTokensResponse, error) {
	from, err := listing.DecodeToken(listing.MarkTokens, request.GetPageToken())
	if err != nil {
		return nil, err
	}
	tokens, err := scanFrom[*trellisv1.Token](s.reader, tableTokens, indexID, from)
	if err != nil {
		return nil, err
	}
	response := &trellisv1.ListTokensResponse{}
	size := listing.PageSize(request.GetPageSize())
	for token := range tokens {
		if len(response.Tokens) == size {
			response.NextPageToken = listing.EncodeToken(listing.MarkTokens, tokenKey(token))
			break
		}
		response.Tokens = append(response.Tokens, token)
	}
	return response, nil
}

// CountTokens returns how many tokens have not expired by now: those that are left when another is created.
func (s *Snapshot) CountTokens(now time.Time) (int, error) {
	tokens, err := all[*trellisv1.Token](s.reader, nil, tableTokens, indexID, nil)
	return len(slices.DeleteFunc(tokens, func(token *trellisv1.Token) bool { return hasExpired(token, now) })), err
}

func hasExpired(token *trellisv1.Token, now time.Time) bool {
	return token.ExpireTime != nil && !now.Before(token.ExpireTime.AsTime())
}

func tokenRows(r reader) (iter.Seq2[proto.Message, error], error) {
	return rowsOf[*trellisv1.Token](scan[*trellisv1.Token](r, nil, tableTokens, indexID, nil))
}

func (r *restorer) token(token *trellisv1.Token) error {
	if err := validName(token.Id); err != nil {
		return corrupt(err)
	}
	if err := r.follows(tokenKey(token)); err != nil {
		return err
	}
	return insert(r.txn, tableTokens, token)
}

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
	last, err := c.lastEvent(nil)
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
func (r reader) lastEvent(ws memdb.WatchSet) (*trellisv1.Event, error) {
	watch, raw, err := r.txn.LastWatch(tableEvents, indexID)
	if err != nil {
		return nil, fmt.Errorf("find the last of %s: %w", tableEvents, err)
	}
	r.watch(ws, watch)
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
	last, err := s.lastEvent(nil)
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

// LastEvent returns the number of the newest event, 0 if there is none.
func (s *Snapshot) LastEvent() (uint64, error) {
	last, err := s.lastEvent(nil)
	return last.GetNumber(), err
}

// EventsAfter returns the events after the one with the number, oldest first and at most limit of them, and how many
// before these are no longer kept. A number that no event has come to is one of other data: what comes after it is all
// that is kept.
func (s *Snapshot) EventsAfter(
	ws memdb.WatchSet, number uint64, limit int,
) (events []*trellisv1.Event, missed uint64, err error) {
	last, err := s.lastEvent(ws)
	if err != nil {
		return nil, 0, err
	}
	if number > last.GetNumber() {
		number = 0
	}
	kept, err := scanFrom[*trellisv1.Event](s.reader, tableEvents, indexID, numberKey(number+1))
	if err != nil {
		return nil, 0, err
	}
	for event := range kept {
		if len(events) == limit {
			break
		}
		events = append(events, event)
	}
	if len(events) > 0 {
		missed = events[0].Number - number - 1
	}
	return events, missed, nil
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

// tablePapers has the reports on papers.
const tablePapers = "papers"

func papersSchema() *memdb.TableSchema { return tableSchema(tablePapers, index(indexID, paperKey)) }

func paperKey(p *trellisv1.PaperReport) key { return textKey(p.Name) }

// PutPaper stores a report on a paper, in the place of one of its name, whose creator and create_time it keeps. It fails with
// ErrInvalid if it is none, and with ErrIllegalMove if there are too many.
func (s *Store) PutPaper(index uint64, now *timestamppb.Timestamp, given *trellisv1.PaperReport) error {
	c := s.begin(index, now)
	defer c.abort()
	if err := validPaper(given); err != nil {
		return fmt.Errorf("%w: %w", err, ErrInvalid)
	}
	before, err := first[*trellisv1.PaperReport](c.reader, nil, tablePapers, indexID, paperKey(given))
	if err != nil {
		return err
	}
	stored := proto.CloneOf(given)
	stored.CreateTime, stored.UpdateTime = c.now, c.now
	if before != nil {
		stored.Creator, stored.CreateTime = before.Creator, before.CreateTime
	} else {
		papers, err := all[*trellisv1.PaperReport](c.reader, nil, tablePapers, indexID, nil)
		if err != nil {
			return err
		}
		if len(papers) >= paper.Max {
			return fmt.Errorf("there are %d reports, and can't be more: delete one: %w", len(papers), ErrIllegalMove)
		}
		if err := mayAddPaper(papers, stored.Creator); err != nil {
			return err
		}
	}
	if err := insert(c.txn, tablePapers, stored); err != nil {
		return err
	}
	return c.commit()
}

// mayAddPaper keeps one submitter from writing all the reports that there may be.
func mayAddPaper(papers []*trellisv1.PaperReport, creator *trellisv1.Principal) error {
	if creator.GetRole() != trellisv1.Role_ROLE_SUBMITTER {
		return nil
	}
	its := 0
	for _, one := range papers {
		if one.Creator.GetRole() == creator.GetRole() && one.Creator.GetName() == creator.GetName() {
			its++
		}
	}
	if its >= paper.MaxEach {
		return fmt.Errorf("submitter %q has %d reports, and can't have more: delete one: %w", creator.GetName(), its, ErrIllegalMove)
	}
	return nil
}

func validPaper(p *trellisv1.PaperReport) error {
	err := paper.CheckName(p.GetName())
	if err == nil {
		err = paper.Check(p)
	}
	if err != nil {
		return fmt.Errorf("report %.80q: %w", p.GetName(), err)
	}
	return nil
}

// DeletePaper deletes a report on a paper, or fails with ErrNotFound.
func (s *Store) DeletePaper(index uint64, name string) error {
	c := s.begin(index, nil)
	defer c.abort()
	p, err := c.paper(name)
	if err != nil {
		return err
	}
	if err := remove(c.txn, tablePapers, p); err != nil {
		return err
	}
	return c.commit()
}

func (r reader) paper(name string) (*trellisv1.PaperReport, error) {
	p, err := first[*trellisv1.PaperReport](r, nil, tablePapers, indexID, textKey(name))
	if err == nil && p == nil {
		err = fmt.Errorf("report %q %w", name, ErrNotFound)
	}
	return p, err
}

// Paper returns a report on a paper, or ErrNotFound.
func (s *Snapshot) Paper(name string) (*trellisv1.PaperReport, error) { return s.paper(name) }

// Papers returns all reports on papers, by name.
func (s *Snapshot) Papers() ([]*trellisv1.PaperReport, error) {
	return all[*trellisv1.PaperReport](s.reader, nil, tablePapers, indexID, nil)
}

func paperRows(r reader) (iter.Seq2[proto.Message, error], error) {
	return rowsOf[*trellisv1.PaperReport](scan[*trellisv1.PaperReport](r, nil, tablePapers, indexID, nil))
}

func (r *restorer) paper(p *trellisv1.PaperReport) error {
	if err := validPaper(p); err != nil {
		return corrupt(err)
	}
	if err := r.follows(paperKey(p)); err != nil {
		return err
	}
	return insert(r.txn, tablePapers, p)
}
