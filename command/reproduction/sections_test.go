package reproduction

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
)

// Where our best values are not the paper's, the report says why; where they are, there is nothing to say.
func TestGridResultsSayWhy(t *testing.T) {
	theirs := &trellisv1.Trial{Index: 7, Parameters: Best, Objective: new(0.25)}
	for name, test := range map[string]struct {
		change func(*trellisv1.Parameters)
		theirs *trellisv1.Trial
		// notes by row; "" if there is none.
		notes [4]string
	}{
		"the same": {func(*trellisv1.Parameters) {}, theirs, [4]string{}},
		"larger space": {
			func(p *trellisv1.Parameters) { p.Values["latent_dim"] = trellisv1.IntegerValue(32) }, theirs,
			[4]string{"the paper's four values give a validation loss of 0.25, and ours give 0.125. A larger encoded space"},
		},
		"smaller space, not in the grid": {
			func(p *trellisv1.Parameters) { p.Values["latent_dim"], p.MaxEpochs = trellisv1.IntegerValue(8), 4 }, nil,
			[4]string{"Our grid has no trial", "", "", "Our grid has no trial"},
		},
		"rate and decay": {
			func(p *trellisv1.Parameters) {
				p.Values["learning_rate"], p.Values["weight_decay"] = trellisv1.NumberValue(1e-2), trellisv1.NumberValue(0)
			}, theirs,
			[4]string{"", "validation loss of 0.25", "validation loss of 0.25", ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := material(20)
			m.Theirs = test.theirs
			m.Autoencoder.Trial.Parameters, m.Autoencoder.Trial.Objective = proto.CloneOf(Best), new(0.125)
			test.change(m.Autoencoder.Trial.Parameters)
			results := gridResults(m)
			for i, want := range test.notes {
				if got := results[i].Note; !strings.Contains(got, want) || want == "" && got != "" {
					t.Errorf("%s: note %q, want %q", results[i].What, got, want)
				}
			}
			compared := false
			for _, result := range results {
				compared = compared || result.What == "validation loss with the paper's values" && result.Ours == "0.25"
			}
			if want := test.notes != [4]string{} && test.theirs != nil; compared != want {
				t.Errorf("the paper's trial is there: %t, want %t", compared, want)
			}
		})
	}
}

// Commands are those that give the number: with the options of this reproduction, and with exact values.
func TestSectionsNameTheirCommands(t *testing.T) {
	m, found := analyze(t)
	m.Command, m.Address = "trellis reproduce --quick", "--coordinator host:7070"
	m.Denoising[0].Trial.Parameters.Values["noise"] = trellisv1.NumberValue(1.0 / 3)
	sections := Sections(m, found)
	commands := map[string]string{}
	for _, section := range sections {
		for _, result := range section.Results {
			commands[result.What] = result.Command
		}
	}
	for what, want := range map[string]string{
		"encoded space dimension": "trellis best plain --coordinator host:7070",
		"test loss with noise of sigma 0.3333": "trellis trials noisy --filter 'noise == 0.3333333333333333' " +
			"--coordinator host:7070",
		"most frequent errors":        "trellis reproduce --quick",
		"plain: trustworthiness, PCA": "trellis reproduce --quick",
	} {
		if commands[what] != want {
			t.Errorf("%s: command %q, want %q", what, commands[what], want)
		}
	}
}

// The caption of the confusion matrix says which classifier it is of.
func TestConfusionCaption(t *testing.T) {
	m, found := analyze(t)
	caption := func() string {
		sections := Sections(m, found)
		var all []*trellisv1.PaperFigure
		for _, section := range sections {
			all = append(all, section.Figures...)
		}
		return all[3].Caption
	}
	if got := caption(); !strings.Contains(got, "frozen") {
		t.Errorf("caption %q", got)
	}
	found.Frozen, found.FineTuned, m.FineTuned = nil, found.Frozen, m.Frozen
	if got := caption(); strings.Contains(got, "frozen") || !strings.Contains(got, "fine-tuned") {
		t.Errorf("without a frozen encoder, caption %q", got)
	}
}

// TestTestLossThatIsNotKnown: a trial whose epochs were trained for others may have none, which is not 0.
func TestTestLossThatIsNotKnown(t *testing.T) {
	trained := func(loss *float64) Trained {
		return Trained{
			Study: &trellisv1.Study{Name: "s"},
			Trial: &trellisv1.Trial{
				TestLoss:   loss,
				Parameters: &trellisv1.Parameters{Values: trellisv1.ValuesOf(map[string]any{"noise": 0.1})},
			},
		}
	}
	row := func(loss *float64) (grid, denoising *trellisv1.PaperResult) {
		m := &Material{Autoencoder: trained(loss), Denoising: []Trained{trained(loss)}}
		results := gridResults(m)
		return results[len(results)-1], denoisingResults(m)[0]
	}
	if grid, denoising := row(proto.Float64(0.5)); grid.Ours != "0.5" || denoising.Ours != "0.5" ||
		denoising.Difference != "+0.4731" {
		t.Errorf("with a loss: %+v and %+v", grid, denoising)
	}
	grid, denoising := row(nil)
	for _, result := range []*trellisv1.PaperResult{grid, denoising} {
		if result.Ours != "not known" || result.Difference != "" || result.Note == "" {
			t.Errorf("without a loss: %+v", result)
		}
	}
}
