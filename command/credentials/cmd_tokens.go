package credentials

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/describe"
	"trellis/command/exit"
	"trellis/command/output"
	"trellis/coordinator/access"
	trellisv1 "trellis/proto/trellis/v1"
)

func init() { cli.Register(cli.Access, 20, TokensCommand) }

// TokensCommand is trellis tokens.
func TokensCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tokens",
		Short: "Manage tokens",
		Long: `Manage tokens, by which people and workers tell a coordinator who they are. A coordinator with TLS answers
nobody without a token or a client certificate. Tokens have a role:

    viewer      sees studies, trials, workers and events
    submitter   also creates studies, and changes its own
    admin       also changes all studies, the cluster and its tokens, backs up and restores
    worker      trains runs, and nothing else

Give a token to a command with --token-file or in the variable TRELLIS_TOKEN. It is sent over TLS only.`,
		Args: cli.UnknownSubcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(tokensCreateCommand(env), tokensListCommand(env), tokensRevokeCommand(env))
	return cmd
}

// defaultLifetime is how long a token is valid if nothing else is asked for.
const defaultLifetime = 90 * 24 * time.Hour

func tokensCreateCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Create a token",
		Long: `Create a token and write it to standard output, or to a file that only you can read. It is shown once: the
coordinator keeps its hash only.

Tokens with the same role and name belong to the same principal. To replace a token, create another with its role and
name, give it to those who use the first, and revoke that. A worker reads its --token-file again whenever it connects, so
it keeps training. --file replaces a file only if it has a token, unless --force is set.`,
		Example: `  trellis tokens create --role worker --name gpu-farm --file worker.token
  trellis tokens create --role submitter --name ann --expires 30d`,
		Args: cli.Operands(),
	}
	options, role := cli.ClientFlags(cmd, client.DefaultWait), roleFlag(cmd)
	var name, file string
	var force bool
	var expires cli.Lifetime
	cmd.Flags().StringVar(&name, "name", "", "`name` of the person, or of the group of workers, that will use it")
	cli.ExpiresFlag(cmd, &expires, defaultLifetime, "how long it is valid, for example 90d or 1y")
	cmd.Flags().StringVarP(&file, "file", "f", "-", "`file` to write, - for standard output")
	cmd.Flags().BoolVar(&force, "force", false, "replace a file that has something else than a token")
	for _, needed := range []string{"role", "name"} {
		if err := cmd.MarkFlagRequired(needed); err != nil {
			panic(err)
		}
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !force {
			if err := replaceable(file); err != nil {
				return err
			}
		}
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			return createToken(ctx, env, c, &trellisv1.CreateTokenRequest{
				Role: *role, Name: name, ExpireTime: timestamppb.New(time.Now().Add(time.Duration(expires))),
			}, file)
		})
	}
	return cmd
}

// replaceable refuses to replace a file that has something else than a token.
func replaceable(file string) error {
	if file == "-" {
		return nil
	}
	if cli.IsSecret(file) {
		return exit.Usagef("the value of --file is a token, not the name of a file")
	}
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (info.Size() == 0 || !info.Mode().IsRegular()) {
		return nil
	}
	if token, err := (client.Credentials{TokenFile: file}).ReadToken(); err != nil || !cli.IsSecret(token) {
		return exit.Usagef("%s already exists and has no token: choose another --file, or add --force to replace it",
			file)
	}
	return nil
}

// createToken creates a token and writes its secret. If that fails, the token is revoked: nobody has it.
func createToken(
	ctx context.Context, env *cli.Environment, c *client.Client, request *trellisv1.CreateTokenRequest, file string,
) error {
	created, err := client.Call(ctx, client.CallTimeout, c.CreateToken, request)
	if err != nil {
		return err
	}
	_, err = output.WriteFile(file, 0o600, env.Out, func(out io.Writer) error {
		_, err := fmt.Fprintln(out, created.GetSecret())
		return err
	})
	token := created.GetToken()
	if err != nil {
		_, revokeErr := client.Call(context.WithoutCancel(ctx), client.CallTimeout, c.RevokeToken,
			&trellisv1.RevokeTokenRequest{Id: token.GetId()})
		return errors.Join(err, revokeErr)
	}
	if _, err := fmt.Fprintf(env.Err, "Created token %s of %s, which %s.\n", token.GetId(),
		describe.Principal(token.GetPrincipal()), describeExpiry(token)); err != nil {
		return err
	}
	caller, err := client.Call(ctx, client.CallTimeout, c.WhoAmI, &trellisv1.WhoAmIRequest{})
	if err == nil && caller.GetPrincipal() == nil {
		fmt.Fprintf(env.Err, "trellis: this coordinator does not ask for tokens: whoever reaches it may do everything. "+
			"To change that, start it with TLS: trellis certificates --help\n")
	}
	return nil
}

func describeExpiry(token *trellisv1.Token) string {
	if token.GetExpireTime() == nil {
		return "never expires"
	}
	return "expires on " + output.ShortTime(token.GetExpireTime())
}

func tokensListCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List tokens",
		Long:  `List the tokens, without their secrets, which nobody knows.`,
		Args:  cli.Operands(),
	}
	options, format := cli.ClientFlags(cmd, client.DefaultWait), cli.OutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			list := output.NewList(env.Out, *format, "tokens", tokenColumns(time.Now()))
			if err := c.EachToken(ctx, list.Add); err != nil {
				return err
			}
			return list.Close("There are no tokens. Create one: trellis tokens create --role ROLE --name NAME")
		})
	}
	return cmd
}

// tokenColumns are those of a list that is written now.
func tokenColumns(now time.Time) []output.Column[*trellisv1.Token] {
	return []output.Column[*trellisv1.Token]{
		output.Both("id", (*trellisv1.Token).GetId),
		output.Both("role", func(t *trellisv1.Token) string { return output.EnumWord(t.GetPrincipal().GetRole()) }),
		output.Both("name", func(t *trellisv1.Token) string { return t.GetPrincipal().GetName() }),
		{
			Name: "create_time", Plain: func(t *trellisv1.Token) string { return output.PlainTime(t.GetCreateTime()) },
			Short: func(t *trellisv1.Token) string { return output.ShortTime(t.GetCreateTime()) },
		},
		{
			Name: "expire_time", Plain: func(t *trellisv1.Token) string { return output.PlainTime(t.GetExpireTime()) },
			Short: func(t *trellisv1.Token) string {
				switch {
				case t.GetExpireTime() == nil:
					return "never"
				case !now.Before(t.GetExpireTime().AsTime()):
					return output.ShortTime(t.GetExpireTime()) + " (expired)"
				}
				return output.ShortTime(t.GetExpireTime())
			},
		},
		output.Both("creator", func(t *trellisv1.Token) string { return describe.Principal(t.GetCreator()) }),
	}
}

func tokensRevokeCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revoke ID",
		Short: "Revoke a token",
		Long: `Revoke a token. Calls with it are refused at once, and workers that use it lose their session within seconds:
they go on training and try again, in case their --token-file has another token by then.

ID is in the list of tokens, and in the secret: trellis_ID_...`,
		Args: cli.Operands("ID"),
	}
	options := cli.ClientFlags(cmd, client.DefaultWait)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			id := args[0]
			if secretID, ok := access.SecretID(id); ok {
				id = secretID
			}
			revoked, err := client.Call(ctx, client.CallTimeout, c.RevokeToken, &trellisv1.RevokeTokenRequest{Id: id})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(env.Out, "Revoked token %s of %s.\n", id,
				describe.Principal(revoked.GetToken().GetPrincipal()))
			return err
		})
	}
	return cmd
}

// tokenRoles are the roles that a token can have. Nodes are known by certificates alone.
var tokenRoles = []trellisv1.Role{
	trellisv1.Role_ROLE_VIEWER, trellisv1.Role_ROLE_SUBMITTER, trellisv1.Role_ROLE_ADMIN, trellisv1.Role_ROLE_WORKER,
}

// roleFlag adds --role.
func roleFlag(cmd *cobra.Command) *trellisv1.Role {
	role := new(trellisv1.Role)
	words := make([]string, len(tokenRoles))
	for i, one := range tokenRoles {
		words[i] = output.EnumWord(one)
	}
	cmd.Flags().Var(roleValue{role}, "role", "what it may do: "+output.Alternatives(words))
	cli.Complete(cmd, "role", words...)
	return role
}

type roleValue struct{ role *trellisv1.Role }

func (v roleValue) String() string {
	if v.role == nil || *v.role == trellisv1.Role_ROLE_UNSPECIFIED {
		return ""
	}
	return output.EnumWord(*v.role)
}

// Type is what the help text calls the value.
func (v roleValue) Type() string { return "role" }

// Set reads a role.
func (v roleValue) Set(word string) error {
	var words []string
	for _, one := range tokenRoles {
		if output.EnumWord(one) == word {
			*v.role = one
			return nil
		}
		words = append(words, output.EnumWord(one))
	}
	if word == output.EnumWord(trellisv1.Role_ROLE_NODE) {
		return errors.New("nodes are known by their certificates alone: see trellis certificates")
	}
	return errors.New("must be one of " + strings.Join(words, ", "))
}
