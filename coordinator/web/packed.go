package web

import (
	"crypto/sha256"
	"net/http"

	lru "github.com/hashicorp/golang-lru"
	"google.golang.org/protobuf/proto"
)

const (
	// packFrom is the smallest message in bytes of which the packed answer is kept.
	packFrom = 32 << 10
	// mostPacked is how many are kept, each of at most maxShared bytes: of larger ones the tag.
	mostPacked = 16
)

// packed keeps large answers as JSON and compressed, by the messages that they are. Nearly all of the time of such an
// answer goes into that, and the charts of a study that has not changed are the same for all who look at it. Who gets
// one has been allowed to see its message before.
type packed struct {
	kept *lru.Cache // By the SHA-256 of a message, packedAnswer.
}

type packedAnswer struct {
	tag  string
	body []byte
}

func newPacked() packed {
	kept, err := lru.New(mostPacked)
	if err != nil {
		panic(err) // There is room.
	}
	return packed{kept}
}

// of returns the packed answer that a message is. Who has what a list of entity tags names needs no body: it may be
// missing then.
func (p packed) of(message proto.Message, tags string) (packedAnswer, error) {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
	if err != nil {
		return packedAnswer{}, newProblem(http.StatusInternalServerError, "write the response: "+err.Error())
	}
	// Messages of two kinds may have the same bytes.
	key := sha256.Sum256(append(data, message.ProtoReflect().Descriptor().FullName()...))
	if kept, ok := p.kept.Get(key); ok {
		if one := kept.(packedAnswer); one.body != nil || matches(tags, one.tag) {
			return one, nil
		}
	}
	body, err := encode(message)
	if err != nil {
		return packedAnswer{}, err
	}
	one := packedAnswer{tag: tagOf(body)}
	p.kept.Add(key, one)
	if matches(tags, one.tag) {
		return one, nil
	}
	if one.body = pack(body); len(one.body) <= maxShared {
		p.kept.Add(key, one)
	}
	return one, nil
}

// write answers a request that takes gzip.
func (a packedAnswer) write(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Type", jsonType)
	header.Set("Content-Encoding", "gzip")
	writeTagged(w, r, a.tag, a.body)
}
