package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/exit"
	"trellis/command/output"
	"trellis/coordinator/access"
	trellisv1 "trellis/proto/trellis/v1"
)

const (
	// tokenLifetime is how long a worker's token is valid.
	tokenLifetime = 90 * 24 * time.Hour
	// tokenLeft is how long one must be valid for another launch to use it.
	tokenLeft = 7 * 24 * time.Hour
)

// hasAccessControl says whether the coordinator asks who its workers are.
func hasAccessControl(ctx context.Context, c *client.Client) (bool, error) {
	caller, err := client.Call(ctx, client.CallTimeout, c.WhoAmI, &trellisv1.WhoAmIRequest{})
	return caller.GetPrincipal() != nil, err
}

// handOutToken makes sure that a file has a worker's token that is valid for a while. That which it has is used again.
func handOutToken(ctx context.Context, env *cli.Environment, c *client.Client, launch, file string) error {
	known, err := knowsToken(ctx, c, file)
	if err != nil {
		return explainRefusal(err)
	}
	if known {
		return nil
	}
	created, err := client.Call(ctx, client.CallTimeout, c.CreateToken, &trellisv1.CreateTokenRequest{
		Role: trellisv1.Role_ROLE_WORKER, Name: "launch-" + launch,
		ExpireTime: timestamppb.New(time.Now().Add(tokenLifetime)),
	})
	if err != nil {
		return explainRefusal(err)
	}
	if err = os.MkdirAll(filepath.Dir(file), 0o700); err == nil {
		_, err = output.WriteFile(file, 0o600, env.Out, func(out io.Writer) error {
			_, err := fmt.Fprintln(out, created.GetSecret())
			return err
		})
	}
	if err != nil { // Nobody has the token.
		_, revokeErr := client.Call(context.WithoutCancel(ctx), client.CallTimeout, c.RevokeToken,
			&trellisv1.RevokeTokenRequest{Id: created.GetToken().GetId()})
		return errors.Join(err, revokeErr)
	}
	fmt.Fprintf(env.Err, "Created token %s for the workers, which is valid for %d days: %s.\n",
		created.GetToken().GetId(), tokenLifetime/(24*time.Hour), file)
	return nil
}

// knowsToken says whether a file has a token that the coordinator knows and that is valid for a while.
func knowsToken(ctx context.Context, c *client.Client, file string) (known bool, err error) {
	text, err := client.Credentials{TokenFile: file}.ReadToken()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	id, ok := access.SecretID(text)
	if !ok {
		return false, exit.Usagef("%s has no token: move it away, or choose another --folder", file)
	}
	err = c.EachToken(ctx, func(token *trellisv1.Token) error {
		lasts := token.GetExpireTime() == nil || time.Until(token.GetExpireTime().AsTime()) > tokenLeft
		known = known || token.GetId() == id && lasts
		return nil
	})
	return known, err
}

// explainRefusal says what to do for those who may not create tokens.
func explainRefusal(err error) error {
	if status.Code(err) != codes.PermissionDenied {
		return err
	}
	return fmt.Errorf("%w; ask an admin for a worker's token "+
		"(trellis tokens create --role worker --name NAME --file FILE) and name its file with --worker-token", err)
}

var tokenFlag = regexp.MustCompile(`(?m)^set -- .*--token-file ([^'\s]+|'[^'\n]*')`)

// tellToken says which token a launch has left, if it has created one. Its file is in the batch script.
func tellToken(env *cli.Environment, script, launch string) {
	match := tokenFlag.FindStringSubmatch(script)
	if match == nil {
		return
	}
	file := strings.Trim(match[1], "'")
	if filepath.Base(file) != launch+".token" {
		return
	}
	tellTokenIn(env, file)
}

// tellTokenIn says what becomes of the token in a file when no worker is left that uses it.
func tellTokenIn(env *cli.Environment, file string) {
	text, err := client.Credentials{TokenFile: file}.ReadToken()
	if id, ok := access.SecretID(text); err == nil && ok {
		fmt.Fprintf(env.Err, "Their token stays valid, for the next launch: %s. "+
			"If there is none: trellis tokens revoke %s\n", file, id)
	}
}
