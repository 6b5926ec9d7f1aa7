// Command trellis searches grids of hyperparameters for autoencoders: see README.md, or trellis help.
package main

import (
	"context"
	"os"

	"trellis/command"
)

func main() {
	os.Exit(command.Run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
