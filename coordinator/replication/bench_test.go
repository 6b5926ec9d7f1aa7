package replication

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// sink is a StateMachine that forgets.
type sink struct{ book }

func (*sink) Apply(uint64, []byte) any { return nil }

// BenchmarkPropose is a single durable node: so many proposers with one command each under way. The cost of one fsync
// on this disk is BenchmarkSync.
func BenchmarkPropose(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		for _, proposers := range []int{1, 16, 256} {
			b.Run(fmt.Sprintf("%dKiB/%d", size>>10, proposers), func(b *testing.B) {
				log := open(b, Config{Dir: b.TempDir(), Bootstrap: true, Logger: slog.New(slog.DiscardHandler)},
					&sink{})
				lead(b, log)
				command := bytes.Repeat([]byte{1}, size)
				b.SetBytes(int64(size))
				work := make(chan struct{}, proposers)
				var workers sync.WaitGroup
				for range proposers {
					workers.Go(func() {
						for range work {
							if _, _, err := log.Propose(b.Context(), command); err != nil {
								b.Error(err)
							}
						}
					})
				}
				for b.Loop() {
					work <- struct{}{}
				}
				close(work)
				workers.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
				if err := log.Close(); err != nil {
					b.Error(err)
				}
			})
		}
	}
}

// BenchmarkSync appends to a file and syncs it.
func BenchmarkSync(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			file, err := os.Create(filepath.Join(b.TempDir(), "file"))
			if err != nil {
				b.Fatal(err)
			}
			defer file.Close()
			data := bytes.Repeat([]byte{1}, size)
			b.SetBytes(int64(size))
			for b.Loop() {
				if _, err := file.Write(data); err != nil {
					b.Fatal(err)
				}
				if err := file.Sync(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
