// Package trellisv1 is version 1 of Trellis's API and of the commands in its log, generated from the .proto files
// beside it. The API returns the same messages that the log carries and the store keeps. A stored message is never
// mutated: clone it, change the clone, store the clone.
package trellisv1
