// Package studies has the commands on studies that are there: studies, watch, extend, retry, pause, resume, cancel and
// delete. cmd_NAME.go is the command NAME.
package studies
