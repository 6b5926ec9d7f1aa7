//go:build !(linux && amd64)

package chaos

// becameTraced is for systems whose system calls this package can't intercept.
func becameTraced() bool { return false }
