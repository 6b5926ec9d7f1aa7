package configuration

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"trellis/results/spelling"
)

// foreign are the variables, as flags would be called, that programs of users and systemd's units read. They are no settings.
var foreign = []string{"token", "run", "seed", "reports", "flags"}

// foreignPrefix begins those that have the parameters of users' programs.
const foreignPrefix = "param-"

// Mistyped says which variables of the environment are probably misspelled settings of the commands below root, and what
// they should be. Those that resemble none belong to others: Kubernetes has TRELLIS_SERVICE_HOST for a service trellis.
func Mistyped(root *cobra.Command) []string {
	known := append(names(root), FileFlag)
	var found []string
	for _, entry := range os.Environ() {
		variable, value, _ := strings.Cut(entry, "=")
		rest, ours := strings.CutPrefix(variable, Variable(""))
		name := strings.ToLower(strings.ReplaceAll(rest, "_", "-"))
		if !ours || value == "" || strings.HasPrefix(name, foreignPrefix) || slices.Contains(foreign, name) ||
			slices.Contains(known, name) {
			continue
		}
		for _, right := range spelling.Nearest(name, known) {
			if more := len(name) - len(right); more < -2 || more > 2 {
				// One has words that the other has not.
				continue
			}
			found = append(found, fmt.Sprintf("unknown variable %s is ignored: did you mean %s?", variable, Variable(right)))
			break
		}
	}
	return found
}
