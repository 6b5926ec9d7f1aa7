// Package dial turns what a user writes for the coordinator, one address or those of several nodes, into what gRPC needs
// to connect. Every node serves every call: one that is not the leader passes on what only the leader can do.
package dial
