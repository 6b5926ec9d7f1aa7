// Package exit has the exit codes, and the errors that lead to them: see Help.
package exit
