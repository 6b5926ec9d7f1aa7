package hooks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/exit"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

func createCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a web hook",
		Long: `Create a web hook, and write its secret to standard output, or to a file that only you can read. The secret is
shown once. Receivers verify by it that an event comes from this coordinator. To use a secret that you have, give it with
--secret-file.

Events are sent over https. --allow-http also allows http to other machines than the coordinator's own: then anyone on the
way can read them. Redirects are not followed, and no proxy is used.`,
		Example: `  trellis hooks create chat --url https://chat.example.com/trellis --file chat.secret
  trellis hooks create nightly --url https://ci.example.com/hook --events study.ended --study 'nightly-*' --file ci.secret`,
		Args: cli.Operands("NAME"),
	}
	options := cli.ClientFlags(cmd, client.DefaultWait)
	request := &trellisv1.CreateHookRequest{}
	var file, secretFile, authorityFile string
	flags := cmd.Flags()
	flags.StringVar(&request.Url, "url", "", "`URL` to send events to")
	flags.StringSliceVar(&request.Events, "events", nil,
		"`types` of events to send, all if left out: study.ended, run.failed, worker.lost")
	flags.StringVar(&request.Study, "study", "",
		"send events of studies whose names match this `pattern` only, for example 'mnist-*' (default all)")
	flags.StringVarP(&file, "file", "f", "-", "`file` to write the new secret to, - for standard output")
	flags.StringVar(&secretFile, "secret-file", "", "`file` with a secret to use, which only you can read")
	flags.StringVar(&authorityFile, "receiver-authority", "",
		"`file` with the certificate of the receiver's authority (default those of the coordinator's system)")
	flags.BoolVar(&request.AllowHttp, "allow-http", false, "allow http, which is not encrypted, to other machines")
	if err := cmd.MarkFlagRequired("url"); err != nil {
		panic(err)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		request.Name = args[0]
		if secretFile != "" && flags.Changed("file") {
			return exit.Usagef("--file is for a new secret, and cannot be combined with --secret-file")
		}
		if err := errors.Join(readSecret(secretFile, request), readAuthority(authorityFile, request),
			isNew(file)); err != nil {
			return err
		}
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			return create(ctx, env, c, request, file)
		})
	}
	return cmd
}

// readSecret reads the secret to use, if there is a file. It refuses one that others can read too.
func readSecret(file string, request *trellisv1.CreateHookRequest) error {
	if file == "" {
		return nil
	}
	info, err := os.Stat(file)
	if err != nil {
		return exit.Usagef("--secret-file: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return exit.Usagef("others can read %s: chmod 600 %s", file, file)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return exit.Usagef("--secret-file: %w", err)
	}
	if request.Secret = strings.TrimSpace(string(content)); request.Secret == "" {
		return exit.Usagef("%s has no secret: it must be whsec_ and 24 to 64 bytes in base64", file)
	}
	return nil
}

func readAuthority(file string, request *trellisv1.CreateHookRequest) error {
	if file == "" {
		return nil
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return exit.Usagef("--receiver-authority: %w", err)
	}
	if strings.Contains(string(content), "PRIVATE KEY") {
		return exit.Usagef("%s has a private key: give the authority's certificate", file)
	}
	request.Authority = string(content)
	return nil
}

// isNew refuses to replace a file.
func isNew(file string) error {
	if file == "-" {
		return nil
	}
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode().IsRegular() && info.Size() == 0 {
		return nil
	}
	return exit.Usagef("%s already exists: choose another --file", file)
}

// create creates a hook and writes its secret. If that fails, the hook is deleted: nobody could verify its events.
func create(
	ctx context.Context, env *cli.Environment, c *client.Client, request *trellisv1.CreateHookRequest, file string,
) error {
	created, err := client.Call(ctx, client.CallTimeout, c.CreateHook, request)
	if err != nil {
		return err
	}
	if created.GetSecret() != "" {
		_, err = output.WriteFile(file, 0o600, env.Out, func(out io.Writer) error {
			_, err := fmt.Fprintln(out, created.GetSecret())
			return err
		})
		if err != nil {
			_, deleteErr := client.Call(context.WithoutCancel(ctx), client.CallTimeout, c.DeleteHook,
				&trellisv1.DeleteHookRequest{Hook: request.GetName()})
			return errors.Join(err, deleteErr)
		}
	}
	_, err = fmt.Fprintf(env.Err, "Created web hook %s. To try it: trellis hooks test %s\n", request.GetName(),
		request.GetName())
	return err
}
