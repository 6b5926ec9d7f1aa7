// Package trellisv1 is version 1 of Trellis's API and of the commands in its log, generated from the .proto files
// beside it. The same messages are what the API returns, what the log carries and what the store keeps. A stored
// message is never mutated: clone it, change the clone, store that.
package trellisv1
