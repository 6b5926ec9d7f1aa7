package chaos

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// binary is trellis, built by TestMain.
var binary string

func TestMain(m *testing.M) {
	if becameTraced() || becameLoad() {
		return
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(code)
}

// run builds the binary, unless TRELLIS_CHAOS_BINARY names one, runs the tests and looks for goroutines that they have
// left behind.
func run(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "trellis-chaos-binary-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	binary = filepath.Join(dir, "trellis")
	if built := os.Getenv("TRELLIS_CHAOS_BINARY"); built != "" {
		binary = built
		return test(m)
	}
	// As make trellis builds it, which then has all packages already, or the other way round.
	build := exec.Command("go", "build", "-trimpath", "-o", binary, "trellis")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if raced {
		build = exec.Command("go", "build", "-race", "-o", binary, "trellis")
	}
	if output, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%v: %w\n%s", build, err, output)
	}
	return test(m)
}

func test(m *testing.M) (code int, err error) {
	if code := m.Run(); code != 0 {
		return code, nil
	}
	if err := goleak.Find(); err != nil {
		return 1, err
	}
	return 0, nil
}

// parallel lets a test run beside others: most of their time they wait for leases, elections and starts. Where they
// measure how long those take, and under the race detector, which makes them compute, they run one after the other.
func parallel(t *testing.T) {
	t.Helper()
	if !soak && !raced {
		t.Parallel()
	}
}

// skipRaced skips a test under the race detector. It is for tests whose processes do nothing beside one another that the
// processes of other tests don't: bits, system calls, disks and rates are tested without it, at several times the speed.
func skipRaced(t *testing.T) {
	t.Helper()
	if raced {
		t.Skip("the race detector sees the same in other tests of this package")
	}
}

// newRandom returns a source of random numbers whose seed is logged.
func newRandom(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("TRELLIS_CHAOS_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d; repeat with TRELLIS_CHAOS_SEED=%d", seed, seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// count is how often a test does what it does: the environment says it, else it depends on how the test was started.
func count(t *testing.T, variable string, short, ordinary, long int) int {
	t.Helper()
	if text := os.Getenv(variable); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	switch {
	case soak:
		return long
	case testing.Short() || raced:
		return short
	default:
		return ordinary
	}
}

// between draws a duration.
func between(random *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(random.Int64N(int64(most-least)+1))
}
