package artifact

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"gocloud.dev/blob"
	clouddriver "gocloud.dev/blob/driver"
	"gocloud.dev/gcerrors"
)

// slowService takes so many bytes a second, and nothing more after a number of bytes.
type slowService struct {
	clouddriver.Bucket
	speed float64
	stops int
}

func (s *slowService) ErrorCode(error) gcerrors.ErrorCode { return gcerrors.Unknown }
func (s *slowService) Close() error                       { return nil }

func (s *slowService) NewTypedWriter(
	ctx context.Context, _, _ string, _ *clouddriver.WriterOptions,
) (clouddriver.Writer, error) {
	return &slowObject{service: s, ctx: ctx}, nil
}

type slowObject struct {
	service *slowService
	ctx     context.Context
	size    int
}

func (o *slowObject) Write(p []byte) (int, error) {
	pause := time.Duration(float64(len(p)) / o.service.speed * float64(time.Second))
	if o.size += len(p); o.size > o.service.stops {
		pause = 24 * time.Hour
	}
	select {
	case <-time.After(pause):
		return len(p), nil
	case <-o.ctx.Done():
		return 0, o.ctx.Err()
	}
}

func (o *slowObject) Close() error { return o.ctx.Err() }

// A service may take long for a large artifact, but not stop in the midst of it. That does not depend on the size.
func TestPutToSlowBucket(t *testing.T) {
	const ahead, size = 1 << 20, 16 << 20
	for _, test := range []struct {
		name  string
		speed float64
		stops int
		// least and most are how long it takes. silent says that it fails then.
		least, most time.Duration
		silent      bool
	}{
		{"fast", 1 << 30, size, 0, time.Second, false},
		{"as slow as it may be", slowest, size, takes(size), maxSilence + takes(size), false},
		{"stops at once", 1 << 30, 0, maxSilence, maxSilence + takes(ahead), true},
		{"stops at the end", 1 << 30, size - 1, maxSilence, maxSilence + takes(ahead) + time.Second, true},
		{"too slow", slowest / 2, size, maxSilence + takes(size), maxSilence + takes(size), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				service := &slowService{speed: test.speed, stops: test.stops}
				store := &Store{bucket{blob.NewBucket(service), maxSilence, ahead}}
				start := time.Now()
				_, _, err := store.Put(t.Context(), bytes.NewReader(make([]byte, size)), size)
				var silent silentError
				if errors.As(err, &silent) != test.silent || (err != nil) != test.silent {
					t.Errorf("got error %v, want one of silence: %v", err, test.silent)
				}
				if took := time.Since(start); took < test.least || took > test.most {
					t.Errorf("it took %v, want %v to %v", took, test.least, test.most)
				}
				if err := store.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
