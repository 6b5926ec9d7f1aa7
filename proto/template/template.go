package template

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
)

// Common are the names that every command may use in braces besides its parameters.
var Common = []string{"max_epochs", "seed"}

// Metric is what a program may call a metric: up to 63 letters, digits and characters of _ . / -, first a letter or an
// underscore.
var Metric = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_./-]{0,62}$`)

// MaxMetrics is how many metrics a run of a program may report.
const MaxMetrics = 100

// Errors of a command's arguments. Expand and Names wrap them with the place.
var (
	ErrUnclosed = errors.New("a brace { is not closed; write {{ for a brace itself")
	ErrUnopened = errors.New("a brace } is not opened; write }} for a brace itself")
	ErrEmpty    = errors.New("braces contain no name; write {{}} for braces themselves")
	ErrUnknown  = errors.New("unknown parameter")
)

// Variable returns the name of the environment's variable that has the value of a parameter: optimizer.lr is in
// TRELLIS_PARAM_OPTIMIZER_LR. Parameters of one study whose variables are the same are refused.
func Variable(parameter string) string {
	return "TRELLIS_PARAM_" + strings.ToUpper(strings.ReplaceAll(parameter, ".", "_"))
}

// Text returns a value as programs get it: numbers in the fewest digits that give the same number again, and booleans
// as true or false.
func Text(value *trellisv1.Value) string {
	return value.Written()
}

// Names returns the names in the braces of an argument, each once, in the order of their first place.
func Names(argument string) ([]string, error) {
	var names []string
	_, err := expand(argument, func(name string) (string, error) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		return "", nil
	})
	return names, err
}

// Check says what is wrong with a command for a program that has the given parameters.
func Check(command, parameters []string) error {
	if len(command) == 0 || command[0] == "" {
		return errors.New("the command is empty")
	}
	for i, argument := range command {
		if strings.ContainsRune(argument, 0) {
			return fmt.Errorf("argument %d contains a NUL byte", i)
		}
		names, err := Names(argument)
		if err != nil {
			return fmt.Errorf("argument %d, %q: %w", i, argument, err)
		}
		for _, name := range names {
			if !slices.Contains(parameters, name) && !slices.Contains(Common, name) {
				return fmt.Errorf("argument %d, %q: %w %q; write {{%s}} for the text itself", i, argument, ErrUnknown,
					name, name)
			}
		}
	}
	return nil
}

// Expand replaces {name} in an argument by values, which include Common. {{ and }} become single braces. The result is
// one argument, whatever the values contain.
func Expand(argument string, values map[string]string) (string, error) {
	return expand(argument, func(name string) (string, error) {
		value, known := values[name]
		if !known {
			return "", fmt.Errorf("%w %q", ErrUnknown, name)
		}
		return value, nil
	})
}

func expand(argument string, value func(name string) (string, error)) (string, error) {
	var result strings.Builder
	for rest := argument; ; {
		brace := strings.IndexAny(rest, "{}")
		if brace < 0 {
			result.WriteString(rest)
			return result.String(), nil
		}
		result.WriteString(rest[:brace])
		doubled := strings.HasPrefix(rest[brace+1:], rest[brace:brace+1])
		if doubled {
			result.WriteByte(rest[brace])
			rest = rest[brace+2:]
			continue
		}
		if rest[brace] == '}' {
			return "", ErrUnopened
		}
		name, after, closed := strings.Cut(rest[brace+1:], "}")
		switch {
		case !closed || strings.Contains(name, "{"):
			return "", ErrUnclosed
		case name == "":
			return "", ErrEmpty
		}
		text, err := value(name)
		if err != nil {
			return "", err
		}
		result.WriteString(text)
		rest = after
	}
}
