package command

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	trellisv1 "trellis/proto/trellis/v1"
)

// completeTimeout bounds how long the shell waits for the names of studies.
const completeTimeout = 2 * time.Second

// completeWith lets the shell complete a flag with a fixed set of values. It panics if the command has no such flag.
func completeWith(cmd *cobra.Command, flag string, values ...string) {
	completion := cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
	if err := cmd.RegisterFlagCompletionFunc(flag, completion); err != nil {
		panic(fmt.Sprintf("complete --%s of %s: %v", flag, cmd.Name(), err))
	}
}

// completeStudies lets the shell complete the names of the coordinator's studies.
func completeStudies(options *clientOptions) cobra.CompletionFunc {
	return completeFrom(options, func(ctx context.Context, c *client) ([]string, error) {
		var names []string
		err := c.eachStudy(ctx, func(study *trellisv1.Study) error {
			names = append(names, study.GetName())
			return nil
		})
		return names, err
	})
}

// completeNodes lets the shell complete the addresses of the cluster's nodes.
func completeNodes(options *clientOptions) cobra.CompletionFunc {
	return completeFrom(options, func(ctx context.Context, c *client) ([]string, error) {
		answer, err := call(ctx, callTimeout, c.GetCluster, &trellisv1.GetClusterRequest{})
		var addresses []string
		for _, node := range answer.GetNodes() {
			addresses = append(addresses, node.GetAddress())
		}
		return addresses, err
	})
}

// completeFrom lets the shell complete a command's only argument with what a coordinator answers.
func completeFrom(options *clientOptions, ask func(context.Context, *client) ([]string, error)) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		c, err := newClient(options.address, io.Discard)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
		defer cancel()
		names, err := ask(ctx, c)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
