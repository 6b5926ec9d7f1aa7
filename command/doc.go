// Package command is the command line: it reads specs and flags, starts coordinators and workers or talks to a
// coordinator, and shows what they answer, as tables to people and as JSON, YAML or CSV to programs. Each command has a
// file; spec*.go read specs, output.go writes listings, progress*.go show a study under way, data_directory.go says where
// a coordinator keeps what it must not lose, and cluster.go is the coordinator with its workers that trellis run starts.
//
// A client is given one address or those of several nodes, and goes on through another node when one goes away: client.go
// says which calls are repeated then.
//
// What the commands promise to scripts is in their help texts: trellis help exit-codes says what the exit codes mean.
package command
