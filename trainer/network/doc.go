// Package network builds networks from lists of layers that read like the paper, and has what they share, which is
// their parameters, how those start, and how a network, or a part of it, is run over images.
package network
