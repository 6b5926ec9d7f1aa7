package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"trellis/command/exit"
	"trellis/command/output"
)

// Confirmation asks before a command does what can't be undone.
type Confirmation struct {
	env *Environment
	yes bool
}

// ConfirmFlag adds --yes.
func ConfirmFlag(cmd *cobra.Command, env *Environment) *Confirmation {
	c := &Confirmation{env: env}
	cmd.Flags().BoolVarP(&c.yes, "yes", "y", false, "skip the confirmation prompt")
	return c
}

// Check refuses a command that would have to ask and can't, because standard input is no terminal or taken otherwise. does says
// what the command does: "delete removes a study and all its results".
func (c *Confirmation) Check(taken bool, does string) error {
	keyboard, ok := c.env.In.(*os.File)
	if !c.yes && (taken || !ok || !output.IsTerminalFile(keyboard)) {
		return exit.Usagef("%s, and cannot ask for confirmation without a terminal: add --yes", does)
	}
	return nil
}

// Asks says whether Ask asks.
func (c *Confirmation) Asks() bool { return !c.yes }

// errDeclined means that the answer was no.
var errDeclined = errors.New("canceled: nothing was changed")

// Ask asks whether to go ahead, unless --yes is given. It returns an error if the answer is anything but yes.
func (c *Confirmation) Ask(ctx context.Context, question string) error {
	if c.yes {
		return nil
	}
	fmt.Fprintf(c.env.Log, "%s [y/N] ", question)
	lines := make(chan string, 1)
	go func() {
		// This outlives an interruption, since a read can't be ended: the process ends soon.
		line, _ := bufio.NewReader(c.env.In).ReadString('\n')
		lines <- line
	}()
	select {
	case line := <-lines:
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "y", "yes":
			return nil
		}
		return errDeclined
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
