package search

import (
	"errors"

	"buf.build/go/protovalidate"
	"github.com/spf13/cobra"

	"trellis/command/exit"
	"trellis/command/spec"
	trellisv1 "trellis/proto/trellis/v1"
)

// createOptions are the flags of the commands that submit a spec.
type createOptions struct {
	// name replaces the spec's, if it is not empty.
	name string
	// fresh says that nothing is shared with other studies.
	fresh bool
}

func createFlags(cmd *cobra.Command, options *createOptions) {
	cmd.Flags().StringVar(&options.name, "name", "", "`name` of the study (default that of the spec)")
	cmd.Flags().BoolVar(&options.fresh, "fresh", false, "train everything again, without reusing results of other "+
		"studies")
}

// rename gives a spec the name that the command line has for it.
func (o *createOptions) rename(wanted *trellisv1.StudySpec) error {
	if o.name == "" {
		return nil
	}
	wanted.Name = o.name
	err := spec.Validate(wanted)
	if invalid, ok := errors.AsType[*protovalidate.ValidationError](err); ok {
		return exit.Usagef("--name %s: %s", o.name, invalid.Violations[0].Proto.GetMessage())
	}
	return err
}
