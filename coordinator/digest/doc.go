// Package digest computes the digests of large studies in the background once they have ended, so that nobody waits for the first
// report. Those of a million runs take a second or more.
package digest
