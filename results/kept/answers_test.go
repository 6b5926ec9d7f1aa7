package kept

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// Answers are those about the newest version of a study, each computed once, within so many bytes.
func TestAnswers(t *testing.T) {
	const one = maxAnswerBytes / 8
	var s Studies
	size := one - answerOverhead
	ask := func(created, version uint64, of any) (fresh bool) {
		value, err := Answer(s.Answers(), created, version, of, func(uint64) int { return size }, nil, nil,
			func() (uint64, error) {
				fresh = true
				return created<<32 | version, nil
			})
		if err != nil || value != created<<32|version {
			t.Fatalf("study %d, version %d: %d, %v", created, version, value, err)
		}
		return fresh
	}
	if !ask(1, 5, "a") || ask(1, 5, "a") || !ask(1, 5, "b") || !ask(2, 5, "a") || ask(1, 5, "b") {
		t.Error("not each question about each study is answered once")
	}
	if !ask(1, 6, "a") || ask(1, 6, "a") || !ask(1, 5, "a") || ask(1, 6, "a") {
		t.Error("not the answer about the newest version is kept")
	}
	if bytes := s.Answers().bytes; bytes != 3*one {
		t.Errorf("3 answers take %d bytes, not %d", bytes, 3*one)
	}
	for of := range 6 {
		ask(3, 1, of)
		if ask(1, 6, "a") {
			t.Error("an answer that is asked for again and again is gone")
		}
	}
	if bytes := s.Answers().bytes; bytes != 8*one {
		t.Errorf("answers take %d bytes, not %d", bytes, 8*one)
	}
	if ask(1, 5, "b") || !ask(2, 5, "a") {
		t.Error("the answer that nobody has asked for for longest is still there")
	}
	size = LargestAnswer + 1
	first, again := ask(4, 1, "large"), ask(4, 1, "large")
	if !first || !again || ask(1, 6, "a") {
		t.Error("an answer is kept that takes the room of many others")
	}
}

// Who asks while somebody computes an answer waits for it, and computes it if that fails. Nobody waits for what somebody else
// does not need any more.
func TestAnswersWait(t *testing.T) {
	var a Answers
	failed, stopped := errors.New("failed"), errors.New("stopped")
	begun, stop := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		_, err := Answer(&a, 1, 1, "q", nil, nil, nil, func() (int, error) {
			close(begun)
			<-stop
			return 0, failed
		})
		if !errors.Is(err, failed) {
			t.Errorf("error %v", err)
		}
	})
	<-begun
	done := make(chan struct{})
	close(done)
	compute := func() (int, error) { return 0, nil }
	if _, err := Answer(&a, 1, 1, "q", nil, done, func() error { return stopped }, compute); !errors.Is(err, stopped) {
		t.Errorf("who has stopped waiting gets %v", err)
	}
	var computed atomic.Int32
	for range 8 {
		all.Go(func() {
			value, err := Answer(&a, 1, 1, "q", func(int) int { return 1 }, nil, nil, func() (int, error) {
				computed.Add(1)
				return 7, nil
			})
			if value != 7 || err != nil {
				t.Errorf("%d, %v", value, err)
			}
		})
	}
	close(stop)
	all.Wait()
	if computed.Load() != 1 {
		t.Errorf("computed %d times", computed.Load())
	}
}

// Answers take memory also if they and what they answer are empty: so as many as anybody likes to ask for are not kept.
func TestAnswersOfNothing(t *testing.T) {
	const asked = 2 * maxAnswerBytes / answerOverhead
	var a Answers
	for of := range asked {
		_, err := Answer(&a, 1, 1, of, func(struct{}) int { return 0 }, nil, nil, func() (struct{}, error) {
			return struct{}{}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := len(a.by); n != asked/2 || n != a.order.Len() || a.bytes != maxAnswerBytes {
		t.Errorf("%d answers are kept, in %d bytes", n, a.bytes)
	}
}

// Who waits for an answer gets it, whether it is kept or not.
func TestAnswersThatAreNotKept(t *testing.T) {
	for _, test := range []struct {
		name string
		size int
		// newer says that somebody asks about a newer version meanwhile.
		newer bool
	}{{"large", LargestAnswer + 1, false}, {"old", 1, true}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var a Answers
				var computed atomic.Int32
				var all sync.WaitGroup
				stop := make(chan struct{})
				size := func(uint64) int { return test.size }
				for range 8 {
					all.Go(func() {
						value, err := Answer(&a, 1, 5, "q", size, nil, nil, func() (uint64, error) {
							computed.Add(1)
							<-stop
							return 5, nil
						})
						if value != 5 || err != nil {
							t.Errorf("%d, %v", value, err)
						}
					})
				}
				synctest.Wait()
				if test.newer {
					value, err := Answer(&a, 1, 6, "q", size, nil, nil, func() (uint64, error) { return 6, nil })
					if value != 6 || err != nil {
						t.Errorf("of the newer version: %d, %v", value, err)
					}
				}
				close(stop)
				all.Wait()
				if computed.Load() != 1 {
					t.Errorf("computed %d times", computed.Load())
				}
			})
		})
	}
}
