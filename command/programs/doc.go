// Package programs packs the files of programs, and has the commands about programs.
package programs
