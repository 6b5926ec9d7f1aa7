package configuration

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// oneTime are the flags that are no settings: what they say is true of one invocation.
var oneTime = map[string]bool{
	"help": true, "version": true, FileFlag: true,
	// How cobra writes a completion script.
	"no-descriptions": true,
	// Which study, trial or file is meant, and what it is written as.
	"name": true, "study": true, "role": true, "trial": true, "file": true, "folder": true, "filter": true, "format": true,
	// What is done to it.
	"dry-run": true, "older-than": true, "keep": true, "expires": true, "force": true, "fresh": true, "pruned": true, "quick": true, "yes": true,
	// What extend adds, besides the values of each axis: see IsSetting.
	"axis": true,
}

// IsSetting says whether a flag can be configured.
func IsSetting(flag *pflag.Flag) bool {
	// Some commands have formats of their own.
	if flag.Name == "output" && flag.Value.Type() != "format" {
		return false
	}
	// What extend adds to an axis: that of a network's kernel is not a worker's --kernel either.
	if flag.Value.Type() == "values" {
		return false
	}
	// What a launch asks a scheduler for is no choice among the GPUs of a machine.
	if flag.Name == "gpus" && flag.Value.Type() == "int" {
		return false
	}
	return !oneTime[flag.Name] && !flag.Hidden && flag.Deprecated == ""
}

// Variable is the environment variable of a flag.
func Variable(flag string) string {
	return "TRELLIS_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// A setting is a flag that some commands have, and that can be configured.
type setting struct {
	name, usage string
	commands    []string
}

// settings are those of all commands below root, by name. A name may mean somewhat different things to several commands: the
// usage is that of most of them.
func settings(root *cobra.Command) []setting {
	type use struct {
		usage    string
		commands []string
	}
	uses := make(map[string][]use)
	var visit func(*cobra.Command)
	visit = func(command *cobra.Command) {
		if command.Hidden {
			return
		}
		add := func(flag *pflag.Flag, path string) {
			if !IsSetting(flag) {
				return
			}
			_, usage := pflag.UnquoteUsage(flag)
			known := uses[flag.Name]
			i := slices.IndexFunc(known, func(u use) bool { return u.usage == usage })
			if i < 0 {
				known, i = append(known, use{usage: usage}), len(known)
			}
			known[i].commands = append(known[i].commands, path)
			uses[flag.Name] = known
		}
		path := strings.TrimPrefix(command.CommandPath(), root.Name()+" ")
		if command.Runnable() {
			command.LocalNonPersistentFlags().VisitAll(func(flag *pflag.Flag) { add(flag, path) })
		}
		// The commands below have these too, whether or not this one does anything itself.
		everywhere := "all commands"
		if command != root {
			everywhere += " of " + path
		}
		command.PersistentFlags().VisitAll(func(flag *pflag.Flag) { add(flag, everywhere) })
		for _, child := range command.Commands() {
			visit(child)
		}
	}
	visit(root)
	var all []setting
	for _, name := range slices.Sorted(maps.Keys(uses)) {
		most := slices.MaxFunc(uses[name], func(a, b use) int { return cmp.Compare(len(a.commands), len(b.commands)) })
		s := setting{name: name, usage: most.usage}
		for _, use := range uses[name] {
			s.commands = append(s.commands, use.commands...)
		}
		all = append(all, s)
	}
	return all
}

// names are those of all settings.
func names(root *cobra.Command) []string {
	var names []string
	for _, s := range settings(root) {
		names = append(names, s.name)
	}
	return names
}
