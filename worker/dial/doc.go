// Package dial connects to a coordinator, for both workers and commands. It turns what a user writes, the address of
// one node or of several, into a gRPC connection. Every node accepts every call: nodes that are not the leader forward
// what only the leader can do.
//
// It never uses a proxy. By default, gRPC would send calls to other machines through HTTPS_PROXY, which is meant for
// the web: a proxy rarely lets a plain gRPC connection through, and the coordinator is one of the user's own machines.
package dial
