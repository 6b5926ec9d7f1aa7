// Package scratch makes folders that are of no use without the process that made them. Who makes one locks it for as long as
// the process lives, and removes those that nobody holds: they were left by processes that were killed.
package scratch
