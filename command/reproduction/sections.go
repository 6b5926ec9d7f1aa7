package reproduction

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/trainer"
)

// captions of the figures, by their number in the paper.
var captions = map[uint32]string{
	2: "Three test images and their reconstructions by the convolutional autoencoder.",
	3: "Three images decoded by the convolutional autoencoder from Gaussian codes with the distribution of the test " +
		"images' codes.",
	4: "Three test images, the same images with %s, and their reconstructions by the denoising autoencoder.",
	5: "Predictions of the classifier with the frozen encoder for the test images.",
	6: "Images decoded by the variational autoencoder from standard normal codes.",
	7: "Codes of %s from the convolutional autoencoder: PCA, with the share of the variance that each " +
		"principal component explains, and t-SNE.",
	8: "Codes of %s from the variational autoencoder: PCA, with the share of the variance that each " +
		"principal component explains, and t-SNE.",
	9: "Losses of the convolutional autoencoder with the best parameters.",
}

// Sections tells the findings in the order of the paper, each number beside the paper's. What is not known yet is pending, and a
// figure that is not drawn yet has no picture among the findings.
func Sections(m *Material, found *Findings) []*trellisv1.PaperSection {
	sections := []*trellisv1.PaperSection{
		{Title: "Convolutional autoencoder (section 2)", Results: gridResults(m)},
		{Title: "Denoising autoencoder (section 3)", Results: denoisingResults(m)},
		{Title: "Classification (section 4)", Results: classifierResults(m, found)},
		{Title: "Variational autoencoder (section 5)", Results: variationalResults(m), Table: samplesTable(m, found)},
		{Title: "Latent-space analysis (section 6)", Table: spacesTable(m, found)},
		{Title: "Appendix"},
	}
	for i, numbers := range [][]uint32{{2, 3}, {4}, {5}, {6}, {7, 8}, {9}} {
		for _, number := range numbers {
			figure := &trellisv1.PaperFigure{Number: number, Caption: captions[number]}
			switch {
			case number == 4:
				figure.Caption = fmt.Sprintf(figure.Caption, m.shownNoise())
			case number == 5 && found.Frozen == nil && found.FineTuned != nil:
				figure.Caption = "Predictions of the fine-tuned classifier for the test images."
			case number == 7 || number == 8:
				figure.Caption = fmt.Sprintf(figure.Caption, m.projected())
			}
			sections[i].Figures = append(sections[i].Figures, figure)
		}
	}
	return sections
}

// shownNoise is the noise of figure 4: the strongest.
func (m *Material) shownNoise() string {
	noise := 0.0
	switch {
	case len(m.Denoising) > 0:
		noise = m.Denoising[len(m.Denoising)-1].Trial.GetParameters().Numeric(trainer.Noise)
	case len(m.Noises) > 0:
		noise = m.Noises[len(m.Noises)-1]
	default:
		return "Gaussian noise"
	}
	return "Gaussian noise of sigma " + number(noise)
}

// projected are the images whose codes figures 7 and 8 show.
func (m *Material) projected() string {
	if images := int(m.Analysis.GetImages()); images < m.Test.Len() {
		return fmt.Sprintf("the first %d test images", images)
	}
	return "the test images"
}

func number(x float64) string { return strconv.FormatFloat(x, 'g', 4, 64) }

// same is the difference of two numbers that have none.
const same = "none"

// compared is a result beside the paper's number.
func compared(what string, theirs, ours float64, command string) *trellisv1.PaperResult {
	difference := same
	if ours != theirs {
		difference = fmt.Sprintf("%+.4g", ours-theirs)
	}
	return &trellisv1.PaperResult{
		What: what, Paper: number(theirs), Ours: number(ours), Difference: difference, Command: command,
	}
}

func alone(what string, ours float64, command string) *trellisv1.PaperResult {
	return &trellisv1.PaperResult{What: what, Ours: number(ours), Command: command}
}

// pending are results without what is not known yet.
func pending(results ...*trellisv1.PaperResult) []*trellisv1.PaperResult {
	for _, result := range results {
		result.Ours, result.Difference, result.Pending = "", "", true
	}
	return results
}

// Best are the values that the paper's grid search found best (section 2.2).
var Best = &trellisv1.Parameters{MaxEpochs: 150, Values: trellisv1.ValuesOf(map[string]any{
	grid.LatentDim: 16, grid.LearningRate: 1e-3, grid.WeightDecay: 1e-5,
})}

// asks is a command that asks a coordinator.
func (m *Material) asks(format string, args ...any) string {
	command := fmt.Sprintf("trellis "+format, args...)
	if m.Address != "" {
		command += " " + m.Address
	}
	return command
}

// tested is a result that is the test loss of a trial, or says why that is not known.
func tested(result *trellisv1.PaperResult, trial *trellisv1.Trial) *trellisv1.PaperResult {
	if trial.TestLoss == nil {
		result.Ours, result.Difference = "not known", ""
		result.Note = "Its epochs were trained for longer trials, before this trial was submitted."
	}
	return result
}

func gridResults(m *Material) []*trellisv1.PaperResult {
	best := m.asks("best %s", m.Analysis.GetAutoencoder())
	trial := m.Autoencoder.Trial
	p := trial.GetParameters()
	results := []*trellisv1.PaperResult{
		compared("encoded space dimension", Best.Numeric(grid.LatentDim), p.Numeric(grid.LatentDim), best),
		compared("learning rate", Best.Numeric(grid.LearningRate), p.Numeric(grid.LearningRate), best),
		compared("weight decay", Best.Numeric(grid.WeightDecay), p.Numeric(grid.WeightDecay), best),
		compared("maximum number of epochs", float64(Best.GetMaxEpochs()), float64(p.GetMaxEpochs()), best),
	}
	loss := alone("validation loss", trial.GetObjective(), best)
	test := alone("test loss", trial.GetTestLoss(), best)
	if trial == nil {
		return pending(append(results, loss, test)...)
	}
	differ := false
	for i := range results {
		if results[i].Difference != same {
			differ = true
			results[i].Note = whyOthers(m)
		}
	}
	if p.Numeric(grid.LatentDim) > Best.Numeric(grid.LatentDim) {
		results[0].Note += " A larger encoded space reconstructs better. The paper does not say which dimensions it " +
			"tried, only that they should be \"relatively small\"."
	}
	results = append(results, loss)
	if differ && m.Theirs != nil {
		results = append(results, alone("validation loss with the paper's values", m.Theirs.GetObjective(),
			m.asks("trials %s --filter 'index == %d'", m.Analysis.GetAutoencoder(), m.Theirs.GetIndex())))
	}
	return append(results, tested(test, trial))
}

// whyOthers says why our best values are not the paper's.
func whyOthers(m *Material) string {
	if m.Theirs == nil {
		return "Our grid has no trial with the paper's four values."
	}
	ours, theirs := m.Autoencoder.Trial.GetObjective(), m.Theirs.GetObjective()
	if ours == theirs {
		return "The paper's four values give the same validation loss."
	}
	return fmt.Sprintf("In our training, the paper's four values give a validation loss of %s, and ours give "+
		"%s.", number(theirs),
		number(ours))
}

func denoisingResults(m *Material) []*trellisv1.PaperResult {
	const theirs = 0.0269
	what := func(noise float64) string { return "test loss with noise of sigma " + number(noise) }
	command := func(noise float64, more string) string {
		return m.asks("trials %s --filter '%s == %v%s'", m.Analysis.GetDenoising(), trainer.Noise, noise, more)
	}
	var results []*trellisv1.PaperResult
	if len(m.Denoising) == 0 {
		for _, noise := range m.Noises {
			results = append(results, compared(what(noise), theirs, 0, command(noise, "")))
		}
		if len(results) == 0 {
			results = append(results, compared("test loss with noise", theirs, 0, m.asks("trials %s", m.Analysis.GetDenoising())))
		}
		return pending(results...)
	}
	for _, trained := range m.Denoising {
		p := trained.Trial.GetParameters()
		noise := p.Numeric(trainer.Noise)
		result := compared(what(noise), theirs, trained.Trial.GetTestLoss(), command(noise, ""))
		result.Note = "The paper does not say how strong its noise is."
		results = append(results, tested(result, trained.Trial))
		for _, trial := range m.DenoisingBudgets {
			budget := trial.GetParameters().GetMaxEpochs()
			if trial.GetParameters().Numeric(trainer.Noise) != noise || budget >= p.GetMaxEpochs() ||
				trial.TestLoss == nil {
				continue
			}
			result := compared(fmt.Sprintf("%s, within %d epochs", what(noise), budget), theirs, trial.GetTestLoss(),
				command(noise, fmt.Sprintf(" && max_epochs == %d", budget)))
			result.Note = besidePyTorch(noise, budget)
			results = append(results, result)
		}
	}
	return results
}

// pyTorch has the test losses of one run of PyTorch 1.13 each, by the noise: 16 latent dimensions, learning rate 1e-3,
// weight decay 1e-5, batches of 256 images, pyTorchEpochs.
var pyTorch = map[float64]float64{0.3: 0.01747, 0.5: 0.02016}

// pyTorchEpochs is how long PyTorch trained: trials with other max_epochs are not compared with it.
const pyTorchEpochs = 15

func besidePyTorch(noise float64, maxEpochs uint32) string {
	loss, ok := pyTorch[noise]
	if !ok || maxEpochs != pyTorchEpochs {
		return ""
	}
	return fmt.Sprintf("One PyTorch run with the paper's parameters has %s after %d epochs.", number(loss), pyTorchEpochs)
}

func classifierResults(m *Material, found *Findings) []*trellisv1.PaperResult {
	command := func(fineTune string) string {
		return m.asks("trials %s --filter '%s == %s'", m.Analysis.GetClassifier(), trainer.FineTune, fineTune)
	}
	frozen := func(accuracy float64) *trellisv1.PaperResult {
		return compared("test accuracy, encoder frozen", 0.9513, accuracy, command("0"))
	}
	fineTuned := func(accuracy float64) *trellisv1.PaperResult {
		result := compared("test accuracy, encoder fine-tuned", 0.9927, accuracy, command("1"))
		result.Note = "The paper's number is from the supervised network of its author's previous work."
		return result
	}
	var results []*trellisv1.PaperResult
	if m.reader() == nil || found.Frozen == nil && found.FineTuned == nil {
		if len(m.FineTunes) == 0 || slices.Contains(m.FineTunes, 0) {
			results = append(results, frozen(0), confusions(&Reading{}, m.Command))
		}
		if slices.ContainsFunc(m.FineTunes, func(x float64) bool { return x != 0 }) {
			results = append(results, fineTuned(0))
		}
		return pending(results...)
	}
	if found.Frozen != nil {
		results = append(results, frozen(found.Frozen.Accuracy), confusions(found.Frozen, m.Command))
	}
	if found.FineTuned != nil {
		results = append(results, fineTuned(found.FineTuned.Accuracy))
	}
	return results
}

// confusions are the three most frequent errors.
func confusions(reading *Reading, command string) *trellisv1.PaperResult {
	type confusion struct{ truth, read, count int }
	var all []confusion
	for truth, row := range reading.Counts {
		for read, count := range row {
			if truth != read {
				all = append(all, confusion{truth, read, count})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b confusion) int { return b.count - a.count })
	var texts []string
	for _, c := range all[:3] {
		texts = append(texts, fmt.Sprintf("%d for %d (%d)", c.truth, c.read, c.count))
	}
	return &trellisv1.PaperResult{
		What: "most frequent errors", Paper: "3 for 8 (49); 9 and 4, 3 and 2, 3 and 5", Ours: strings.Join(texts, ", "),
		Command: command, Note: "The true digit, the predicted digit, and how often.",
	}
}

func variationalResults(m *Material) []*trellisv1.PaperResult {
	trial := m.Variational.Trial
	best := m.asks("best %s", m.Analysis.GetVariational())
	losses := []*trellisv1.PaperResult{
		alone("squared error of a test image, summed", metric(trial.GetTestMetrics(), "reconstruction"), best),
		alone("Kullback-Leibler divergence of a test image", metric(trial.GetTestMetrics(), "divergence"), best),
	}
	if trial == nil {
		pending(losses...)
	}
	return losses
}

// samplesTable compares how the classifier reads what both autoencoders draw.
func samplesTable(m *Material, found *Findings) *trellisv1.PaperTable {
	row := func(what, note string, value func(*Sampling) float64) *trellisv1.PaperRow {
		return &trellisv1.PaperRow{
			What: what, Note: note, Values: []string{known(found.Generated, value), known(found.Sampled, value)},
		}
	}
	return &trellisv1.PaperTable{
		Columns: []string{"Convolutional", "Variational"}, Command: m.Command,
		Rows: []*trellisv1.PaperRow{
			row("mean top probability of samples", "Predicted by our classifier, which was trained on real digits only.",
				func(its *Sampling) float64 { return its.Confidence }),
			row("inception score of samples, 1 to 10",
				"From the same classifier. High if each sample is clearly one digit and all digits occur.",
				func(its *Sampling) float64 { return its.Score }),
		},
	}
}

// known is a number of something that is found, or empty.
func known[T any](found *T, value func(*T) float64) string {
	if found == nil {
		return ""
	}
	return number(value(found))
}

func metric(metrics map[string]float64, name string) float64 {
	if value, ok := metrics[name]; ok {
		return value
	}
	return math.NaN()
}

// spacesTable compares the latent spaces of both autoencoders, and what their projections keep.
func spacesTable(m *Material, found *Findings) *trellisv1.PaperTable {
	table := &trellisv1.PaperTable{Columns: []string{"Convolutional", "Variational"}, Command: m.Command}
	add := func(what, note string, value func(*Space) float64) {
		table.Rows = append(table.Rows, &trellisv1.PaperRow{
			What: what, Note: note, Values: []string{known(found.Plain, value), known(found.Variational, value)},
		})
	}
	add("variance explained by two principal components", "",
		func(s *Space) float64 { return s.Explained[0] + s.Explained[1] })
	points := []struct {
		name string
		of   func(*Space) Quality
	}{
		{"codes", func(s *Space) Quality { return s.Codes }},
		{"PCA", func(s *Space) Quality { return s.PCA }},
		{"t-SNE", func(s *Space) Quality { return s.TSNE }},
		{"t-SNE in three dimensions", func(s *Space) Quality { return s.TSNE3 }},
	}
	for _, measure := range []struct {
		name, note string
		of         func(Quality) float64
		// relative measures compare points with the codes, which have 1 themselves.
		relative bool
	}{
		{
			"5-nearest-neighbor accuracy", "The share of images whose five nearest others mostly show the same digit.",
			func(q Quality) float64 { return q.Accuracy }, false,
		},
		{
			"silhouette by digit", "From −1 to 1: high if digits are compact and apart.",
			func(q Quality) float64 { return q.Silhouette }, false,
		},
		{
			"trustworthiness", "From 0 to 1: high if neighbors in the projection are neighbors among the codes.",
			func(q Quality) float64 { return q.Trustworthiness }, true,
		},
	} {
		note := measure.note
		for i, p := range points {
			if i == 0 && measure.relative {
				continue
			}
			add(measure.name+", "+p.name, note, func(s *Space) float64 { return measure.of(p.of(s)) })
			note = "" // Once is enough.
		}
	}
	return table
}
