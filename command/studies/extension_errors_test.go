package studies

import (
	"testing"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"

	"trellis/command/cli"
	"trellis/command/exit"
	"trellis/results/grid"
)

// What is wrong with an extension is said of the flags that were given, and of no other.
func TestByFlags(t *testing.T) {
	ofBudget := grid.Refuse("budget.lengthened", "it allows 100 epochs", "budget", "epochs")
	ofAxis := func(name string) error {
		return &protovalidate.ValidationError{Violations: []*protovalidate.Violation{{Proto: validate.Violation_builder{
			Field: validate.FieldPath_builder{Elements: []*validate.FieldPathElement{
				validate.FieldPathElement_builder{FieldName: new("axes"), StringKey: new(name)}.Build(),
			}}.Build(),
			Message: new(name + ": 9 is too large"),
		}.Build()}}}
	}
	for name, test := range map[string]struct {
		args []string
		err  error
		want string
	}{
		"a budget":           {[]string{"--budget", "epochs=9"}, ofBudget, "--budget: it allows 100 epochs"},
		"the study's budget": {[]string{"--max-epochs", "6"}, ofBudget, "it allows 100 epochs"},
		"an axis":            {[]string{"--latent-dim", "9"}, ofAxis("latent_dim"), "--latent-dim: 9 is too large"},
		"an axis by --add":   {[]string{"--add", "depth=9"}, ofAxis("depth"), "--add depth: 9 is too large"},
		"an axis named like a flag": {
			[]string{"--add", "budget=9", "--budget", "epochs=9"}, ofAxis("budget"), "--add budget: 9 is too large",
		},
		"an axis named like a flag of all commands": {
			[]string{"--add", "coordinator=9", "--coordinator", "a:1"},
			ofAxis("coordinator"),
			"--add coordinator: 9 is too large",
		},
		"an axis almost named like another's flag": {
			[]string{"--add", "latent-dim=9", "--latent-dim", "9"},
			ofAxis("latent-dim"),
			"--add latent-dim: 9 is too large",
		},
	} {
		cmd := ExtendCommand(&cli.Environment{})
		if err := cmd.ParseFlags(test.args); err != nil {
			t.Fatal(err)
		}
		if err := byFlags(cmd, exit.Usagef("%w", test.err)); err.Error() != test.want || exit.Code(err) != exit.Usage {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
}
