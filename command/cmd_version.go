package command

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/trainer"
)

// release is the version that a release build is given: -ldflags "-X trellis/command.release=1.2.3", as .ci/release and
// deploy/Dockerfile do.
var release string

// version is the release, or else the commit that the binary was built from.
func version() string {
	if release != "" {
		return release
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, modified := "", ""
	for _, setting := range info.Settings {
		switch {
		case setting.Key == "vcs.revision":
			revision = setting.Value[:min(len(setting.Value), 12)]
		case setting.Key == "vcs.modified" && setting.Value == "true":
			modified = "-modified"
		}
	}
	if revision == "" {
		return "development"
	}
	return revision + modified
}

func versionCommand(env *cli.Environment) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the version",
		Args:  cli.Operands(),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(env.Out, "trellis %s\nnumerics %s\n%s %s/%s\n", env.Version, trainer.NumericsVersion,
				runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
