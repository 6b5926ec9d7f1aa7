package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// figures are what was measured, as a file keeps it. A measurement replaces its own figures and keeps the others, so
// that they can be taken one after another.
type figures struct {
	Processor string `json:"processor"`
	Cores     int    `json:"cores"`
	// Sizes are studies that were trained, by their number of trials.
	Sizes []sizeFigures `json:"sizes"`
	// Idle are crowds of idle workers, by their number.
	Idle []idleFigures `json:"idle"`
	// Peers are other tools: by name, then by the number of trials.
	Peers []peerFigures `json:"peers"`
}

// taken says when figures were measured, and what else the machine did then.
type taken struct {
	Measured time.Time `json:"measured"`
	// Load is the machine's before the measurement.
	Load string `json:"load"`
}

func takenNow() taken { return taken{Measured: time.Now().UTC().Truncate(time.Minute), Load: load()} }

// sizeFigures are what one study did and cost, from its creation to a restart of the coordinator.
type sizeFigures struct {
	taken
	Trials int `json:"trials"`
	Epochs int `json:"epochs_each"`
	// CreateSeconds is how long the call took, CreateBytes what the coordinator's memory grew by.
	CreateSeconds float64 `json:"create_seconds"`
	CreateBytes   int64   `json:"create_bytes"`

	Seconds          float64 `json:"seconds"`
	TrialsPerSecond  float64 `json:"trials_per_second"`
	ReportsPerSecond float64 `json:"reports_per_second"`
	// LastTenth is the rate of the last tenth of the trials, or 0 for studies that are too small for one.
	LastTenth float64 `json:"last_tenth_trials_per_second,omitempty"`
	// Processor time of a trial, in microseconds.
	CoordinatorMicroseconds float64 `json:"coordinator_microseconds"`
	WorkersMicroseconds     float64 `json:"workers_microseconds"`
	// MemoryBytes is what the coordinator has in memory when all is trained, PeakBytes what it had at most.
	MemoryBytes int64 `json:"memory_bytes"`
	PeakBytes   int64 `json:"peak_bytes"`
	DiskBytes   int64 `json:"disk_bytes"`
	// RestartSeconds is from the start of the process until it answers what the best trial is, after SIGKILL.
	RestartSeconds float64 `json:"restart_seconds"`
	// Queries are medians while another study like it was trained, in milliseconds, by what was asked.
	Queries map[string]float64 `json:"query_milliseconds,omitempty"`
}

// idleFigures are what workers that hold nothing cost the coordinator.
type idleFigures struct {
	taken
	Workers int     `json:"workers"`
	Cores   float64 `json:"cores"`
	// BytesEach is memory.
	BytesEach float64 `json:"bytes_each"`
}

// peerFigures are what another tool did. The scripts print what comes after the number of trials. What a tool does not
// have is 0.
type peerFigures struct {
	taken
	Tool    string `json:"tool"`
	Version string `json:"version"`
	Trials  int    `json:"trials"`
	// Finished may be more than Trials where processes try a point twice, and is less in a search that was stopped.
	Finished       int     `json:"finished"`
	Distinct       int     `json:"distinct"`
	Seconds        float64 `json:"seconds"`
	CreateSeconds  float64 `json:"create_seconds,omitempty"`
	MemoryBytes    int64   `json:"memory_bytes"`
	DiskBytes      int64   `json:"disk_bytes,omitempty"`
	BestMillis     float64 `json:"best_milliseconds,omitempty"`
	RestartSeconds float64 `json:"restart_seconds,omitempty"`
	// StoppedAfter is the limit of seconds that ended it.
	StoppedAfter float64 `json:"stopped_after_seconds,omitempty"`
}

// rate is how many trials have finished in a second.
func (p peerFigures) rate() float64 { return float64(p.Finished) / max(p.Seconds, 1e-3) }

// readFigures reads a file, or returns no figures if there is none yet.
func readFigures(path string) (*figures, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &figures{}, nil
	}
	if err != nil {
		return nil, err
	}
	var f figures
	if err := json.Unmarshal(content, &f); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &f, nil
}

// addFigures adds to a file what add adds. Without a path it does nothing.
func addFigures(path string, add func(*figures)) error {
	if path == "" {
		return nil
	}
	f, err := readFigures(path)
	if err != nil {
		return err
	}
	f.Processor, f.Cores = processorName(), runtime.NumCPU()
	add(f)
	content, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	// Whoever reads it sees the old file or the new one.
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", append(content, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// replace puts one of several figures where its like was, or where it belongs in their order.
func replace[F any](all []F, one F, order func(a, b F) int) []F {
	at, found := slices.BinarySearchFunc(all, one, order)
	if found {
		all[at] = one
		return all
	}
	return slices.Insert(all, at, one)
}

// processorName is the processor's model, or the architecture where the system does not tell.
func processorName() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}
