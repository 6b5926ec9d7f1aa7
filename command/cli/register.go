package cli

import (
	"cmp"
	"slices"

	"github.com/spf13/cobra"
)

// Group is a part of the list of commands in the help text.
type Group string

// The groups, in their order.
const (
	Search  Group = "search"
	Answers Group = "answer"
	Cluster Group = "cluster"
	Access  Group = "access"
)

// Title is the group's heading.
func (g Group) Title() string {
	return map[Group]string{Search: "Search:", Answers: "Answers:", Cluster: "Cluster:", Access: "Access:"}[g]
}

// registered is a command that a room has.
type registered struct {
	group Group
	place int
	make  func(*Environment) *cobra.Command
}

var commands []registered

// Register adds a command of a room to those of trellis, from the init function of its file, so that a new command takes
// no other. Commands of a group are listed by place: in the order in which they are used.
func Register(group Group, place int, make func(*Environment) *cobra.Command) {
	commands = append(commands, registered{group, place, make})
}

// AddCommands adds all registered commands to the root, by group and place.
func AddCommands(root *cobra.Command, env *Environment) {
	groups := []Group{Search, Answers, Cluster, Access}
	for _, group := range groups {
		root.AddGroup(&cobra.Group{ID: string(group), Title: group.Title()})
	}
	sorted := slices.SortedFunc(slices.Values(commands), func(a, b registered) int {
		return cmp.Or(cmp.Compare(slices.Index(groups, a.group), slices.Index(groups, b.group)), cmp.Compare(a.place, b.place))
	})
	for _, its := range sorted {
		command := its.make(env)
		command.GroupID = string(its.group)
		root.AddCommand(command)
	}
}
