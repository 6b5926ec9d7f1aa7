package results

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

var ann = &trellisv1.Principal{Role: trellisv1.Role_ROLE_ADMIN, Name: "ann"}

// addAccess adds two tokens and two events.
func addAccess(t testing.TB, store *Store) {
	t.Helper()
	for i, id := range []string{"b", "a"} {
		token := &trellisv1.Token{
			Id: id, Principal: ann, Hash: []byte(id), ExpireTime: at(99), Creator: ann,
		}
		ok(t, store.CreateToken(uint64(30+i), at(30), token))
		ok(t, store.AddEvent(uint64(30+i), at(30), &trellisv1.Event{
			Principal: ann, Address: "10.0.0.1", Method: "CreateToken", Subject: id,
		}))
	}
}

func TestTokens(t *testing.T) {
	store := newStore(t)
	addAccess(t, store)
	given := &trellisv1.Token{Id: "c", Principal: ann, Hash: []byte("c")}
	ok(t, store.CreateToken(40, at(40), given))
	if given.CreateTime != nil {
		t.Error("the command's token was changed")
	}
	want := proto.CloneOf(given)
	want.CreateTime = at(40)
	got, err := store.Snapshot().Token("c")
	ok(t, err)
	equal(t, "token", got, want)
	if err := store.CreateToken(41, at(41), given); !errors.Is(err, ErrExists) {
		t.Errorf("another of the same id: %v", err)
	}
	var ids, pages string
	request := &trellisv1.ListTokensRequest{PageSize: 2}
	for {
		page, err := store.Snapshot().ListTokens(request)
		ok(t, err)
		for _, token := range page.Tokens {
			ids += token.Id
		}
		pages += "."
		if request.PageToken = page.NextPageToken; request.PageToken == "" {
			break
		}
	}
	if ids != "abc" || pages != ".." {
		t.Errorf("listed %q on pages %q", ids, pages)
	}
	before := store.Snapshot()
	ok(t, store.RevokeToken(42, "b"))
	if _, err := store.Snapshot().Token("b"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a revoked token: %v", err)
	}
	if err := store.RevokeToken(43, "b"); !errors.Is(err, ErrNotFound) {
		t.Errorf("revoking it again: %v", err)
	}
	if _, err := before.Token("b"); err != nil {
		t.Errorf("an earlier snapshot: %v", err)
	}
	count, err := store.Snapshot().CountTokens(at(50).AsTime())
	ok(t, err)
	if count != 2 {
		t.Errorf("%d tokens", count)
	}
}

// The events are bounded, and every replica forgets the same ones: those of a restored snapshot too.
func TestEventsAreBounded(t *testing.T) {
	store := newStore(t)
	add := func(store *Store, index uint64) {
		ok(t, store.AddEvent(index, at(index), &trellisv1.Event{Principal: ann, Method: "PauseStudy", Subject: "s"}))
	}
	for index := uint64(1); index <= MaxEvents+5; index++ {
		add(store, 3*index)
	}
	restored := newStore(t)
	ok(t, restored.Restore(bytes.NewReader(written(t, store))))
	for _, its := range []*Store{store, restored} {
		add(its, 3*MaxEvents+100)
		var numbers []uint64
		request := &trellisv1.ListEventsRequest{PageSize: 999}
		for {
			page, err := its.Snapshot().ListEvents(request)
			ok(t, err)
			for _, event := range page.Events {
				numbers = append(numbers, event.Number)
			}
			if request.PageToken = page.NextPageToken; request.PageToken == "" {
				break
			}
		}
		if len(numbers) != MaxEvents || numbers[0] != MaxEvents+6 || numbers[MaxEvents-1] != 7 {
			t.Errorf("%d events from %d to %d", len(numbers), numbers[0], numbers[len(numbers)-1])
		}
	}
	if mustHash(t, restored.Snapshot()) != mustHash(t, store.Snapshot()) {
		t.Error("the restored store forgets others")
	}
}

// Events after one come in parts, in the order in which they happened. Who asks after forgotten ones hears how many they are,
// and a watch fires at the next event and at no other change.
func TestEventsAfter(t *testing.T) {
	store := newStore(t)
	add := func() {
		ok(t, store.AddEvent(1, at(1), &trellisv1.Event{Principal: ann, Method: "PauseStudy", Subject: "s"}))
	}
	check := func(ws memdb.WatchSet, after uint64, limit int, first, last, missed uint64) {
		t.Helper()
		events, skipped, err := store.Snapshot().EventsAfter(ws, after, limit)
		ok(t, err)
		for i, event := range events {
			if event.Number != first+uint64(i) {
				t.Fatalf("after %d: event %d is in place %d", after, event.Number, i)
			}
		}
		if uint64(len(events)) != last+1-first || skipped != missed {
			t.Errorf("after %d: %d events and %d missed, want %d to %d and %d", after, len(events), skipped, first, last, missed)
		}
	}
	check(nil, 0, 10, 1, 0, 0)
	check(nil, 7, 10, 1, 0, 0)
	for range MaxEvents + 5 {
		add()
	}
	const last = MaxEvents + 5
	check(nil, 0, 10, 6, 15, 5)
	check(nil, 3, 10, 6, 15, 2)
	check(nil, 5, 10, 6, 15, 0)
	check(nil, 15, 10, 16, 25, 0)
	check(nil, last-2, 10, last-1, last, 0)
	check(nil, last+1, 10, 6, 15, 5)

	ws := memdb.NewWatchSet()
	check(ws, last, 10, last+1, last, 0)
	ok(t, store.CreateToken(40, at(40), &trellisv1.Token{Id: "c", Principal: ann}))
	if !ws.Watch(time.After(0)) {
		t.Error("it fires for a token")
	}
	add()
	if ws.Watch(time.After(time.Minute)) {
		t.Error("it does not fire for an event")
	}
	restored := written(t, store)
	ws = memdb.NewWatchSet()
	check(ws, last+1, 10, last+2, last+1, 0)
	ok(t, store.Restore(bytes.NewReader(restored)))
	if ws.Watch(time.After(time.Minute)) {
		t.Error("it does not fire when all is replaced")
	}
}

// A store without tokens and events hashes as before there were any: what an older version has logged leads to the
// state that it led to.
func TestHashWithoutAccessIsTheOlderOne(t *testing.T) {
	store := newListStore(t)
	older, err := hashOf(store.Snapshot().reader, contents[:5])
	ok(t, err)
	if mustHash(t, store.Snapshot()) != older {
		t.Error("another hash than that of the first five tables")
	}
}

// A new token takes the place of those that have expired by the time of its command.
func TestExpiredTokensAreForgotten(t *testing.T) {
	store := newStore(t)
	addAccess(t, store) // They expire at 99.
	ok(t, store.CreateToken(40, at(40), &trellisv1.Token{Id: "c", Principal: ann}))
	for _, test := range []struct {
		index uint64
		id    string
		now   uint64
		want  int
	}{{41, "d", 98, 4}, {42, "e", 99, 3}} {
		ok(t, store.CreateToken(test.index, at(test.now), &trellisv1.Token{Id: test.id, Principal: ann}))
		tokens, err := store.Snapshot().ListTokens(&trellisv1.ListTokensRequest{})
		ok(t, err)
		if len(tokens.GetTokens()) != test.want {
			t.Errorf("at %d, %d tokens are stored, want %d", test.now, len(tokens.GetTokens()), test.want)
		}
	}
	ok(t, store.CreateToken(50, at(100), &trellisv1.Token{Id: "f", Principal: ann, ExpireTime: at(150)}))
	for now, want := range map[uint64]int{149: 4, 150: 3} {
		count, err := store.Snapshot().CountTokens(at(now).AsTime())
		if err != nil || count != want {
			t.Errorf("at %d, %d tokens have not expired (%v), want %d", now, count, err, want)
		}
	}
}
