//go:build unix

package files

import "syscall"

const noWaiting = syscall.O_NONBLOCK | syscall.O_NOFOLLOW
