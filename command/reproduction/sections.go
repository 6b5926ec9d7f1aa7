package reproduction

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/results/grid"
	"trellis/results/paper"
	"trellis/trainer"
)

// captions of the figures, by their number in the paper.
var captions = map[int]string{
	2: "Three test images and their reconstructions by the convolutional autoencoder.",
	3: "Three images decoded by the convolutional autoencoder from Gaussian codes with the distribution of the test " +
		"images' codes.",
	4: "Three test images, the same images with noise, and their reconstructions by the denoising autoencoder.",
	5: "Predictions of the classifier with the frozen encoder for the test images.",
	6: "Images decoded by the variational autoencoder from standard normal codes.",
	7: "Codes of the test images from the convolutional autoencoder: PCA and t-SNE.",
	8: "Codes of the test images from the variational autoencoder: PCA and t-SNE.",
	9: "Losses of the convolutional autoencoder with the best parameters.",
}

// Sections tells the findings in the order of the paper, each number beside the paper's.
func Sections(m *Material, found *Findings) ([]paper.Section, error) {
	sections := []paper.Section{
		{Title: "Convolutional autoencoder (section 2)", Results: gridResults(m)},
		{Title: "Denoising autoencoder (section 3)", Results: denoisingResults(m)},
		{Title: "Classification (section 4)", Results: classifierResults(m, found)},
		{Title: "Variational autoencoder (section 5)", Results: variationalResults(m, found)},
		{Title: "Latent-space analysis (section 6)", Results: spaceResults(m, found)},
		{Title: "Appendix"},
	}
	for i, numbers := range [][]int{{2, 3}, {4}, {5}, {6}, {7, 8}, {9}} {
		for _, number := range numbers {
			picture := paper.Picture{Number: number, Caption: captions[number]}
			if number == 5 && found.Frozen == nil {
				picture.Caption = "Predictions of the fine-tuned classifier for the test images."
			}
			var png, svg bytes.Buffer
			if err := found.Figures[number].WritePNG(&png); err != nil {
				return nil, fmt.Errorf("write figure %d: %w", number, err)
			}
			if err := found.Figures[number].WriteSVG(&svg); err != nil {
				return nil, fmt.Errorf("write figure %d: %w", number, err)
			}
			picture.PNG, picture.SVG = png.Bytes(), svg.Bytes()
			sections[i].Figures = append(sections[i].Figures, picture)
		}
	}
	return sections, nil
}

func number(x float64) string { return strconv.FormatFloat(x, 'g', 4, 64) }

// same is the difference of two numbers that have none.
const same = "none"

// compared is a result beside the paper's number.
func compared(what string, theirs, ours float64, command string) paper.Result {
	difference := same
	if ours != theirs {
		difference = fmt.Sprintf("%+.4g", ours-theirs)
	}
	return paper.Result{What: what, Paper: number(theirs), Ours: number(ours), Difference: difference, Command: command}
}

func alone(what string, ours float64, command string) paper.Result {
	return paper.Result{What: what, Ours: number(ours), Command: command}
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
func tested(result paper.Result, trial *trellisv1.Trial) paper.Result {
	if trial.TestLoss == nil {
		result.Ours, result.Difference = "not known", ""
		result.Note = "Its epochs were trained for longer trials, before this trial was submitted."
	}
	return result
}

func gridResults(m *Material) []paper.Result {
	study, trial := m.Autoencoder.Study, m.Autoencoder.Trial
	best := m.asks("best %s", study.GetName())
	p := trial.GetParameters()
	results := []paper.Result{
		compared("encoded space dimension", Best.Numeric(grid.LatentDim), p.Numeric(grid.LatentDim), best),
		compared("learning rate", Best.Numeric(grid.LearningRate), p.Numeric(grid.LearningRate), best),
		compared("weight decay", Best.Numeric(grid.WeightDecay), p.Numeric(grid.WeightDecay), best),
		compared("maximum number of epochs", float64(Best.GetMaxEpochs()), float64(p.GetMaxEpochs()), best),
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
	results = append(results, alone("validation loss", trial.GetObjective(), best))
	if differ && m.Theirs != nil {
		results = append(results, alone("validation loss with the paper's values", m.Theirs.GetObjective(),
			m.asks("trials %s --filter 'index == %d'", study.GetName(), m.Theirs.GetIndex())))
	}
	return append(results, tested(alone("test loss", trial.GetTestLoss(), best), trial))
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

func denoisingResults(m *Material) []paper.Result {
	var results []paper.Result
	for _, trained := range m.Denoising {
		p := trained.Trial.GetParameters()
		noise := p.Numeric(trainer.Noise)
		what := "test loss with noise of sigma " + number(noise)
		command := func(more string) string {
			return m.asks("trials %s --filter '%s == %v%s'", trained.Study.GetName(), trainer.Noise, noise, more)
		}
		result := compared(what, 0.0269, trained.Trial.GetTestLoss(), command(""))
		result.Note = "The paper does not say how strong its noise is."
		result = tested(result, trained.Trial)
		results = append(results, result)
		for _, trial := range m.DenoisingBudgets {
			budget := trial.GetParameters().GetMaxEpochs()
			if trial.GetParameters().Numeric(trainer.Noise) != noise || budget >= p.GetMaxEpochs() ||
				trial.TestLoss == nil {
				continue
			}
			result := compared(fmt.Sprintf("%s, within %d epochs", what, budget), 0.0269, trial.GetTestLoss(),
				command(fmt.Sprintf(" && max_epochs == %d", budget)))
			result.Note = besidePyTorch(noise)
			results = append(results, result)
		}
	}
	return results
}

// pyTorch has the test losses of one run of PyTorch 1.13 each, by the noise: 16 latent dimensions, learning rate 1e-3,
// weight decay 1e-5, batches of 256 images, 15 epochs.
var pyTorch = map[float64]float64{0.3: 0.01747, 0.5: 0.02016}

func besidePyTorch(noise float64) string {
	loss, ok := pyTorch[noise]
	if !ok {
		return ""
	}
	return fmt.Sprintf("One PyTorch run with the paper's parameters has %s after 15 epochs.", number(loss))
}

func classifierResults(m *Material, found *Findings) []paper.Result {
	var results []paper.Result
	if found.Frozen != nil {
		results = append(results, compared("test accuracy, encoder frozen", 0.9513, found.Frozen.Accuracy,
			m.asks("trials %s --filter '%s == 0'", m.Frozen.Study.GetName(), trainer.FineTune)))
		results = append(results, confusions(found.Frozen, m.Command))
	}
	if found.FineTuned != nil {
		result := compared("test accuracy, encoder fine-tuned", 0.9927, found.FineTuned.Accuracy,
			m.asks("trials %s --filter '%s == 1'", m.FineTuned.Study.GetName(), trainer.FineTune))
		result.Note = "The paper's number is from the supervised network of its author's previous work."
		results = append(results, result)
	}
	return results
}

// confusions are the three most frequent errors.
func confusions(reading *Reading, command string) paper.Result {
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
	return paper.Result{
		What: "most frequent errors", Paper: "3 for 8 (49); 9 and 4, 3 and 2, 3 and 5", Ours: strings.Join(texts, ", "),
		Command: command, Note: "The true digit, the predicted digit, and how often.",
	}
}

func variationalResults(m *Material, found *Findings) []paper.Result {
	trial := m.Variational.Trial
	best := m.asks("best %s", m.Variational.Study.GetName())
	results := []paper.Result{
		alone("squared error of a test image, summed", metric(trial.GetTestMetrics(), "reconstruction"), best),
		alone("Kullback-Leibler divergence of a test image", metric(trial.GetTestMetrics(), "divergence"), best),
		alone("mean top probability of samples", found.Sampled.Confidence, m.Command),
		alone("mean top probability of samples, plain autoencoder", found.Generated.Confidence, m.Command),
		alone("inception score of samples, 1 to 10", found.Sampled.Score, m.Command),
		alone("inception score of samples, 1 to 10, plain autoencoder", found.Generated.Score, m.Command),
	}
	results[2].Note = "Predicted by our classifier, which was trained on real digits only."
	results[4].Note = "From the same classifier. High if each sample is clearly one digit and all digits occur."
	return results
}

func metric(metrics map[string]float64, name string) float64 {
	if value, ok := metrics[name]; ok {
		return value
	}
	return math.NaN()
}

func spaceResults(m *Material, found *Findings) []paper.Result {
	var results []paper.Result
	for _, s := range []struct {
		name string
		*Space
	}{{"plain", &found.Plain}, {"variational", &found.Variational}} {
		add := func(what string, value float64) {
			results = append(results, alone(s.name+": "+what, value, m.Command))
		}
		add("variance explained by two principal components", s.Explained[0]+s.Explained[1])
		for _, p := range []struct {
			name string
			Quality
		}{{"codes", s.Codes}, {"PCA", s.PCA}, {"t-SNE", s.TSNE}, {"t-SNE, three dimensions", s.TSNE3}} {
			add("5-nearest-neighbor accuracy, "+p.name, p.Accuracy)
			add("silhouette by digit, "+p.name, p.Silhouette)
			if p.name != "codes" {
				add("trustworthiness, "+p.name, p.Trustworthiness)
			}
		}
	}
	return results
}
