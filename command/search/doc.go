// Package search has the commands that begin a search: run, submit and reproduce, and models, which lists what can be
// searched. cmd_NAME.go is the command NAME; plan.go and estimate.go are their dry run.
package search
