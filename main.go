// Command trellis searches grids of hyperparameters for autoencoders: see README.md, or trellis help.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run executes one command line and returns its exit code. Results go to stdout, everything else to stderr.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	cli := &commandLine{stdin: stdin, stdout: stdout, stderr: stderr}
	root := cli.rootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	command, err := root.ExecuteContextC(ctx)
	if err != nil && !cli.started {
		err = usageErrorf("%w\nTry: %s --help", err, command.CommandPath())
	}
	if err != nil {
		fmt.Fprintf(stderr, "trellis: %s\n", errorText(err))
	}
	return exitCode(err)
}
