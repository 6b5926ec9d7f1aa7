// Package answer has the commands that ask what a study has found: best, configurations, trials, report, importance,
// suggest and model. cmd_NAME.go is the command NAME; the other files write what it shows.
package answer
