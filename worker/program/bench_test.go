//go:build unix

package program

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/worker/supervisor"
)

// benchConfig is a program without output.
func benchConfig(b *testing.B, epochs int, command ...string) Config {
	b.Helper()
	for i, argument := range command {
		command[i] = strings.NewReplacer("{", "{{", "}", "}}").Replace(argument)
	}
	return Config{
		Program: &trellisv1.Program{Command: command}, Run: "run", Attempt: 1, MaxEpochs: epochs, FirstEpoch: 1,
		LastEpoch: epochs, Folder: b.TempDir(), Checkpoints: b.TempDir(),
	}
}

// thousand is a program of 1,000 epochs of 1 ms, in Python: it computes rather than sleeps, as training does. With a
// file to report to, it appends a line for each.
const thousand = `
import json, os, time
path = os.environ.get("TRELLIS_REPORTS")
reports = open(path, "a", buffering=1) if path else None
began = time.perf_counter()
for epoch in range(1, 1001):
    until = time.perf_counter() + 1e-3
    while time.perf_counter() < until:
        pass
    if reports:
        reports.write(json.dumps({"epoch": epoch, "loss": 1 / epoch}) + "\n")
print(time.perf_counter() - began)
`

// BenchmarkThousandEpochs compares 1,000 epochs of 1 ms with and without Trellis: as a whole, and what the loop itself
// says.
func BenchmarkThousandEpochs(b *testing.B) {
	if _, err := exec.LookPath("python3"); err != nil {
		b.Skip(err)
	}
	b.Run("alone", func(b *testing.B) {
		loop := 0.0
		for b.Loop() {
			output, err := exec.Command("python3", "-c", thousand).Output()
			if err != nil {
				b.Fatal(err)
			}
			seconds, _ := strconv.ParseFloat(strings.TrimSpace(string(output)), 64)
			loop += seconds
		}
		b.ReportMetric(loop/float64(b.N), "loop-s")
	})
	b.Run("trellis", func(b *testing.B) {
		config := benchConfig(b, 1000, "python3", "-c", thousand)
		loop := 0.0
		for b.Loop() {
			output, err := CreateOutput(filepath.Join(b.TempDir(), "output"), DefaultOutput)
			if err != nil {
				b.Fatal(err)
			}
			config.Output = output
			epochs := 0
			_, err = Run(b.Context(), config, func(Report) error { epochs++; return nil })
			if err != nil || epochs != 1000 {
				b.Fatal(epochs, err)
			}
			chunk, err := output.Read(0, 100)
			if err != nil {
				b.Fatal(err)
			}
			seconds, _ := strconv.ParseFloat(strings.TrimSpace(string(chunk.Data)), 64)
			loop += seconds
			output.Close()
		}
		b.ReportMetric(loop/float64(b.N), "loop-s")
	})
}

// BenchmarkStart is a program that reports one epoch and ends: as a whole and alone.
func BenchmarkStart(b *testing.B) {
	const one = `echo '{"epoch": 1, "loss": 1}' >> "$TRELLIS_REPORTS"`
	b.Run("alone", func(b *testing.B) {
		reports := filepath.Join(b.TempDir(), "reports")
		for b.Loop() {
			command := exec.Command("sh", "-c", one)
			command.Env = append(os.Environ(), "TRELLIS_REPORTS="+reports)
			command.Stdout = io.Discard
			if err := command.Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("trellis", func(b *testing.B) {
		config := benchConfig(b, 1, "sh", "-c", one)
		config.Supervisors = &supervisor.Spare{}
		defer config.Supervisors.Close()
		var start, end time.Duration
		for b.Loop() {
			began := time.Now()
			result, err := Run(b.Context(), config, func(Report) error { return nil })
			if err != nil {
				b.Fatal(err)
			}
			start += time.Since(began) - result.Elapsed
			end += result.Elapsed
		}
		b.ReportMetric(start.Seconds()*1e3/float64(b.N), "around-ms")
		b.ReportMetric(end.Seconds()*1e3/float64(b.N), "running-ms")
	})
}

// BenchmarkPrograms is how many programs of one epoch a machine runs in a minute, as many at once as it has cores.
func BenchmarkPrograms(b *testing.B) {
	config := benchConfig(b, 1, "sh", "-c", `echo '{"epoch": 1, "loss": 1}' >> "$TRELLIS_REPORTS"`)
	config.Supervisors = &supervisor.Spare{}
	defer config.Supervisors.Close()
	var running sync.WaitGroup
	slots := make(chan struct{}, runtime.NumCPU())
	for b.Loop() {
		slots <- struct{}{}
		running.Go(func() {
			if _, err := Run(b.Context(), config, func(Report) error { return nil }); err != nil {
				b.Error(err)
			}
			<-slots
		})
	}
	running.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Minutes(), "programs/min")
}
