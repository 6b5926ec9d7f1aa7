package doctor

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"trellis/command/output"
	"trellis/trainer/kernel"
	"trellis/worker/capacity"
)

// machine is what is checked of a machine, and how. Tests replace what they can't have.
type machine struct {
	// data is the data directory. Empty: it is not checked.
	data string
	// listen, http and metrics are addresses to listen on. Empty ones are not checked.
	listen, http, metrics string
	programs              bool
	// root is "/", or where another machine's /proc and /sys are.
	root string
	// sync writes a file's content to its disk.
	sync func(*os.File) error
	// space returns how much of a folder's disk is free, and how much must be for new studies, in bytes.
	space func(folder string) (free, reserve uint64, err error)
	// kernel is the trainer's arithmetic that the processor has.
	kernel string
	// python is the interpreter that programs name.
	python string
}

const (
	// fewFiles and tooFewFiles are limits on open files. A coordinator has two for each worker and client, and some for its log.
	fewFiles, tooFewFiles = 4096, 256
	// littleMemory and tooLittleMemory are in bytes. A coordinator takes 90 to 550 MB, and a worker on MNIST 200 MB and more
	// for each slot.
	littleMemory, tooLittleMemory = 1 << 30, 256 << 20
	// A process that Python starts may have its output, and outlive it.
	pythonTimeout, pythonOutput = 10 * time.Second, time.Second
)

func thisMachine() *machine {
	return &machine{
		root: "/", sync: (*os.File).Sync, space: diskSpace, kernel: kernel.Path(), python: "python3",
	}
}

func (m *machine) check(ctx context.Context) []finding {
	var findings []finding
	if m.data != "" {
		findings = append(findings, m.checkData(ctx)...)
	}
	findings = append(findings, checkFiles(), m.checkCores(), m.checkMemory(ctx))
	for _, one := range []struct{ flag, address string }{
		{"listen", m.listen}, {"http", m.http}, {"metrics", m.metrics},
	} {
		if one.address != "" {
			findings = append(findings, m.checkAddress(ctx, one.flag, one.address))
		}
	}
	if m.programs {
		findings = append(findings, m.checkPython(ctx))
	}
	return findings
}

// checkFiles is about how many files and connections a process may have open. Go raises its own limit as far as it may.
func checkFiles() finding {
	f := finding{Check: "open files", State: fine}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		f.State, f.Found = warning, fmt.Sprintf("the limit can't be read (%v)", err)
		return f
	}
	f.Found = fmt.Sprintf("a process may have %d open", limit.Max)
	switch {
	case limit.Max < tooFewFiles:
		f.State = fault
	case limit.Max < fewFiles:
		f.State = warning
	default:
		return f
	}
	f.Advice = fmt.Sprintf("raise the hard limit to %d or more: LimitNOFILE= of systemd, ulimit -Hn, or "+
		"/etc/security/limits.conf", fewFiles)
	return f
}

func (m *machine) checkCores() finding {
	f := finding{
		Check: "processor", State: fine,
		Found: fmt.Sprintf("%s of %d usable, arithmetic %s", output.Count(uint64(runtime.GOMAXPROCS(0)), "core"), runtime.NumCPU(), m.kernel),
	}
	if m.kernel == "portable" && runtime.GOARCH == "amd64" {
		f.State = warning
		f.Advice = "models train many times slower without AVX2: use a newer processor, or let the virtual machine have the " +
			"host's (cpu host)"
	}
	return f
}

func (m *machine) checkMemory(ctx context.Context) finding {
	f := finding{Check: "memory", State: fine}
	usable := capacity.Of(ctx, m.root).GetMemory()
	if usable == 0 {
		f.State, f.Found = warning, "its size can't be read"
		return f
	}
	f.Found = output.ShortBytes(usable) + " usable"
	switch {
	case usable < tooLittleMemory:
		f.State = fault
	case usable < littleMemory:
		f.State = warning
	default:
		return f
	}
	f.Advice = "give it 1 GiB or more: add memory, or raise the limit of its control group (MemoryMax= of systemd, the " +
		"container's or job's memory)"
	return f
}

// checkPython is about what programs in Python need: the package trellis, which workers bring, needs 3.10.
func (m *machine) checkPython(ctx context.Context) finding {
	f := finding{Check: "python", State: warning}
	ctx, cancel := context.WithTimeout(ctx, pythonTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, m.python, "-c", "import sys; print(*sys.version_info[:3])")
	command.WaitDelay = pythonOutput
	text, err := command.Output()
	if err != nil {
		f.Found, f.Advice = fmt.Sprintf("%s does not run (%v)", m.python, err), "install Python 3.10 or newer, if programs use it"
		return f
	}
	words := strings.Fields(string(text))
	f.Found = "Python " + strings.Join(words, ".")
	if len(words) == 3 {
		major, _ := strconv.Atoi(words[0])
		minor, _ := strconv.Atoi(words[1])
		if major > 3 || major == 3 && minor >= 10 {
			f.State = fine
			return f
		}
	}
	f.Advice = "programs that import trellis need 3.10 or newer"
	return f
}
