// Package data has the commands for data sets. They work on the folder of data sets of this machine, from which a coordinator
// serves them, and need no coordinator.
package data
