// Package examples has the specs of this folder that are built into the binary.
package examples

import _ "embed"

// Reproduce is the reproduction of the paper, and ReproduceQuick a small one.
var (
	//go:embed reproduce.yaml
	Reproduce []byte
	//go:embed reproduce-quick.yaml
	ReproduceQuick []byte
)
