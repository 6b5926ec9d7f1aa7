package studies

import (
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"github.com/spf13/cobra"

	"trellis/command/exit"
	"trellis/command/spec"
	"trellis/results/grid"
)

// byFlags says what is wrong with an extension by the flags of extend that gave it. Any other error it returns as it
// is.
func byFlags(cmd *cobra.Command, err error) error {
	if exit.Code(err) != exit.Usage {
		return err
	}
	var said []string
	for _, violation := range spec.BrokenRules(err) {
		flag, axis, ok := flagOf(cmd, violation.Proto.GetField())
		if !ok {
			return err
		}
		message := violation.Proto.GetMessage()
		if flag == "" {
			said = append(said, message)
			continue
		}
		if rest, named := strings.CutPrefix(message, axis+": "); named {
			message = ": " + rest
		} else if rest, named := strings.CutPrefix(message, axis+" "); named {
			message = " " + rest
		} else {
			message = ": " + message
		}
		said = append(said, flag+message)
	}
	if said == nil {
		return err
	}
	return exit.Usagef("%s", strings.Join(said, "; "))
}

// flagOf is the flag that gave a field of the request, with the axis. It is empty for a budget that the study had
// before. Of other fields, it is not ok.
func flagOf(cmd *cobra.Command, path *validate.FieldPath) (flag, axis string, ok bool) {
	elements := path.GetElements()
	if len(elements) == 0 {
		return "", "", false
	}
	switch elements[0].GetFieldName() {
	case "seeds":
		return "--seeds", grid.Seeds, true
	case "budget":
		if !cmd.Flags().Changed("budget") {
			return "", "", true
		}
		return "--budget", "budget", true
	case "axes":
		axis = elements[0].GetStringKey()
		// A program's axis may have the name of a flag that is not of an axis.
		if given := cmd.Flags().Lookup(strings.ReplaceAll(axis, "_", "-")); given != nil && given.Changed {
			if own, ofAxis := given.Value.(axisFlag); ofAxis && own.axis.GetName() == axis {
				return "--" + given.Name, axis, true
			}
		}
		return "--add " + axis, axis, true
	}
	return "", "", false
}
