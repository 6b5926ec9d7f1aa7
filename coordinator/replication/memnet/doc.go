// Package memnet is a network in memory for simulations of a cluster: pipes, partitions in both directions or in one,
// and nodes that go down. It works in virtual time (testing/synctest), where sockets of the operating system do not.
package memnet
