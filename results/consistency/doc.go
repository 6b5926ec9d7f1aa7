// Package consistency checks that restored rows contradict neither themselves nor one another. A restored state must be
// one that commands could have led to, as far as commands rely on it: applying the log must not fail because of what an
// administrator has restored. It is pure: the store reads the rows, and asks.
package consistency
