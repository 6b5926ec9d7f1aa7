package certificates

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/exit"
	"trellis/coordinator/access"
	trellisv1 "trellis/proto/trellis/v1"
)

const (
	defaultFolder = "certificates"
	// authorityLifetime and lifetime are how long certificates are valid unless --expires says otherwise.
	authorityLifetime = 10 * 365 * 24 * time.Hour
	lifetime          = 365 * 24 * time.Hour
	firstAdmin        = "admin"
)

func init() { cli.Register(cli.Access, 10, Command) }

// Command is trellis certificates.
func Command(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "certificates",
		Short: "Make certificates for a cluster",
		Long: `Make the certificates of a cluster: an authority, and with it those of coordinators, workers and people. You need
no other tool; if you have an authority of your own, you need none of this.

A certificate names its owner by a URI: trellis://node/HOST, trellis://worker/NAME, or trellis://ROLE/NAME with the role
viewer, submitter or admin. Coordinators, workers and commands use --certificate, --key and --authority, and read these files
again when they change. To renew a certificate, make it again with --force.`,
		Example: `  trellis certificates authority
  trellis certificates node a b c
  trellis coordinator --listen a:7070 --authority certificates/authority.crt --certificate certificates/node-a.crt
  trellis certificates worker gpu-farm
  trellis certificates client ada --role submitter`,
		Args: cli.UnknownSubcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(authorityCommand(env), nodeCommand(env), workerCommand(env), clientCommand(env))
	return cmd
}

// options are the flags that all of the commands have.
type options struct {
	folder  folder
	expires cli.Lifetime
}

func addOptions(cmd *cobra.Command, expires time.Duration) *options {
	o := new(options)
	cmd.Flags().StringVar(&o.folder.path, "folder", defaultFolder, "`folder` of the authority and of what it makes")
	cmd.Flags().BoolVar(&o.folder.force, "force", false, "replace files that exist")
	cli.ExpiresFlag(cmd, &o.expires, expires, "how long the certificates are valid, for example 90d or 1y")
	return o
}

// until is when what is made now expires.
func (o *options) until() time.Time { return time.Now().Add(time.Duration(o.expires)) }

func authorityCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "authority",
		Short: "Make an authority, and the certificate of the first admin",
		Long: `Make an authority in a folder: authority.crt, which everybody may have, and authority.key, with which whoever has it
can make certificates of any role. Keep the key where only those who may do that can read it; coordinators and workers don't
need it.

The certificate of the first admin is made too, as client-admin.crt and client-admin.key.`,
		Args: cli.Operands(),
	}
	o := addOptions(cmd, authorityLifetime)
	cmd.RunE = func(*cobra.Command, []string) error {
		if err := o.folder.free("authority", clientFile(firstAdmin)); err != nil {
			return err
		}
		authority, pair, err := access.NewAuthority(o.until())
		if err != nil {
			return fmt.Errorf("make the authority: %w", err)
		}
		replaces := o.folder.has("authority")
		if err := o.folder.write("authority", pair); err != nil {
			return err
		}
		if replaces {
			fmt.Fprintln(env.Err, "trellis: this replaces another authority: certificates that it has signed stay valid only "+
				"where the authority file has both authorities' certificates, one after the other (docs/cluster.md)")
		}
		if _, err := fmt.Fprintf(env.Out, "%s is the authority, valid until %s. Keep %s secret: whoever has it can "+
			"make certificates of any role.\n", o.folder.file("authority", certificateSuffix),
			dateOf(authority.Expires()), o.folder.file("authority", keySuffix)); err != nil {
			return err
		}
		admin := o.made(access.Principal{Role: trellisv1.Role_ROLE_ADMIN, Name: firstAdmin}, clientFile(firstAdmin))
		admin.until = time.Now().Add(min(lifetime, time.Duration(o.expires)))
		return makeAll(env, authority, []made{admin}, o.folder,
			"trellis certificates node HOST...      # for the machines of the coordinators")
	}
	return cmd
}

func nodeCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "node HOST[,NAME...]...",
		Short: "Make the certificates of coordinators",
		Long: `Make a certificate for each coordinator: node-HOST.crt and node-HOST.key. HOST is the name or IP address at which
others reach the coordinator. If there are several, separate them with commas; the first names the node.

Coordinators accept one another by these certificates, and nobody else's.`,
		Example: `  trellis certificates node a b c
  trellis certificates node a.example.org,a,10.0.0.1`,
		Args: atLeastOne("HOST"),
	}
	o := addOptions(cmd, lifetime)
	cmd.RunE = func(_ *cobra.Command, hosts []string) error {
		var nodes []made
		for _, host := range hosts {
			names := strings.Split(host, ",")
			node := o.made(access.Principal{Role: trellisv1.Role_ROLE_NODE, Name: names[0]}, "node-"+names[0])
			node.hosts = names
			nodes = append(nodes, node)
		}
		first := nodes[0].principal.Name
		return o.folder.issue(env, nodes, fmt.Sprintf("trellis coordinator --listen %s --authority %s --certificate %s",
			joinPort(first), o.folder.file("authority", certificateSuffix),
			o.folder.file("node-"+first, certificateSuffix)))
	}
	return cmd
}

func workerCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "worker NAME...",
		Short: "Make the certificates of workers",
		Long: `Make a certificate for each worker, or for several that share a name: worker-NAME.crt and worker-NAME.key. Workers
can also use a token instead: see trellis tokens.`,
		Example: `  trellis certificates worker gpu-farm`,
		Args:    atLeastOne("NAME"),
	}
	o := addOptions(cmd, lifetime)
	cmd.RunE = func(_ *cobra.Command, names []string) error {
		var workers []made
		for _, name := range names {
			workers = append(workers, o.made(access.Principal{Role: trellisv1.Role_ROLE_WORKER, Name: name}, "worker-"+name))
		}
		return o.folder.issue(env, workers, fmt.Sprintf("trellis worker --coordinator HOST:7070 --authority %s "+
			"--certificate %s", o.folder.file("authority", certificateSuffix),
			o.folder.file("worker-"+names[0], certificateSuffix)))
	}
	return cmd
}

// peopleRoles are the roles of people.
var peopleRoles = []string{"viewer", "submitter", "admin"}

func clientCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "client NAME --role ROLE",
		Short: "Make the certificate of a person",
		Long: `Make a certificate for a person or a script: client-NAME.crt and client-NAME.key. Its role says what it may do: a
viewer reads, a submitter also creates studies and changes its own, and an admin may do everything.`,
		Example: `  trellis certificates client ada --role submitter --expires 90d`,
		Args:    cli.Operands("NAME"),
	}
	o := addOptions(cmd, lifetime)
	word := ""
	cmd.Flags().StringVar(&word, "role", "", "what it may do: viewer, submitter or admin")
	cli.Complete(cmd, "role", peopleRoles...)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		role, ok := access.ParseRole(word)
		if !ok || role == trellisv1.Role_ROLE_NODE || role == trellisv1.Role_ROLE_WORKER {
			return exit.Usagef("invalid argument %q for --role: must be one of %s", word, strings.Join(peopleRoles, ", "))
		}
		person := o.made(access.Principal{Role: role, Name: args[0]}, clientFile(args[0]))
		return o.folder.issue(env, []made{person}, fmt.Sprintf("trellis studies --coordinator HOST:7070 --authority %s "+
			"--certificate %s", o.folder.file("authority", certificateSuffix),
			o.folder.file(clientFile(args[0]), certificateSuffix)))
	}
	return cmd
}

func clientFile(name string) string { return "client-" + name }

// atLeastOne checks that a command has one operand or more.
func atLeastOne(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cli.Operands(name)(cmd, args)
		}
		return nil
	}
}
