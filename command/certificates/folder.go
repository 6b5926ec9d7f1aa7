package certificates

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"trellis/command/cli"
	"trellis/command/exit"
	"trellis/coordinator/access"
	trellisv1 "trellis/proto/trellis/v1"
)

const (
	certificateSuffix = ".crt"
	keySuffix         = ".key"
)

// folder is where an authority and what it makes are kept.
type folder struct {
	path  string
	force bool
}

// made is a certificate to make.
type made struct {
	principal access.Principal
	// file is the name of its files without their suffixes.
	file  string
	hosts []string
	until time.Time
}

// made is a certificate to make in a file, as the flags say.
func (o *options) made(principal access.Principal, file string) made {
	return made{principal: principal, file: file, until: o.until()}
}

// file is the path of a file.
func (f folder) file(name, suffix string) string { return filepath.Join(f.path, name+suffix) }

// free makes the folder, and refuses if one of the files is there and may not be replaced.
func (f folder) free(names ...string) error {
	if err := os.MkdirAll(f.path, 0o700); err != nil {
		return fmt.Errorf("make the folder: %w", err)
	}
	if f.force {
		return nil
	}
	for _, name := range names {
		for _, suffix := range []string{certificateSuffix, keySuffix} {
			if _, err := os.Lstat(f.file(name, suffix)); err == nil {
				return exit.Usagef("%s already exists: to replace it, add --force", f.file(name, suffix))
			} else if !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("look for existing files: %w", err)
			}
		}
	}
	return nil
}

// has says whether there is a certificate.
func (f folder) has(name string) bool {
	_, err := os.Lstat(f.file(name, certificateSuffix))
	return err == nil
}

// write writes a certificate and its key. Whoever reads the files meanwhile finds whole ones, though not for long those of
// the same pair.
func (f folder) write(name string, pair access.Pair) error {
	for _, file := range []struct {
		suffix  string
		content []byte
		mode    os.FileMode
	}{{keySuffix, pair.Key, 0o600}, {certificateSuffix, pair.Certificate, 0o644}} {
		temporary, err := os.CreateTemp(f.path, "."+name+"-*")
		if err != nil {
			return fmt.Errorf("write the certificate: %w", err)
		}
		_, err = temporary.Write(file.content)
		err = errors.Join(err, temporary.Chmod(file.mode), temporary.Sync(), temporary.Close())
		if err == nil {
			err = os.Rename(temporary.Name(), f.file(name, file.suffix))
		}
		if err != nil {
			os.Remove(temporary.Name())
			return fmt.Errorf("write %s: %w", f.file(name, file.suffix), err)
		}
	}
	return nil
}

// issue makes certificates with the folder's authority.
func (f folder) issue(env *cli.Environment, all []made, next string) error {
	var pair access.Pair
	var err error
	if pair.Certificate, err = os.ReadFile(f.file("authority", certificateSuffix)); err == nil {
		pair.Key, err = os.ReadFile(f.file("authority", keySuffix))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return exit.Usagef("%s has no authority: make one with trellis certificates authority, or choose another folder "+
			"with --folder", f.path)
	}
	if err != nil {
		return fmt.Errorf("read the authority: %w", err)
	}
	authority, err := access.ReadAuthority(pair)
	if err != nil {
		return fmt.Errorf("read the authority in %s: %w", f.path, err)
	}
	if time.Now().After(authority.Expires()) {
		return exit.Usagef("the authority in %s expired on %s: make another with trellis certificates authority --force",
			f.path, dateOf(authority.Expires()))
	}
	return makeAll(env, authority, all, f, next)
}

// makeAll makes certificates, and says what was made and what comes next. It makes none if it can't make all.
func makeAll(env *cli.Environment, authority *access.Authority, all []made, in folder, next string) error {
	names := map[string]bool{}
	for _, one := range all {
		if err := errors.Join(one.principal.Validate(), checkHosts(one.hosts)); err != nil {
			return exit.Usagef("%w", err)
		}
		if names[one.file] {
			return exit.Usagef("%s is named twice", one.principal.Name)
		}
		names[one.file] = true
		if err := in.free(one.file); err != nil {
			return err
		}
	}
	for _, one := range all {
		pair, err := authority.Issue(one.principal, one.hosts, one.until)
		if err != nil {
			return fmt.Errorf("make the certificate of %s: %w", one.principal.Name, err)
		}
		if err := in.write(one.file, pair); err != nil {
			return err
		}
		until := one.until
		if authority.Expires().Before(until) {
			until = authority.Expires()
		}
		if _, err := fmt.Fprintf(env.Out, "%s is the certificate of %s, valid until %s. Its key is beside it.\n",
			in.file(one.file, certificateSuffix), one.principal.URI(), dateOf(until)); err != nil {
			return err
		}
	}
	fmt.Fprintf(env.Err, "Next: %s\n", next)
	return nil
}

// checkHosts refuses what can't be the name of a host.
func checkHosts(hosts []string) error {
	for _, host := range hosts {
		if (access.Principal{Role: trellisv1.Role_ROLE_NODE, Name: host}).Validate() != nil ||
			net.ParseIP(host) == nil && strings.Contains(host, ":") {
			return fmt.Errorf("invalid host %q: must be a name or an IP address, without a port", host)
		}
	}
	return nil
}

func dateOf(t time.Time) string { return t.Format(time.DateOnly) }

// joinPort is the usual address at a host.
func joinPort(host string) string { return net.JoinHostPort(host, "7070") }
