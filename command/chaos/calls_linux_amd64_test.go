package chaos

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// operand says where a call's arguments name the file that it changes.
type operand struct {
	name string
	// file is the argument that is a file descriptor, path the one that is a path, relative to the folder whose
	// descriptor is the argument before it if at is true. -1 for none.
	file, path int
	at         bool
}

// changing are the calls that change files or folders.
var changing = map[uint64]operand{
	unix.SYS_WRITE:           {"write", 0, -1, false},
	unix.SYS_PWRITE64:        {"pwrite64", 0, -1, false},
	unix.SYS_WRITEV:          {"writev", 0, -1, false},
	unix.SYS_PWRITEV:         {"pwritev", 0, -1, false},
	unix.SYS_PWRITEV2:        {"pwritev2", 0, -1, false},
	unix.SYS_SENDFILE:        {"sendfile", 0, -1, false},
	unix.SYS_COPY_FILE_RANGE: {"copy_file_range", 2, -1, false},
	unix.SYS_FSYNC:           {"fsync", 0, -1, false},
	unix.SYS_FDATASYNC:       {"fdatasync", 0, -1, false},
	unix.SYS_FTRUNCATE:       {"ftruncate", 0, -1, false},
	unix.SYS_FALLOCATE:       {"fallocate", 0, -1, false},
	unix.SYS_TRUNCATE:        {"truncate", -1, 0, false},
	unix.SYS_OPEN:            {"open", -1, 0, false},
	unix.SYS_CREAT:           {"creat", -1, 0, false},
	unix.SYS_OPENAT:          {"openat", -1, 1, true},
	unix.SYS_RENAME:          {"rename", -1, 0, false},
	unix.SYS_RENAMEAT:        {"renameat", -1, 1, true},
	unix.SYS_RENAMEAT2:       {"renameat2", -1, 1, true},
	unix.SYS_MKDIR:           {"mkdir", -1, 0, false},
	unix.SYS_MKDIRAT:         {"mkdirat", -1, 1, true},
	unix.SYS_RMDIR:           {"rmdir", -1, 0, false},
	unix.SYS_UNLINK:          {"unlink", -1, 0, false},
	unix.SYS_UNLINKAT:        {"unlinkat", -1, 1, true},
	unix.SYS_LINK:            {"link", -1, 1, false},
	unix.SYS_LINKAT:          {"linkat", -1, 3, true},
	unix.SYS_SYMLINK:         {"symlink", -1, 1, false},
	unix.SYS_SYMLINKAT:       {"symlinkat", -1, 2, true},
}

// changeOf says what the call in a thread's registers would change. Its path is empty if that is not a file.
func changeOf(thread int, registers *syscall.PtraceRegs) change {
	number := registers.Orig_rax
	call, known := changing[number]
	if !known {
		return change{}
	}
	arguments := [...]uint64{
		registers.Rdi, registers.Rsi, registers.Rdx, registers.R10, registers.R8, registers.R9,
	}
	if number == unix.SYS_OPENAT && arguments[2]&(unix.O_CREAT|unix.O_TRUNC) == 0 ||
		number == unix.SYS_OPEN && arguments[1]&(unix.O_CREAT|unix.O_TRUNC) == 0 {
		return change{}
	}
	folder := fmt.Sprintf("/proc/%d/fd/", thread)
	if call.file >= 0 {
		path, err := os.Readlink(folder + fmt.Sprint(int32(arguments[call.file])))
		if err != nil {
			return change{}
		}
		return change{call.name, path}
	}
	path := textAt(thread, uintptr(arguments[call.path]))
	if filepath.IsAbs(path) {
		return change{call.name, filepath.Clean(path)}
	}
	base := fmt.Sprintf("/proc/%d/cwd", thread)
	if call.at && int32(arguments[call.path-1]) != unix.AT_FDCWD {
		base = folder + fmt.Sprint(int32(arguments[call.path-1]))
	}
	if base, err := os.Readlink(base); err == nil {
		return change{call.name, filepath.Join(base, path)}
	}
	return change{}
}

// textAt reads a text that ends with a zero byte from a thread's memory.
func textAt(thread int, address uintptr) string {
	buffer := make([]byte, 512)
	n, _ := syscall.PtracePeekData(thread, address, buffer)
	text, _, _ := bytes.Cut(buffer[:n], []byte{0})
	return string(text)
}

// tracedVariable names, in the environment of a process that is to be traced, the binary that it is to become.
const tracedVariable = "TRELLIS_CHAOS_TRACED"

// becameTraced turns this process into the binary that is to be traced, with a filter that stops it at the calls above
// and lets all others pass at full speed. It returns false in a process that is not to be traced.
func becameTraced() bool {
	path := os.Getenv(tracedVariable)
	if path == "" {
		return false
	}
	runtime.LockOSThread()
	err := installFilter()
	if err == nil {
		environment := make([]string, 0, len(os.Environ()))
		for _, variable := range os.Environ() {
			if !strings.HasPrefix(variable, tracedVariable+"=") {
				environment = append(environment, variable)
			}
		}
		err = syscall.Exec(path, os.Args, environment)
	}
	fmt.Fprintln(os.Stderr, "become traced:", err)
	os.Exit(1)
	return true
}

// installFilter has the calling thread, and what it becomes, stopped at the calls above.
func installFilter() error {
	const offsetOfNumber = 0
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offsetOfNumber}}
	left := len(changing)
	for number := range changing {
		// If it is the one, jump to the end; else to the next.
		filter = append(filter, unix.SockFilter{
			Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(number), Jt: uint8(left), Jf: 0,
		})
		left--
	}
	filter = append(filter,
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_TRACE},
	)
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up privileges: %w", err)
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return fmt.Errorf("install the filter: %w", errno)
	}
	return nil
}
