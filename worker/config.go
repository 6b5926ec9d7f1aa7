package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"trellis/trainer"
	"trellis/worker/dial"
)

// Defaults of Config.
const (
	DefaultCoordinator = "localhost:7070"
	DefaultVersion     = "unknown"
)

// Limits of Config, which the coordinator has too.
const (
	maxSlots      = 1024
	maxNameLength = 200
)

// Config says who a worker is and whom it works for. The zero value of every field is its default.
type Config struct {
	// Coordinator is where the coordinator listens: host:port, several of these with commas between them if it has several
	// nodes, or a target that gRPC resolves, such as dns:///host:port. Default: DefaultCoordinator.
	Coordinator string
	// Name is the first part of the worker's name. A random suffix makes the name unique to the process. At most 200
	// bytes. Default: the host's name.
	Name string
	// Slots is how many runs are trained side by side, 1 to 1024. Each keeps one core busy. Default: the number of cores
	// that the process may use.
	Slots int
	// CacheDir is the folder where data sets are kept, by content. Default: trellis in the user's cache folder.
	CacheDir string
	// Version is the binary's. Default: DefaultVersion.
	Version string
	// Logger is told what a person who looks after the worker wants to know. Default: slog.Default.
	Logger *slog.Logger
	// DialOptions are added to the worker's own, which connect without TLS.
	DialOptions []grpc.DialOption
	// Registerer gets the worker's metrics. It must not hold those of another worker under the same labels. Default:
	// none.
	Registerer prometheus.Registerer

	// train trains a run, and now tells the time. Tests replace them.
	train trainFunc
	now   func() time.Time
}

// trainFunc is trainer.Train.
type trainFunc func(context.Context, trainer.Config, func(trainer.Report) error) (trainer.Result, error)

// Validate says what is wrong with the configuration, all of it.
func (c Config) Validate() error {
	var errs []error
	if c.Slots < 0 || c.Slots > maxSlots {
		errs = append(errs, fmt.Errorf("slots: %d is not between 1 and %d", c.Slots, maxSlots))
	}
	if len(c.Name) > maxNameLength || !utf8.ValidString(c.Name) {
		errs = append(errs, fmt.Errorf("name: %q is not a UTF-8 text of at most %d bytes", c.Name, maxNameLength))
	}
	if c.Coordinator != "" {
		if _, err := dial.Nodes(c.Coordinator); err != nil {
			errs = append(errs, fmt.Errorf("coordinator: %w", err))
		}
	}
	return errors.Join(errs...)
}

// withDefaults fills in what is not set.
func (c Config) withDefaults() Config {
	if c.Coordinator == "" {
		c.Coordinator = DefaultCoordinator
	}
	if c.Name == "" {
		c.Name = hostName()
	}
	if c.Slots == 0 {
		c.Slots = min(runtime.GOMAXPROCS(0), maxSlots)
	}
	if c.CacheDir == "" {
		c.CacheDir = cacheDir()
	}
	if c.Version == "" {
		c.Version = DefaultVersion
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.train == nil {
		c.train = trainer.Train
	}
	if c.now == nil {
		c.now = time.Now
	}
	return c
}

func hostName() string {
	name, err := os.Hostname()
	if err != nil || !utf8.ValidString(name) {
		return "worker"
	}
	return name[:min(len(name), maxNameLength)]
}

// machine tells the coordinator which workers are on one machine. Nothing, if the host has no name of its own.
func machine() string {
	name, err := os.Hostname()
	if err != nil || !utf8.ValidString(name) || len(name) > maxNameLength || name == "localhost" {
		return ""
	}
	return name
}

func cacheDir() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		// A service without a home.
		dir = os.TempDir()
	}
	return filepath.Join(dir, "trellis")
}

// uniqueName is name with a suffix of 40 random bits.
func uniqueName(name string) string {
	return name + "-" + strings.ToLower(rand.Text()[:8])
}

// processor is the model of this machine's processor where the system tells it, else its architecture.
func processor() string {
	const field = "model name"
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(info)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == field {
			value = strings.ToValidUTF8(strings.TrimSpace(value), "")
			return value[:min(len(value), maxNameLength)]
		}
	}
	return runtime.GOARCH
}
