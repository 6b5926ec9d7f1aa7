package cli

import (
	"encoding/csv"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"trellis/command/configuration"
	"trellis/command/exit"
)

// LabelFlag adds --label. Its value is NAME=VALUE, or several of them with commas between. It can be repeated.
func LabelFlag(flags *pflag.FlagSet, labels *map[string]string, usage string) {
	flags.Var(&labelsValue{labels}, "label", usage)
}

// CheckStudyFlag refuses an empty --study, which would stand for all studies: that of a script's unset variable.
func CheckStudyFlag(cmd *cobra.Command, study string) error {
	if study == "" && configuration.Given(cmd, "study") {
		return exit.Usagef(`invalid argument "" for --study: must be the name of a study`)
	}
	return nil
}

// labelsValue is the value of --label. Each name is given once.
type labelsValue struct{ labels *map[string]string }

func (v *labelsValue) Set(text string) error {
	wrong := configuration.Refused("must be NAME=VALUE, for example gpu=a100")
	pairs, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return wrong
	}
	labels := maps.Clone(*v.labels)
	if labels == nil {
		labels = make(map[string]string)
	}
	for _, pair := range pairs {
		name, value, found := strings.Cut(pair, "=")
		if !found {
			return wrong
		}
		if _, given := labels[name]; given {
			return configuration.Refused("label " + name + " is given twice")
		}
		labels[name] = value
	}
	*v.labels = labels
	return nil
}

func (v *labelsValue) Type() string { return "labels" }

func (v *labelsValue) String() string {
	if v.labels == nil {
		return ""
	}
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(*v.labels)) {
		pairs = append(pairs, name+"="+(*v.labels)[name])
	}
	return strings.Join(pairs, ",")
}
