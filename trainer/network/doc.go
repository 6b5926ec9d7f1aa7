// Package network has the networks: each a file that reads like the paper, and what they share, which is their
// parameters, how those start, and how a network is run over images.
package network
