package cli

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"

	"trellis/command/client"
)

// ClientOptions are the flags of the commands that talk to a coordinator.
type ClientOptions struct {
	Address     string
	Credentials client.Credentials
	// wait is how long to wait for a coordinator that is not there. 0 waits forever.
	wait time.Duration
	cmd  *cobra.Command
	// tokenFrom is where the token comes from, if one is used.
	tokenFrom string
}

// ClientFlags adds --coordinator and --wait, with how long a command waits otherwise.
func ClientFlags(cmd *cobra.Command, wait time.Duration) *ClientOptions {
	options := &ClientOptions{cmd: cmd}
	AddressFlag(cmd, &options.Address)
	CredentialFlags(cmd, &options.Credentials)
	cmd.Flags().BoolVar(&options.Credentials.Insecure, "insecure", false,
		"connect to other machines without encryption: whoever is on the way can read and change everything")
	text := "how long to wait for the coordinator to be reachable, or 0 to wait forever"
	cmd.Flags().DurationVar(&options.wait, "wait", wait, text)
	AtLeast(cmd.Flags(), "wait", &options.wait, 0)
	return options
}

// AddressFlag adds --coordinator.
func AddressFlag(cmd *cobra.Command, address *string) {
	cmd.Flags().StringVar(address, "coordinator", client.DefaultAddress,
		"coordinator `address`, a comma-separated list of node addresses, or file:/PATH of a file that has the address")
}

// Wait is how long to wait for a coordinator that is not there. 0 waits forever.
func (o *ClientOptions) Wait() time.Duration { return o.wait }

// NewClient returns a client of the coordinator that the flags name.
func (o *ClientOptions) NewClient(notices io.Writer) (*client.Client, error) {
	if err := o.ChooseEncryption(); err != nil {
		return nil, err
	}
	var err error
	if o.tokenFrom, err = CompleteCredentials(o.cmd, &o.Credentials); err != nil {
		return nil, err
	}
	c, err := client.New(o.Address, o.Credentials, notices)
	if err != nil {
		return nil, err
	}
	c.EncryptedBy = EncryptedBy(o.cmd)
	return c, nil
}

// WithClient runs what a command does with a coordinator, interruptible by signals.
func (env *Environment) WithClient(
	parent context.Context, options *ClientOptions, do func(context.Context, *client.Client) error,
) (err error) {
	ctx, stop := Interruptible(parent)
	defer stop()
	c, err := options.NewClient(env.Err)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := c.Connect(ctx, options.wait); err != nil {
		return err
	}
	err = do(ctx, c)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return NameToken(err, options.tokenFrom)
}

// Elsewhere is the flag that a command needs to find a coordinator that is not at the usual address.
func Elsewhere(address string) string {
	if address == client.DefaultAddress {
		return ""
	}
	return " --coordinator " + address
}
