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

// MaxPageBytes is the size at which a page ends early. It may be exceeded by one row. So a page fits into a message, no
// matter how many epochs its trials have.
const MaxPageBytes = 1 << 20

// PageSize returns the maximum number of rows of a page, given the requested number. 0 requests the default.
func PageSize(asked uint32) int {
	if asked == 0 {
		return DefaultPageSize
	}
	return int(min(asked, MaxPageSize))
}

// Room is the number of bytes left on a page.
type Room int

// Take uses the room for another row, and says whether there was enough.
func (r *Room) Take(row proto.Message) bool {
	if *r <= 0 {
		return false
	}
	*r -= Room(proto.Size(row))
	return true
}

// TakeStored is Take for a row that is stored, or a copy with parts that are: nobody changes them, so that they know their sizes
// from the first time on.
func (r *Room) TakeStored(row proto.Message) bool {
	if *r <= 0 {
		return false
	}
	*r -= Room(proto.MarshalOptions{UseCachedSize: true}.Size(row))
	return true
}

// Mark identifies a listing, because page tokens are only valid for their own listing. A page token has the listing's
// mark, followed by the key at which the next page starts. So rows that are added or removed between pages neither
// repeat nor skip others.
type Mark [8]byte

// The marks of listings that are always the same.
var (
	MarkStudies = Mark([]byte("studies "))
	MarkWorkers = Mark([]byte("workers "))
	MarkTokens  = Mark([]byte("tokens  "))
	MarkEvents  = Mark([]byte("events  "))
)

// layout is part of the marks of what a study has: tokens of versions before say nothing of which study of a name they are.
const layout = "2"

// MarkDeliveries returns the mark of a listing of a hook's deliveries.
func MarkDeliveries(hook string) Mark {
	sum := sha256.Sum256(fmt.Appendf(nil, "deliveries %q", hook))
	return Mark(sum[:len(Mark{})])
}

// MarkTrials returns the mark of a listing of trials. It depends on everything that a token depends on.
func MarkTrials(request *trellisv1.ListTrialsRequest) Mark {
	sum := sha256.New()
	sum.Write([]byte(layout))
	for _, text := range []string{request.GetStudy(), request.GetOrderBy(), request.GetFilter()} {
		fmt.Fprintf(sum, "%q", text)
	}
	return Mark(sum.Sum(nil)[:len(Mark{})])
}

// PageByRank returns a page of a listing of what a study has, whose rows are ranked from 0, and the token of the next page, which is empty
// after the last page. listing identifies the listing. A page starts at the rank where the previous page ended. It
// fails with ErrInvalid if the token does not belong to the listing, and with ErrReplaced if it is of another study of that
// name.
func PageByRank[Row proto.Message](
	study *trellisv1.Study, listing string, size uint32, token string, total uint64, row func(rank uint64) Row,
) (rows []Row, next string, err error) {
	sum := sha256.Sum256([]byte(layout + listing))
	mark := Mark(sum[:len(Mark{})])
	after, err := DecodeStudyToken(mark, study, token)
	if err != nil {
		return nil, "", err
	}
	rank := uint64(0)
	switch len(after) {
	case 0:
	case 8:
		rank = binary.BigEndian.Uint64(after)
	default:
		return nil, "", fmt.Errorf("invalid page_token: it is cut off: %w", ErrInvalid)
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
		next = EncodeStudyToken(mark, study, binary.BigEndian.AppendUint64(nil, rank))
	}
	return rows, next, nil
}

// EncodeToken returns the token for the key at which the next page starts.
func EncodeToken(mark Mark, from []byte) string {
	return base64.RawURLEncoding.EncodeToString(append(mark[:], from...))
}

// DecodeToken returns the key at which a page starts, or nil for the first page, whose token is empty. It fails with
// ErrInvalid if the token does not belong to the listing.
func DecodeToken(mark Mark, token string) ([]byte, error) {
	if token == "" {
		return nil, nil
	}
	data, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || !bytes.HasPrefix(data, mark[:]) {
		return nil, fmt.Errorf("invalid page_token %q: must be from the previous page of the same listing: %w", token, ErrInvalid)
	}
	return data[len(mark):], nil
}

// EncodeStudyToken is EncodeToken for a listing of what a study has.
func EncodeStudyToken(mark Mark, study *trellisv1.Study, from []byte) string {
	return EncodeToken(mark, append(binary.BigEndian.AppendUint64(nil, study.GetCreateIndex()), from...))
}

// DecodeStudyToken is DecodeToken for a listing of what a study has. It fails with ErrReplaced if the token is of another
// study that had the name before: pages of both would be mixed.
func DecodeStudyToken(mark Mark, study *trellisv1.Study, token string) ([]byte, error) {
	data, err := DecodeToken(mark, token)
	if err != nil || data == nil {
		return nil, err
	}
	if len(data) < 8 {
		return nil, fmt.Errorf("invalid page_token: it is cut off: %w", ErrInvalid)
	}
	if binary.BigEndian.Uint64(data) != study.GetCreateIndex() {
		return nil, fmt.Errorf("study %q %w since the previous page: begin again with the first page", study.GetName(),
			ErrReplaced)
	}
	return data[8:], nil
}
