package doctor

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/prometheus/procfs"
)

// listening is the state of a socket in /proc/net/tcp.
const listening = 10

// listenerOn returns the name, command line and number of the process that listens on a port, or no name if that can't be read.
func listenerOn(root string, port uint64) (name string, arguments []string, pid int) {
	files, err := procfs.NewFS(filepath.Join(root, "proc"))
	if err != nil {
		return "", nil, 0
	}
	var sockets []string
	//lint:ignore SA1019 Two files in /proc say it, and need no library for netlink.
	for _, read := range []func() (procfs.NetTCP, error){files.NetTCP, files.NetTCP6} {
		lines, err := read()
		if err != nil {
			continue
		}
		for _, line := range lines {
			if line.St == listening && line.LocalPort == port {
				sockets = append(sockets, fmt.Sprintf("socket:[%d]", line.Inode))
			}
		}
	}
	processes, err := files.AllProcs()
	if err != nil {
		return "", nil, 0
	}
	for _, process := range processes {
		targets, err := process.FileDescriptorTargets()
		if err != nil {
			continue // Another user's, or it has ended.
		}
		for _, target := range targets {
			if slices.Contains(sockets, target) {
				name, err := process.Comm()
				if err != nil {
					return "", nil, 0
				}
				arguments, _ := process.CmdLine() // It may have ended.
				return name, arguments, process.PID
			}
		}
	}
	return "", nil, 0
}
