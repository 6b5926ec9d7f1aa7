package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"trellis/command/output"
)

// choice is a flag that takes one of a few words.
type choice[T ~string] struct {
	value *T
	words []T
	// kind is what the help text calls the value.
	kind string
}

func (c choice[T]) String() string {
	if c.value == nil {
		return ""
	}
	return string(*c.value)
}

func (c choice[T]) Type() string { return c.kind }

func (c choice[T]) Set(word string) error {
	if !slices.Contains(c.words, T(word)) {
		return errors.New(oneOf(c.words))
	}
	*c.value = T(word)
	return nil
}

// ChoiceFlag adds a flag that takes one of a few words, the first by default.
func ChoiceFlag(cmd *cobra.Command, name, usage string, words ...string) *string {
	value := words[0]
	cmd.Flags().Var(choice[string]{&value, words, strings.Join(words, "|")}, name, usage+": "+output.Alternatives(words))
	Complete(cmd, name, words...)
	return &value
}

// oneOf says which words there are.
func oneOf[T ~string](words []T) string {
	names := make([]string, len(words))
	for i, word := range words {
		names[i] = string(word)
	}
	return fmt.Sprintf("must be one of %s", strings.Join(names, ", "))
}
