package listing

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// Pages of a listing, in rows.
const (
	DefaultPageSize = 100
	MaxPageSize     = 1000
)

// MaxPageBytes is how large a page may be, at most by one row more: it ends early where its rows are large, so that it
// fits into a message however many epochs a trial has.
const MaxPageBytes = 1 << 20

// PageSize is how many rows a page has at most that so many are asked for. 0 asks for the default.
func PageSize(asked uint32) int {
	if asked == 0 {
		return DefaultPageSize
	}
	return int(min(asked, MaxPageSize))
}

// Room is what is left of a page, in bytes.
type Room int

// Take makes room for one more row, and says whether there was any.
func (r *Room) Take(row proto.Message) bool {
	if *r <= 0 {
		return false
	}
	*r -= Room(proto.Size(row))
	return true
}

// Mark tells apart listings whose tokens don't fit one another. A page token says where the next page starts, as a key:
// rows that come and go in between neither repeat nor skip others. Before the key stands the mark of its listing.
type Mark [8]byte

// The marks of listings that are always the same.
var (
	MarkStudies = Mark([]byte("studies "))
	MarkWorkers = Mark([]byte("workers "))
)

// MarkTrials marks the listings of trials that are alike in all that a token depends on.
func MarkTrials(request *trellisv1.ListTrialsRequest) Mark {
	sum := sha256.New()
	for _, text := range []string{request.GetStudy(), request.GetOrderBy(), request.GetFilter()} {
		fmt.Fprintf(sum, "%q", text)
	}
	return Mark(sum.Sum(nil)[:len(Mark{})])
}

// PageByRank returns a page of a listing whose rows are ranked from 0 on, and the token of the next page, which is
// empty after the last. listing tells apart listings whose tokens don't fit one another. A page starts at the rank
// where the one before ended. It fails with ErrInvalid if the token is not one of the listing's.
func PageByRank[Row proto.Message](
	listing string, size uint32, token string, total uint64, row func(rank uint64) Row,
) (rows []Row, next string, err error) {
	sum := sha256.Sum256([]byte(listing))
	mark := Mark(sum[:len(Mark{})])
	after, err := DecodeToken(mark, token)
	if err != nil {
		return nil, "", err
	}
	rank := uint64(0)
	switch len(after) {
	case 0:
	case 8:
		rank = binary.BigEndian.Uint64(after)
	default:
		return nil, "", fmt.Errorf("page_token is cut short: %w", ErrInvalid)
	}
	left := Room(MaxPageBytes)
	for ; rank < total && len(rows) < PageSize(size); rank++ {
		row := row(rank)
		if !left.Take(row) {
			break
		}
		rows = append(rows, row)
	}
	if rank < total {
		next = EncodeToken(mark, binary.BigEndian.AppendUint64(nil, rank))
	}
	return rows, next, nil
}

// EncodeToken makes a token of the key at which the next page starts.
func EncodeToken(mark Mark, from []byte) string {
	return base64.RawURLEncoding.EncodeToString(append(mark[:], from...))
}

// DecodeToken returns the key at which a page starts, nil for the first one, whose token is empty. It fails with
// ErrInvalid if the token is none of the listing's.
func DecodeToken(mark Mark, token string) ([]byte, error) {
	if token == "" {
		return nil, nil
	}
	data, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || !bytes.HasPrefix(data, mark[:]) {
		return nil, fmt.Errorf("page_token %q is not from the page before of this listing: %w", token, ErrInvalid)
	}
	return data[len(mark):], nil
}
