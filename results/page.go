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

// tokenConfigurations marks the listings of configurations that are alike in all that a token depends on.
func tokenConfigurations(request *trellisv1.ListConfigurationsRequest) tokenMark {
	sum := sha256.Sum256(fmt.Appendf(nil, "configurations %q %v", request.GetStudy(), request.GetConfidence()))
	return tokenMark(sum[:len(tokenMark{})])
}

// decodeRank returns the rank that a token's key has, 0 for the first page.
func decodeRank(after key) (uint64, error) {
	switch len(after) {
	case 0:
		return 0, nil
	case 8:
		return binary.BigEndian.Uint64(after), nil
	}
	return 0, fmt.Errorf("page_token is cut short: %w", ErrInvalid)
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
