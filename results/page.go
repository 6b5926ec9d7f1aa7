package results

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

func pageSize(asked uint32) int {
	if asked == 0 {
		return DefaultPageSize
	}
	return int(min(asked, MaxPageSize))
}

// room is what is left of a page, in bytes.
type room int

// take makes room for one more row, and says whether there was any.
func (r *room) take(row proto.Message) bool {
	if *r <= 0 {
		return false
	}
	*r -= room(proto.Size(row))
	return true
}

// A page token says where the next page starts, as a key: rows that come and go in between neither repeat nor skip
// others. Before the key stands a mark of the listing that the token belongs to.
type tokenMark [8]byte

var (
	tokenStudies = tokenMark([]byte("studies "))
	tokenWorkers = tokenMark([]byte("workers "))
)

// tokenTrials marks the listings of trials that are alike in all that a token depends on.
func tokenTrials(request *trellisv1.ListTrialsRequest) tokenMark {
	sum := sha256.New()
	for _, text := range []string{request.GetStudy(), request.GetOrderBy(), request.GetFilter()} {
		fmt.Fprintf(sum, "%q", text)
	}
	return tokenMark(sum.Sum(nil)[:len(tokenMark{})])
}

// PageByRank returns a page of a listing whose rows are ranked from 0 on, and the token of the next page, which is empty after the
// last. listing tells apart listings whose tokens don't fit one another. A page starts at the rank where the one before ended. It
// fails with ErrInvalid if the token is not one of the listing's.
func PageByRank[Row proto.Message](
	listing string, size uint32, token string, total uint64, row func(rank uint64) Row,
) (rows []Row, next string, err error) {
	sum := sha256.Sum256([]byte(listing))
	mark := tokenMark(sum[:len(tokenMark{})])
	after, err := decodeToken(mark, token)
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
	left := room(MaxPageBytes)
	for ; rank < total && len(rows) < pageSize(size); rank++ {
		row := row(rank)
		if !left.take(row) {
			break
		}
		rows = append(rows, row)
	}
	if rank < total {
		next = encodeToken(mark, newKey(8).number(rank))
	}
	return rows, next, nil
}

func encodeToken(mark tokenMark, from []byte) string {
	return base64.RawURLEncoding.EncodeToString(append(mark[:], from...))
}

// decodeToken returns the key at which a page starts, nil for the first one, whose token is empty.
func decodeToken(mark tokenMark, token string) (key, error) {
	if token == "" {
		return nil, nil
	}
	data, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || !bytes.HasPrefix(data, mark[:]) {
		return nil, fmt.Errorf("page_token %q is not from the page before of this listing: %w", token, ErrInvalid)
	}
	return data[len(mark):], nil
}
