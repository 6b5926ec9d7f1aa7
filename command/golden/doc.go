// Package golden is for tests: it compares what a command writes with files under testdata.
// They are rewritten with: go test -run Golden ./command/... -update
package golden
