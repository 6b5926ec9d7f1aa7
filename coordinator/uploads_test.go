package coordinator

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A submitter can't fill the disk with artifacts that no study names. What a study names, and what was removed, does not
// count.
func TestUnusedUploadsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		named := map[string]bool{}
		u := newUnused(Limits{UnusedBytes: 25, UnusedBytesEach: 10}, func() (map[string]bool, error) { return named, nil })
		upload := func(who, digest string, bytes int64) error {
			if err := u.take(who, bytes); err != nil {
				return err
			}
			u.keep(who, digest, bytes)
			return nil
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Error(err)
			}
		}
		must(upload("a", "1", 6))
		must(upload("a", "", 4))
		must(upload("a", "2", 4))
		err := upload("a", "3", 1)
		if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "limit unused-bytes-each=10") {
			t.Errorf("got %v", err)
		}
		must(upload("b", "3", 10))
		named["1"] = true
		time.Sleep(unusedPause)
		must(upload("a", "4", 6))
		if err := upload("a", "5", 1); err == nil {
			t.Error("the bytes of an artifact that is used were given back twice")
		}
		time.Sleep(unusedTime + 1)
		must(upload("a", "5", 10))
		must(upload("c", "6", 10))
		if err := upload("d", "7", 6); err == nil || !strings.Contains(err.Error(), "limit unused-bytes=25") {
			t.Errorf("got %v", err)
		}
		var none *unused // Of a worker.
		must(none.take("w", 1e9))
		none.keep("w", "8", 1e9)
	})
}
