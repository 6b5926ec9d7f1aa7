package credentials

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/configuration"
	"trellis/command/describe"
	"trellis/command/exit"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

func init() {
	cli.Register(cli.Access, 40, LoginCommand)
	cli.Register(cli.Access, 50, LogoutCommand)
}

// The files of a login, beside the configuration file.
const (
	tokenFile     = "token"
	authorityFile = "authority.crt"
)

// LoginCommand is trellis login.
func LoginCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "login",
		Short: "Keep a coordinator's address and your credentials",
		Long: `Check an address, an authority and a token with the coordinator, and keep them: other commands need no flags then.
They are kept in the configuration file and beside it, in files that only you can read. A certificate stays where it
is. They replace those of an earlier login.`,
		Example: `  trellis login --coordinator host:7070 --authority authority.crt --token-file ann.token
  trellis studies`,
		Args:        cli.Operands(),
		Annotations: map[string]string{configuration.Writes: "true"},
	}
	options := cli.ClientFlags(cmd, client.DefaultWait)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			answer, err := client.Call(ctx, client.CallTimeout, c.WhoAmI, &trellisv1.WhoAmIRequest{})
			if err != nil {
				return err
			}
			if answer.GetPrincipal() == nil {
				return exit.Usagef("the coordinator at %s answers everybody: there is nothing to log in to", c.Address)
			}
			if err := keep(cmd, c); err != nil {
				return err
			}
			_, err = fmt.Fprintf(env.Out, "Logged in to %s as %s. Kept in %s.\n", c.Address,
				describe.Principal(answer.GetPrincipal()), configuration.Path(cmd))
			return err
		})
	}
	return cmd
}

// keep writes what a client connects with to the configuration.
func keep(cmd *cobra.Command, c *client.Client) error {
	folder := filepath.Dir(configuration.Path(cmd))
	settings := map[string]string{
		"coordinator": c.Address, "authority": "", "certificate": "", "key": "", "token-file": "",
	}
	token, err := c.Credentials.ReadToken()
	if err != nil {
		return err
	}
	if token != "" {
		if settings["token-file"], err = keepFile(folder, tokenFile, []byte(token+"\n")); err != nil {
			return err
		}
	}
	if path := c.Credentials.Authority; path != "" {
		content, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read the authority's certificate: %w", err)
		}
		if settings["authority"], err = keepFile(folder, authorityFile, content); err != nil {
			return err
		}
	}
	if c.Credentials.Certificate != "" {
		if settings["certificate"], err = filepath.Abs(c.Credentials.Certificate); err != nil {
			return err
		}
		if settings["key"], err = filepath.Abs(c.Credentials.Key); err != nil {
			return err
		}
	}
	if err := configuration.Write(cmd, settings); err != nil {
		return err
	}
	// What an earlier login has kept is not used any more.
	return forget(folder, map[string]bool{
		tokenFile: settings["token-file"] == "", authorityFile: settings["authority"] == "",
	})
}

// forget removes some of the files of a login.
func forget(folder string, unused map[string]bool) error {
	for name, remove := range unused {
		if !remove {
			continue
		}
		if err := os.Remove(filepath.Join(folder, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget a file: %w", err)
		}
	}
	return nil
}

// keepFile writes a file that only the user can read, and returns its path.
func keepFile(folder, name string, content []byte) (string, error) {
	path, err := filepath.Abs(filepath.Join(folder, name))
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", fmt.Errorf("make the configuration's folder: %w", err)
	}
	_, err = output.WriteFile(path, 0o600, nil, func(out io.Writer) error {
		_, err := out.Write(content)
		return err
	})
	return path, err
}

// LogoutCommand is trellis logout.
func LogoutCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "logout",
		Short: "Forget what trellis login keeps",
		Long: `Forget what trellis login keeps: the coordinator's address, the authority and your token. The token stays valid
until it expires or is revoked: trellis tokens revoke.`,
		Args: cli.Operands(),
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		err := configuration.Write(cmd, map[string]string{
			"coordinator": "", "authority": "", "certificate": "", "key": "", "token-file": "",
		})
		if err != nil {
			return err
		}
		folder := filepath.Dir(configuration.Path(cmd))
		if err := forget(folder, map[string]bool{tokenFile: true, authorityFile: true}); err != nil {
			return err
		}
		_, err = fmt.Fprintf(env.Out, "Logged out: removed the credentials from %s.\n", configuration.Path(cmd))
		return err
	}
	return cmd
}
