// Package client talks to a coordinator, or to one of the nodes of a cluster of them: it connects, waits, repeats what
// may be repeated (client.go says which calls), submits studies, follows them and fetches what they have trained.
package client
