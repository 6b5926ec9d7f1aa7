package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

// File is the only file that a command reads or writes. It may be named by itself, or by --file.
type File struct{ path string }

// FileFlag adds --file to a command that has nothing but a file to work with, which may be its only argument instead.
func FileFlag(cmd *cobra.Command, usage string) *File {
	file := new(File)
	cmd.Flags().StringVarP(&file.path, "file", "f", "", usage+"; the same as FILE")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if file.path == "" {
			return Operands("FILE")(cmd, args)
		}
		if len(args) > 0 {
			return fmt.Errorf("%s takes one FILE, got %q and --file %s", cmd.Name(), args[0], file.path)
		}
		return nil
	}
	return file
}

// Path is the file's path, by the command's arguments.
func (f *File) Path(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return f.path
}
