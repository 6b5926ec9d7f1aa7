//go:build unix

package cli

import (
	"os/exec"
	"syscall"
)

// apart puts a command into a process group of its own, which the terminal's signals don't reach.
func apart(command *exec.Cmd) { command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
