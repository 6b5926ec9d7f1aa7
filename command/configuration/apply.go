package configuration

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"trellis/command/exit"
	"trellis/command/source"
)

// An Origin is what has set a flag. A higher one takes precedence over a lower one.
type Origin int

// The origins, as Topic lists them.
const (
	FromDefault Origin = iota
	FromFile
	FromVariable
	FromFlag
)

// configured marks flags that were set by a variable or a file, with which.
const configured = "trellis/configured"

// OriginOf says what has set a flag.
func OriginOf(cmd *cobra.Command, name string) Origin {
	flag := cmd.Flags().Lookup(name)
	if flag == nil || !flag.Changed {
		return FromDefault
	}
	if mark := flag.Annotations[configured]; mark != nil {
		if mark[0] == FileFlag {
			return FromFile
		}
		return FromVariable
	}
	return FromFlag
}

// NameOf is what people know a flag's value by: the flag itself, or the variable or the setting that has set it.
func NameOf(cmd *cobra.Command, name string) string {
	switch OriginOf(cmd, name) {
	case FromVariable:
		return Variable(name)
	case FromFile:
		return name + " in " + Path(cmd)
	default:
		return "--" + name
	}
}

// Given says whether a flag stands on the command line itself.
func Given(cmd *cobra.Command, name string) bool { return OriginOf(cmd, name) == FromFlag }

// Apply sets the flags of a command that its command line leaves out, if they are configured: by a variable, or else in the
// file. What is wrong with these is an exit.ErrUsage that names its source.
func Apply(cmd *cobra.Command) error {
	file, err := readFile(cmd)
	if err != nil {
		return err
	}
	var problems []source.Problem
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		if err != nil || flag.Changed || !IsSetting(flag) {
			return
		}
		if text, ok := os.LookupEnv(Variable(flag.Name)); ok && text != "" {
			if wrong := set(flag, text, Variable(flag.Name)); wrong != nil {
				err = exit.Usagef("invalid value %q for %s: %w", text, Variable(flag.Name), wrong)
			}
			return
		}
		if value, ok := file.values[flag.Name]; ok {
			if wrong := set(flag, value.Value, FileFlag); wrong != nil {
				problems = append(problems, source.Problem{
					Line: value.Line, Column: value.Column, Message: fmt.Sprintf("invalid value %q for %s: %v", value.Value, flag.Name, wrong),
				})
			}
		}
	})
	if err != nil || problems == nil {
		return err
	}
	return file.text.Error(problems...)
}

// set gives a flag its value, from a variable or from the file, which is called FileFlag.
func set(flag *pflag.Flag, text, from string) error {
	if err := flag.Value.Set(text); err != nil {
		return WrongValue(flag.Value.Type(), err)
	}
	flag.Changed = true
	if flag.Annotations == nil {
		flag.Annotations = make(map[string][]string)
	}
	flag.Annotations[configured] = []string{from}
	return nil
}

// Refused says what a value must be that a flag has read and does not take.
type Refused string

func (r Refused) Error() string { return string(r) }

// WrongValue says what a value of a type must be, where the error is one of Go's own.
func WrongValue(kind string, err error) error {
	if refused, ok := errors.AsType[Refused](err); ok {
		return refused
	}
	tooLarge := errors.Is(err, strconv.ErrRange)
	switch {
	case kind == "duration":
		return errors.New("must be a duration such as 30s, 5m or 1h30m")
	case kind == "bool":
		return errors.New("must be true or false")
	case tooLarge && (kind == "float64" || kind == "int" || kind == "uint64"):
		return errors.New("is out of range")
	case kind == "float64":
		return errors.New("must be a number")
	case kind == "int":
		return errors.New("must be a whole number")
	case kind == "uint64":
		return errors.New("must be a whole number, 0 or more")
	default:
		return err
	}
}
