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
		for _, row := range section.GetTable().GetRows() {
			commands[row.What] = section.GetTable().GetCommand()
		}
	}
	for what, want := range map[string]string{
		"encoded space dimension": "trellis best plain --coordinator host:7070",
		"test loss with noise of sigma 0.3333": "trellis trials noisy --filter 'noise == 0.3333333333333333' " +
			"--coordinator host:7070",
		"most frequent errors": "trellis reproduce --quick",
		"trustworthiness, PCA": "trellis reproduce --quick",
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

// The captions say what was drawn: how strong the noise is, and how many images' codes there are.
func TestCaptions(t *testing.T) {
	captions := func(m *Material) map[uint32]string {
		all := map[uint32]string{}
		for _, section := range Sections(m, &Findings{}) {
			for _, figure := range section.Figures {
				all[figure.Number] = figure.Caption
				if strings.Contains(figure.Caption, "%") {
					t.Errorf("caption %q", figure.Caption)
				}
			}
		}
		return all
	}
	m := material(20)
	want := "with Gaussian noise of sigma " + number(m.Denoising[len(m.Denoising)-1].Trial.GetParameters().Numeric("noise"))
	if got := captions(m)[4]; !strings.Contains(got, want) {
		t.Errorf("caption %q, want %q", got, want)
	}
	m.Denoising, m.Noises = nil, []float64{0.1, 0.75}
	if got := captions(m)[4]; !strings.Contains(got, "with Gaussian noise of sigma 0.75, and") {
		t.Errorf("before it is drawn, caption %q", got)
	}
	m.Noises = nil
	if got := captions(m)[4]; !strings.Contains(got, "with Gaussian noise, and") {
		t.Errorf("before its strength is known, caption %q", got)
	}
	m.Analysis = proto.CloneOf(m.Analysis)
	for images, want := range map[int]string{m.Test.Len(): "Codes of the test images from", 7: "Codes of the first 7 test images from"} {
		m.Analysis.Images = uint32(images)
		if got := captions(m); !strings.HasPrefix(got[7], want) || !strings.HasPrefix(got[8], want) {
			t.Errorf("captions %q and %q, want %q", got[7], got[8], want)
		}
	}
}

// PyTorch trained for 15 epochs: it stands beside trials of as many, not of others.
func TestPyTorchStandsBesideAsManyEpochs(t *testing.T) {
	m := material(20)
	parameters := func(noise float64, maxEpochs uint32) *trellisv1.Parameters {
		return &trellisv1.Parameters{MaxEpochs: maxEpochs, Values: trellisv1.ValuesOf(map[string]any{"noise": noise})}
	}
	m.Denoising = []Trained{{Trial: &trellisv1.Trial{TestLoss: new(0.1), Parameters: parameters(0.3, 150)}}}
	for _, epochs := range []uint32{2, 15} {
		m.DenoisingBudgets = append(m.DenoisingBudgets,
			&trellisv1.Trial{TestLoss: new(0.2), Parameters: parameters(0.3, epochs)})
	}
	for _, result := range denoisingResults(m) {
		if got, want := strings.Contains(result.Note, "PyTorch"), strings.Contains(result.What, "within 15"); got != want {
			t.Errorf("%s has the note %q", result.What, result.Note)
		}
	}
}
