package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/command/configuration"
	"trellis/command/exit"
	"trellis/results/spelling"
)

// FlagError says what is wrong with a command's flags, and what would be right.
func FlagError(cmd *cobra.Command, err error) error {
	var (
		unknown *pflag.NotExistError
		missing *pflag.ValueRequiredError
		invalid *pflag.InvalidValueError
		syntax  *pflag.InvalidSyntaxError
	)
	switch {
	case errors.As(err, &unknown):
		return unknownFlag(cmd, unknown)
	case errors.As(err, &missing):
		return fmt.Errorf("--%s needs a value", missing.GetFlag().Name)
	case errors.As(err, &invalid):
		flag := invalid.GetFlag()
		return fmt.Errorf("invalid argument %q for --%s: %w%s", invalid.GetValue(), flag.Name,
			configuration.WrongValue(flag.Value.Type(), errors.Unwrap(invalid)), pathHint(cmd, invalid))
	case errors.As(err, &syntax):
		return fmt.Errorf("invalid flag %q", syntax.GetSpecifiedFlag())
	}
	return err
}

// CheckRequired returns an error that names the flags that a command needs and its command line leaves out.
func CheckRequired(cmd *cobra.Command) error {
	var missing []string
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		if len(flag.Annotations[cobra.BashCompOneRequiredFlag]) > 0 && !flag.Changed {
			missing = append(missing, "--"+flag.Name)
		}
	})
	if missing == nil {
		return nil
	}
	return fmt.Errorf("%s needs %s", cmd.Name(), strings.Join(missing, " and "))
}

// unknownFlag says which flag was likely meant.
func unknownFlag(cmd *cobra.Command, err *pflag.NotExistError) error {
	name, given := err.GetSpecifiedName(), "--"+err.GetSpecifiedName()
	if letters := err.GetSpecifiedShortnames(); letters != "" {
		given = "-" + name
		for long := range flagNames(cmd) {
			if len(letters) > 1 && strings.HasSuffix(long, letters) {
				name, given = long, "-"+long
			}
		}
	}
	if name == "token" && cmd.Flags().Lookup("token-file") != nil {
		// Others can read command lines.
		return fmt.Errorf("unknown flag --token: write the token to a file and name that with --token-file, or set %s",
			TokenVariable)
	}
	if path := pathFlag(cmd); path != "" && (name == "output" || name == "o") {
		return fmt.Errorf("unknown flag %s: to choose where to write, use --%s", given, path)
	}
	var names []string
	for known := range flagNames(cmd) {
		names = append(names, known)
	}
	near := spelling.Nearest(name, names)
	if len(name) == 1 || len(near) == 0 {
		return fmt.Errorf("unknown flag %s", given)
	}
	return fmt.Errorf(`unknown flag %s: did you mean "--%s"?`, given, strings.Join(near, `" or "--`))
}

// NameListFlag names the flag instead of the field of a request for a list that the coordinator refuses.
func NameListFlag(err error) error {
	if status.Code(err) != codes.InvalidArgument {
		return err
	}
	text := exit.Text(err)
	for field, flag := range map[string]string{"order_by": "--order-by", "filter": "--filter"} {
		if what, ok := strings.CutPrefix(text, field+": "); ok {
			return exit.Usagef("%s: %s", flag, what)
		}
	}
	return err
}

// flagNames are the names of a command's flags, those of its parents included.
func flagNames(cmd *cobra.Command) map[string]bool {
	names := map[string]bool{"help": true}
	add := func(flag *pflag.Flag) {
		if !flag.Hidden {
			names[flag.Name] = true
		}
	}
	cmd.Flags().VisitAll(add)
	cmd.InheritedFlags().VisitAll(add)
	return names
}

// pathFlag is the flag that says which file or folder a command writes, empty if it has none.
func pathFlag(cmd *cobra.Command) string {
	for _, name := range []string{"file", "folder"} {
		if cmd.Flags().Lookup(name) != nil {
			return name
		}
	}
	return ""
}

// pathHint follows the refusal of a format that looks like a path.
func pathHint(cmd *cobra.Command, err *pflag.InvalidValueError) string {
	path := pathFlag(cmd)
	if path == "" || err.GetFlag().Name != "output" || !strings.ContainsAny(err.GetValue(), "./-") {
		return ""
	}
	return fmt.Sprintf("; to write to a %s, use --%s %s", path, path, err.GetValue())
}
