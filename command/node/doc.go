// Package node starts what a coordinator needs in this process: its data directory, its data sets, its listeners and
// its metrics; and, for commands that have all in one process, its workers.
package node
