//go:build soak

package chaos

// soak says that the long versions run.
const soak = true
