package cli

import (
	"cmp"
	"fmt"

	"github.com/spf13/pflag"

	"trellis/command/configuration"
)

// AtLeast has a flag of the set refuse values below a minimum. The default may be lower: it stands for no value.
func AtLeast[T cmp.Ordered](flags *pflag.FlagSet, name string, value *T, minimum T) {
	flag := flags.Lookup(name)
	flag.Value = bounded{flag.Value, func() error {
		var zero T
		switch {
		case *value >= minimum:
			return nil
		case minimum == zero:
			return configuration.Refused("must not be negative")
		default:
			return configuration.Refused(fmt.Sprintf("must be at least %v", minimum))
		}
	}}
	if flag.DefValue == "0s" {
		// So pflag knows that there is no default to show, whatever the type.
		flag.DefValue = "0"
	}
}

// bounded is a flag's value that is checked after it has been read.
type bounded struct {
	pflag.Value
	check func() error
}

func (b bounded) Set(text string) error {
	if err := b.Value.Set(text); err != nil {
		return err
	}
	return b.check()
}
