package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/tracing"
	"trellis/trainer"
	"trellis/worker/capacity"
	"trellis/worker/dial"
)

// Defaults of Config.
const (
	DefaultCoordinator = "localhost:7070"
	DefaultVersion     = "unknown"
)

// Limits of Config. The coordinator has the same limits.
const (
	maxSlots      = 1024
	maxCPUs       = 1 << 20
	maxNameLength = 200
	maxLabels     = 64
)

// Config configures a worker. The zero value of every field is its default.
type Config struct {
	// Coordinator is the address of the coordinator: host:port, several of these separated by commas if it has several
	// nodes, a target that gRPC resolves, such as dns:///host:port, or file: with the path of a file that has host:port.
	// Default: DefaultCoordinator.
	Coordinator string
	// Name is the first part of the worker's name, at most 200 bytes. A random suffix makes the name unique to the
	// process. Default: the host's name.
	Name string
	// Slots is how many runs are trained at the same time, between 1 and 1024. Each has a core. Default: the number
	// of cores that the process may use.
	Slots int
	// Threads is how many cores a run of a model uses at most: its own, and those of slots that have no run. Default:
	// all.
	Threads int
	// CacheDir is the folder where data sets and the files of programs are stored by content, and where programs run.
	// Default: the folder "trellis" in the user's cache folder.
	CacheDir string
	// Programs says that the worker runs programs: whoever may submit studies runs any command on this machine, as the
	// worker's user.
	Programs bool
	// CPUs is how many cores runs may use together, Memory how many bytes, and GPUs are those that they may use, not nil. What
	// is not set is what the machine has.
	CPUs   float64
	Memory uint64
	GPUs   []*trellisv1.Gpu
	// Sharers is how many workers share the machine, with this one, each with an equal part of its memory and cores,
	// but one core at least, and with GPUs of its own. Sharer is which of them this one is, from 0 on. Default: 1.
	Sharers, Sharer int
	// Labels are what specs can ask for, at most 64: names and values of 1 to 63 letters, digits and . _ - / (in values also
	// @ : +). Names start and end with a letter or digit.
	Labels map[string]string
	// Study is the only one whose runs the worker takes. The worker leaves when it has ended, and waits for one that is not there
	// yet. Default: it takes those of all.
	Study string
	// ExitWhenIdle is how long the worker stays without a run. 0 is as long as it is not drained.
	ExitWhenIdle time.Duration
	// DrainTimeout is how long a drain may take, with everything: the end of programs, the upload of checkpoints and the
	// coordinator's acknowledgement. 0 is as long as each of these may take by itself.
	DrainTimeout time.Duration
	// Root is where the machine's files are looked for that say what it has. Default: "/".
	Root string
	// Version is the binary's version. Default: DefaultVersion.
	Version string
	// Logger logs what an operator wants to know. Default: slog.Default.
	Logger *slog.Logger
	// Credentials say how the coordinator is known, and how it knows the worker.
	Credentials dial.Credentials
	// DialOptions are added to the worker's own.
	DialOptions []grpc.DialOption
	// Tracer traces attempts and their calls. Default: nothing is traced.
	Tracer *tracing.Tracer
	// Registerer receives the worker's metrics. It must not have another worker's metrics with the same labels.
	// Default: none.
	Registerer prometheus.Registerer

	// train trains a run, and now returns the time. Tests replace them, and what follows.
	train trainFunc
	now   func() time.Time
	// release gives memory that is not used any more back to the system, and keepWithin sets how many bytes the process
	// should take at most.
	release    func()
	keepWithin func(memory uint64)
}

// trainFunc is trainer.Train.
type trainFunc func(context.Context, trainer.Config, func(trainer.Report) error) (trainer.Result, error)

// Validate returns an error that lists everything that is wrong with the configuration, or nil.
func (c Config) Validate() error {
	var errs []error
	if c.Slots < 0 || c.Slots > maxSlots {
		errs = append(errs, fmt.Errorf("invalid slots %d: must be between 1 and %d", c.Slots, maxSlots))
	}
	if c.Threads < 0 {
		errs = append(errs, fmt.Errorf("invalid threads %d: must be 1 or more", c.Threads))
	}
	if len(c.Name) > maxNameLength || !utf8.ValidString(c.Name) {
		errs = append(errs, fmt.Errorf("invalid name %q: must be UTF-8 text of at most %d bytes", c.Name,
			maxNameLength))
	}
	errs = append(errs, validLabels(c.Labels))
	if c.Study != "" && !studyName.MatchString(c.Study) {
		errs = append(errs, fmt.Errorf("invalid study %q: must have 1 to 63 lower-case letters, digits and hyphens, and start "+
			"and end with a letter or digit", c.Study))
	}
	if c.CPUs < 0 || c.CPUs > maxCPUs || c.CPUs != c.CPUs {
		errs = append(errs, fmt.Errorf("invalid cpus %v: must be between 0 and %d", c.CPUs, maxCPUs))
	}
	if c.ExitWhenIdle < 0 || c.DrainTimeout < 0 {
		errs = append(errs, fmt.Errorf("exit when idle %v, drain timeout %v: must not be negative", c.ExitWhenIdle, c.DrainTimeout))
	}
	if c.Coordinator != "" {
		if _, err := dial.Nodes(c.Coordinator); err != nil {
			errs = append(errs, fmt.Errorf("coordinator: %w", err))
		}
	}
	if err := c.Credentials.Validate(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// What the coordinator takes.
var (
	labelName  = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$`)
	labelValue = regexp.MustCompile(`^[A-Za-z0-9._/@:+-]{1,63}$`)
	studyName  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
)

func validLabels(labels map[string]string) error {
	if len(labels) > maxLabels {
		return fmt.Errorf("%d labels: at most %d are allowed", len(labels), maxLabels)
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		if !labelName.MatchString(name) {
			errs = append(errs, fmt.Errorf("invalid name %q of a label: must have 1 to 63 letters, digits and . _ - /, and start "+
				"and end with a letter or digit", name))
		}
		if value := labels[name]; !labelValue.MatchString(value) {
			errs = append(errs, fmt.Errorf("invalid value %q of the label %s: must have 1 to 63 letters, digits and . _ - / @ : +",
				value, name))
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
	if c.Root == "" {
		c.Root = "/"
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
	if c.release == nil {
		c.release = debug.FreeOSMemory
	}
	if c.keepWithin == nil {
		c.keepWithin = keepHeapWithin
	}
	return c
}

// leastLimit is what a process may always take, in bytes: the collector must not run all the time because of a small
// --memory.
const leastLimit = 256 << 20

// keepHeapWithin has Go's collector run more often where memory would exceed what the worker has, in bytes, unless
// GOMEMLIMIT is set: what a large run left behind, and the fifth by which a heap may grow, would be more than there is.
func keepHeapWithin(memory uint64) {
	if os.Getenv("GOMEMLIMIT") == "" && memory > 0 {
		debug.SetMemoryLimit(int64(max(leastLimit, min(memory, math.MaxInt64))))
	}
}

func hostName() string {
	name, err := os.Hostname()
	if err != nil || !utf8.ValidString(name) {
		return "worker"
	}
	return name[:min(len(name), maxNameLength)]
}

// machine identifies this machine, so that the coordinator knows which workers are on the same one. It is empty if the
// host has no name of its own.
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
		// A service without a home folder.
		dir = os.TempDir()
	}
	return filepath.Join(dir, "trellis")
}

// uniqueName returns name with a suffix of 40 random bits.
func uniqueName(name string) string {
	return name + "-" + strings.ToLower(rand.Text()[:8])
}

// newKey returns 256 random bits.
func newKey() []byte {
	key := make([]byte, 32)
	rand.Read(key) // never fails
	return key
}

// processor returns the model of this machine's processor, or its architecture if the system does not tell the model.
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

// capacity returns what the worker has for runs: what was set, or what the machine has.
func (c Config) capacity(ctx context.Context) *trellisv1.Capacity {
	its := capacity.Of(ctx, c.Root)
	its.Programs, its.Threads = c.Programs, uint32(c.threads(c.Slots))
	if sharers := max(1, c.Sharers); sharers > 1 {
		its.Memory /= uint64(sharers)
		its.Cpus = max(min(1, its.Cpus), its.Cpus/float64(sharers))
		all := its.Gpus
		its.Gpus = nil
		for i := c.Sharer; i < len(all); i += sharers {
			its.Gpus = append(its.Gpus, all[i])
		}
	}
	// What was set is this worker's own.
	if c.CPUs > 0 {
		its.Cpus = c.CPUs
	}
	if c.Memory > 0 {
		its.Memory = c.Memory
	}
	if c.GPUs != nil {
		its.Gpus = c.GPUs
	}
	return its
}
