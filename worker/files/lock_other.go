//go:build !(linux || darwin || freebsd)

package files

import "os"

// lock grants nobody a file alone: without locks nothing is removed.
func lock(_ *os.File, alone bool) bool { return !alone }
