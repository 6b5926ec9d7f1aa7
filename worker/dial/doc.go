// Package dial connects to a coordinator, in one way for workers and commands. It turns what a user writes, one address
// or those of several nodes, into a gRPC connection. Every node serves every call: one that is not the leader passes on
// what only the leader can do.
//
// No proxy is ever used. gRPC by itself would send what goes to another machine through HTTPS_PROXY, which is there for
// the web: a proxy rarely lets a plain gRPC connection through, and the coordinator is a machine of one's own.
package dial
