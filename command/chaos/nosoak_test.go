//go:build !soak

package chaos

const soak = false
