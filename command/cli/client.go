package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"trellis/command/client"
	"trellis/command/configuration"
	"trellis/command/exit"
)

// ClientOptions are the flags of the commands that talk to a coordinator.
type ClientOptions struct {
	Address     string
	Credentials client.Credentials
	// wait is how long to wait for a coordinator that is not there. 0 waits forever.
	wait time.Duration
	cmd  *cobra.Command
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
		"coordinator `address`, or a comma-separated list of node addresses")
}

// TokenVariable has a token itself. There is no flag for that: other users of a machine see command lines.
const TokenVariable = "TRELLIS_TOKEN"

// CredentialFlags adds --authority, --certificate, --key and --token-file.
func CredentialFlags(cmd *cobra.Command, credentials *client.Credentials) {
	cmd.Flags().StringVar(&credentials.Authority, "authority", "",
		"`file` with the certificate of the coordinator's authority (default the system's authorities)")
	cmd.Flags().StringVar(&credentials.Certificate, "certificate", "", "`file` with your certificate")
	cmd.Flags().StringVar(&credentials.Key, "key", "", KeyUsage)
	cmd.Flags().StringVar(&credentials.TokenFile, "token-file", "",
		"`file` with your token, instead of a certificate (default the token in "+TokenVariable+")")
}

// KeyUsage is the text of --key.
const KeyUsage = "`file` with the key of --certificate, in the same folder (default beside it, ending in .key instead of .crt)"

// CompleteKey names the key of a certificate where --key does not.
func CompleteKey(certificate string, key *string) {
	if name, ok := strings.CutSuffix(certificate, ".crt"); ok && *key == "" {
		*key = name + ".key"
	}
}

// CompleteCredentials fills in what the flags of CredentialFlags leave out: the key, and the token of TokenVariable, which
// goes before a configured file.
func CompleteCredentials(cmd *cobra.Command, credentials *client.Credentials) {
	CompleteKey(credentials.Certificate, &credentials.Key)
	if token := os.Getenv(TokenVariable); token != "" && !configuration.Given(cmd, "token-file") {
		credentials.Token, credentials.TokenFile = token, ""
	}
}

// NewClient returns a client of the coordinator that the flags name.
func (o *ClientOptions) NewClient(notices io.Writer) (*client.Client, error) {
	if o.Credentials.Insecure && (o.Credentials.Authority != "" || o.Credentials.Certificate != "") {
		return nil, exit.Usagef("--insecure cannot be combined with --authority and --certificate: these are for " +
			"connections with encryption")
	}
	CompleteCredentials(o.cmd, &o.Credentials)
	return client.New(o.Address, o.Credentials, notices)
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
	return err
}

// Elsewhere is the flag that a command needs to find a coordinator that is not at the usual address.
func Elsewhere(address string) string {
	if address == client.DefaultAddress {
		return ""
	}
	return " --coordinator " + address
}
