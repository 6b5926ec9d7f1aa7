package cli

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"

	"github.com/spf13/cobra"
)

// OpenFlag adds --open.
func OpenFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("open", false, "open the web page in the browser")
}

// openers are the commands that open a link in the user's browser, by operating system. Others have xdg-open.
var openers = map[string][]string{
	"darwin":  {"open"},
	"windows": {"rundll32", "url.dll,FileProtocolHandler"},
}

// OpenPage opens a link in the user's browser, and says so where it can't. It does not wait for the browser, which may live
// as long as its window.
func OpenPage(env *Environment, link string) {
	opener, ok := openers[runtime.GOOS]
	if !ok {
		opener = []string{"xdg-open"}
	}
	failed := func(why string) {
		fmt.Fprintf(env.Err, "trellis: cannot open the web page: %s. Open it yourself: %s\n", why, link)
	}
	command := exec.Command(opener[0], append(opener[1:], link)...)
	// Ctrl-C is not for the browser.
	apart(command)
	switch err := command.Start(); {
	case errors.Is(err, exec.ErrNotFound):
		failed(opener[0] + " is not installed")
		return
	case err != nil:
		failed(err.Error())
		return
	}
	go func() {
		if err := command.Wait(); err != nil {
			failed(fmt.Sprintf("%s: %v", opener[0], err))
		}
	}()
}
