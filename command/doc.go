// Package command is the command line. This room has the root command, what the version is and what the exit codes
// mean; below it are, from top to bottom:
//
//	search, studies   the commands that begin a search, and those on studies that are there
//	answer, cluster   the commands that ask what was found, and those that run a cluster
//	certificates      the commands that make its certificates
//	progress, node    a study under way on the screen; a coordinator with its workers in this process
//	cli               what all commands share
//	describe, client  what is said about a study; the connection to a coordinator
//	spec, output      files that users write; results that we write
//	exit              exit codes and the errors that lead to them
//
// Besides, reproduction makes a paper of studies, fake and golden serve tests, mutants plants bugs and chaos breaks
// things. Arrows run downwards only, which a test enforces.
//
// What the commands promise to scripts is in their help texts: trellis help exit-codes says what the exit codes mean.
package command
