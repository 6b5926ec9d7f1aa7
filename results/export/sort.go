package export

import (
	"bytes"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// sortedAtOnce is how many bytes of trials and runs a pass of Sort keeps in memory.
var sortedAtOnce = 64 << 20

// Sort puts the trials in the order of their keys, which must differ, after Finish. It reads the spool as often as it takes
// for the memory that it may use, once for a small study.
func (s *Spool) Sort(key func(*trellisv1.Trial) [24]byte) error {
	type place struct {
		key  [24]byte
		at   int
		size int
	}
	var places []place
	if err := s.each(func(row Row) bool {
		places = append(places, place{key(row.Trial), len(places), proto.Size(row.Trial) + proto.Size(row.Run)})
		return true
	}); err != nil {
		return fmt.Errorf("sort trials: %w", err)
	}
	slices.SortFunc(places, func(a, b place) int { return bytes.Compare(a.key[:], b.key[:]) })
	sorted, err := NewSpool(s.folder)
	if err != nil {
		return err
	}
	for len(places) > 0 {
		// rank is where each trial of this pass is among them.
		rank, size := map[int]int{}, 0
		for len(rank) < len(places) && (len(rank) == 0 || size < sortedAtOnce) {
			size += places[len(rank)].size
			rank[places[len(rank)].at] = len(rank)
		}
		rows, at := make([]Row, len(rank)), 0
		err := s.each(func(row Row) bool {
			if to, ok := rank[at]; ok {
				rows[to] = row
			}
			at++
			return true
		})
		for _, row := range rows {
			if err != nil {
				break
			}
			page := &trellisv1.ListTrialsResponse{Trials: []*trellisv1.Trial{row.Trial}}
			if row.Run != nil {
				page.Runs = []*trellisv1.Run{row.Run}
			}
			err = sorted.Add(page)
		}
		if err != nil {
			sorted.Close()
			return fmt.Errorf("sort trials: %w", err)
		}
		places = places[len(rank):]
	}
	if err := sorted.Finish(); err != nil {
		sorted.Close()
		return err
	}
	before := *s
	*s = *sorted
	return before.Close()
}
