// Package cli is what all commands share: the streams and the version that a command gets, its operands, and the flags
// that many have, with their completions.
package cli
