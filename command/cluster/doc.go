// Package cluster has the commands that make and run a cluster: coordinator, worker, workers, cluster, backup and
// restore. cmd_NAME.go is the command NAME.
package cluster
