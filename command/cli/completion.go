package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"trellis/command/client"
	"trellis/command/configuration"
	trellisv1 "trellis/proto/trellis/v1"
)

// completeTimeout bounds how long the shell waits for the names of studies.
const completeTimeout = 2 * time.Second

// Complete lets the shell complete a flag with a fixed set of values. It panics if the command has no such flag.
func Complete(cmd *cobra.Command, flag string, values ...string) {
	completion := cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
	if err := cmd.RegisterFlagCompletionFunc(flag, completion); err != nil {
		panic(fmt.Sprintf("complete --%s of %s: %v", flag, cmd.Name(), err))
	}
}

// CompleteStudies lets the shell complete the names of the coordinator's studies.
func CompleteStudies(options *ClientOptions) cobra.CompletionFunc {
	return completeFrom(options, func(ctx context.Context, c *client.Client) ([]string, error) {
		var names []string
		err := c.EachStudy(ctx, func(study *trellisv1.Study) error {
			names = append(names, study.GetName())
			return nil
		})
		return names, err
	})
}

// CompleteReports lets the shell complete the names of the coordinator's reports on papers.
func CompleteReports(options *ClientOptions) cobra.CompletionFunc {
	return completeFrom(options, func(ctx context.Context, c *client.Client) ([]string, error) {
		answer, err := client.Call(ctx, client.CallTimeout, c.ListPaperReports, &trellisv1.ListPaperReportsRequest{})
		var names []string
		for _, report := range answer.GetReports() {
			names = append(names, report.GetName())
		}
		return names, err
	})
}

// CompleteNodes lets the shell complete the addresses of the cluster's nodes.
func CompleteNodes(options *ClientOptions) cobra.CompletionFunc {
	return completeFrom(options, func(ctx context.Context, c *client.Client) ([]string, error) {
		answer, err := client.Call(ctx, client.CallTimeout, c.GetCluster, &trellisv1.GetClusterRequest{})
		var addresses []string
		for _, node := range answer.GetNodes() {
			addresses = append(addresses, node.GetAddress())
		}
		return addresses, err
	})
}

// completeFrom lets the shell complete a command's only argument with what a coordinator answers.
func completeFrom(
	options *ClientOptions, ask func(context.Context, *client.Client) ([]string, error),
) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		if err := configuration.Apply(cmd); err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		c, err := options.NewClient(io.Discard)
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

// CompleteSpecs has the shell complete spec files.
func CompleteSpecs(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"yaml", "yml", "json"}, cobra.ShellCompDirectiveFilterFileExt
}
