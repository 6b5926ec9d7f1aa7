package reproduction

import (
	"bytes"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	trellisv1 "trellis/proto/trellis/v1"
	"trellis/trainer/dataset"
)

// side is the height and width of the images of these tests, and codeSize the size of their codes.
const side, codeSize = 28, 4

// painted is a network of rules: an image's code is how bright its quarters are, and its digit is written in its first
// pixel.
type painted struct{}

func (painted) Encode(_ context.Context, images []float32) ([]float32, error) {
	var codes []float32
	for at := 0; at < len(images); at += side * side {
		var code [codeSize]float32
		for i, value := range images[at : at+side*side] {
			code[i/side/(side/2)*2+i%side/(side/2)] += value / (side * side / codeSize)
		}
		codes = append(codes, code[:]...)
	}
	return codes, nil
}

func (painted) Decode(_ context.Context, codes []float32) ([]float32, error) {
	images := make([]float32, len(codes)/codeSize*side*side)
	for i := range images {
		quarter := i%(side*side)/side/(side/2)*2 + i%side/(side/2)
		images[i] = min(1, max(0, codes[i/(side*side)*codeSize+quarter]))
	}
	return images, nil
}

func (p painted) Reconstruct(ctx context.Context, images []float32) ([]float32, error) {
	codes, err := p.Encode(ctx, images)
	if err != nil {
		return nil, err
	}
	return p.Decode(ctx, codes)
}

// Classify is sure of the digit of the first pixel, by nine parts in ten.
func (painted) Classify(_ context.Context, images []float32) ([]float32, error) {
	var rows []float32
	for at := 0; at < len(images); at += side * side {
		digit := int(math.Round(float64(images[at]*255))) % classes
		for i := range classes {
			probability := 0.1 / (classes - 1)
			if i == digit {
				probability = 0.9
			}
			rows = append(rows, float32(math.Log(probability)))
		}
	}
	return rows, nil
}

// material has images whose quarters tell the digit, and whose first pixel lies in every tenth of them.
func material(images int) *Material {
	random := rand.New(rand.NewPCG(7, 7))
	test := dataset.Images{}
	for i := range images {
		digit := i % classes
		image := make([]byte, side*side)
		for at := range image {
			quarter := at/side/(side/2)*2 + at%side/(side/2)
			image[at] = byte(20*((digit>>quarter)&1) + 10*quarter + random.IntN(20))
		}
		image[0] = byte(digit)
		if i%10 == 3 {
			image[0] = byte(digit+1) % classes
		}
		test.Pixels, test.Labels = append(test.Pixels, image...), append(test.Labels, byte(digit))
	}
	trained := func(study string, noise float64) Trained {
		return Trained{
			Study: &trellisv1.Study{Name: study},
			Trial: &trellisv1.Trial{
				Parameters: &trellisv1.Parameters{Values: trellisv1.ValuesOf(map[string]any{"latent_dim": codeSize, "noise": noise})},
				TrainLoss:  []float64{3, 2, 1}, ValidationLoss: []float64{3, 1, 2}, BestEpoch: 2, Objective: new(1.0),
				TestLoss: new(1.5),
			},
			Network: painted{},
		}
	}
	frozen := trained("read", 0)
	return &Material{
		Analysis: small, Noises: []float64{0.1, 0.2}, FineTunes: []float64{0},
		Test: test, Height: side, Width: side, Autoencoder: trained("plain", 0), Variational: trained("drawn", 0),
		Denoising: []Trained{trained("noisy", 0.1), trained("noisy", 0.2)}, Frozen: &frozen,
		Corrupt: func(images []float32, noise float64, _ uint32) []float32 {
			noisy := make([]float32, len(images))
			for i, value := range images {
				noisy[i] = value + float32(noise)
			}
			return noisy
		},
	}
}

var small = &trellisv1.Analysis{
	Autoencoder: "plain", Denoising: "noisy", Classifier: "read", Variational: "drawn",
	Images: 200, Iterations: 250, Perplexity: 10, Samples: 40,
}

func analyze(t *testing.T) (*Material, *Findings) {
	t.Helper()
	m := material(1200)
	found, err := Analyze(t.Context(), m, func(string, ...any) {})
	if err != nil {
		t.Fatal(err)
	}
	return m, found
}

func TestAnalyze(t *testing.T) {
	m, found := analyze(t)
	if want := 0.9; math.Abs(found.Frozen.Accuracy-want) > 1e-9 {
		t.Errorf("accuracy is %v, want %v", found.Frozen.Accuracy, want)
	}
	if got := found.Frozen.Counts; got[3][4] != 120 || got[3][3] != 0 || got[2][2] != 120 {
		t.Errorf("counts of 2 and 3 are %v and %v; every 3 reads as 4", got[2], got[3])
	}
	if found.FineTuned != nil {
		t.Error("a classifier that is not there has read")
	}
	for _, read := range []*Sampling{found.Sampled, found.Generated} {
		if math.Abs(read.Confidence-0.9) > 1e-6 {
			t.Errorf("samples are read with %v, want 0.9", read.Confidence)
		}
	}
	for _, space := range []*Space{found.Plain, found.Variational} {
		if space.Images != 200 || space.Codes.Trustworthiness != 1 || space.Codes.Accuracy < 0.9 ||
			space.TSNE.Trustworthiness < 0.8 {
			t.Errorf("space is %+v", space)
		}
		if sum := space.Explained[0] + space.Explained[1]; sum <= 0 || sum > 1 ||
			space.Explained[0] < space.Explained[1] {
			t.Errorf("principal components explain %v", space.Explained)
		}
	}
	var numbers []uint32
	for _, section := range Sections(m, found) {
		for _, figure := range section.Figures {
			numbers = append(numbers, figure.Number)
			picture := found.Pictures[figure.Number]
			if !bytes.HasPrefix(picture.PNG, []byte("\x89PNG")) || !bytes.Contains(picture.SVG, []byte("<svg")) {
				t.Errorf("figure %d is no picture", figure.Number)
			}
		}
		for _, result := range section.Results {
			if result.Pending || result.Ours == "" {
				t.Errorf("%s is not known", result.What)
			}
		}
	}
	if len(numbers) != 8 || numbers[0] != 2 || numbers[7] != 9 {
		t.Errorf("figures %v, want 2 to 9", numbers)
	}
}

// elevenths is a classifier with one class more than the analysis tells apart.
type elevenths struct{ painted }

func (elevenths) Classify(_ context.Context, images []float32) ([]float32, error) {
	return make([]float32, len(images)/(side*side)*(classes+1)), nil
}

// The answers of a classifier with other classes are not cut into rows of ten.
func TestAnalyzeRefusesOtherClasses(t *testing.T) {
	m := material(1200)
	m.Frozen.Network = elevenths{}
	_, err := Analyze(t.Context(), m, func(string, ...any) {})
	if !errors.Is(err, ErrMaterial) || !strings.Contains(err.Error(), "want 10 for each") {
		t.Errorf("got %v, want %v for ten classes", err, ErrMaterial)
	}
	a := NewAnalyzer(m, func(string, ...any) {})
	if read, err := a.read(t.Context(), elevenths{}); !errors.Is(err, ErrMaterial) {
		t.Errorf("read %v: %v", read, err)
	}
}

// The test loss of noise is told with the full budget, and with each smaller one that the study has.
func TestDenoisingBudgets(t *testing.T) {
	m := material(100)
	trial := func(noise float64, maxEpochs uint32, testLoss *float64) *trellisv1.Trial {
		return &trellisv1.Trial{
			Parameters: &trellisv1.Parameters{MaxEpochs: maxEpochs, Values: trellisv1.ValuesOf(map[string]any{"noise": noise})},
			TestLoss:   testLoss,
		}
	}
	m.Denoising[0].Trial, m.Denoising[1].Trial = trial(0.3, 150, new(0.01)), trial(0.5, 150, new(0.015))
	m.DenoisingBudgets = []*trellisv1.Trial{
		trial(0.3, 15, new(0.02)), trial(0.5, 15, new(0.025)), trial(0.5, 20, nil), m.Denoising[0].Trial,
		m.Denoising[1].Trial,
	}
	var got []string
	for _, result := range denoisingResults(m) {
		got = append(got, result.What+": "+result.Ours+" "+result.Command)
	}
	want := []string{
		"test loss with noise of sigma 0.3: 0.01 trellis trials noisy --filter 'noise == 0.3'",
		"test loss with noise of sigma 0.3, within 15 epochs: 0.02 trellis trials noisy --filter 'noise == 0.3 && " +
			"max_epochs == 15'",
		"test loss with noise of sigma 0.5: 0.015 trellis trials noisy --filter 'noise == 0.5'",
		"test loss with noise of sigma 0.5, within 15 epochs: 0.025 trellis trials noisy --filter 'noise == 0.5 && " +
			"max_epochs == 15'",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestAnalyzeIsDeterministic(t *testing.T) {
	if testing.Short() {
		t.Skip("analyzes everything twice more")
	}
	_, first := analyze(t)
	_, second := analyze(t)
	if *first.Plain != *second.Plain || *first.Sampled != *second.Sampled || *first.Frozen != *second.Frozen {
		t.Errorf("findings differ: %+v and %+v", first.Plain, second.Plain)
	}
	for number, picture := range first.Pictures {
		if !bytes.Equal(picture.PNG, second.Pictures[number].PNG) || !bytes.Equal(picture.SVG, second.Pictures[number].SVG) {
			t.Errorf("figure %d differs", number)
		}
	}
}

// Material that comes piece by piece gives what it gives at once, and until then each number stands beside the paper's as pending.
func TestAnalyzePieceByPiece(t *testing.T) {
	whole, found := analyze(t)
	want := Sections(whole, found)
	m := &Material{
		Analysis: small, Noises: whole.Noises, FineTunes: whole.FineTunes, Test: whole.Test, Height: side, Width: side,
		Corrupt: whole.Corrupt,
	}
	a := NewAnalyzer(m, func(string, ...any) {})
	rows := func(sections []*trellisv1.PaperSection) (known, pending int) {
		for i, section := range sections {
			if section.Title != want[i].Title || len(section.Results) != len(want[i].Results) {
				t.Fatalf("section %q has %d results, and at the end %d", section.Title, len(section.Results), len(want[i].Results))
			}
			for j, result := range section.Results {
				last := want[i].Results[j]
				if result.What != last.What || result.Paper != last.Paper || result.Command != last.Command {
					t.Errorf("%v becomes %v", result, last)
				}
				if result.Pending {
					if pending++; result.Ours != "" || result.Difference != "" {
						t.Errorf("pending: %v", result)
					}
				} else if known++; !proto.Equal(result, last) {
					t.Errorf("%v becomes %v", result, last)
				}
			}
			for j, row := range section.GetTable().GetRows() {
				last := want[i].Table.Rows[j]
				if row.What != last.What || len(row.Values) != len(section.Table.Columns) {
					t.Errorf("%v becomes %v", row, last)
				}
				for k, value := range row.Values {
					if value == "" {
						pending++
					} else if known++; value != last.Values[k] {
						t.Errorf("%v becomes %v", row, last)
					}
				}
			}
		}
		return known, pending
	}
	last := -1
	for i, piece := range []struct {
		come     func()
		all      bool
		pictures int
	}{
		{func() {}, false, 0},
		{func() { m.Autoencoder = whole.Autoencoder }, false, 2},
		{func() { m.Variational = whole.Variational }, false, 2},
		{func() { m.Denoising = whole.Denoising }, false, 3},
		{func() { m.Frozen = whole.Frozen }, false, 6},
		{func() {}, true, 8},
	} {
		piece.come()
		for more := true; more; {
			var err error
			if more, err = a.Next(t.Context(), piece.all); err != nil {
				t.Fatal(err)
			}
		}
		known, pending := rows(Sections(m, a.Findings()))
		if known <= last && i != 5 || (pending == 0) != (i == 5) || len(a.Findings().Pictures) != piece.pictures {
			t.Errorf("step %d: %d known, %d pending, %d pictures", i, known, pending, len(a.Findings().Pictures))
		}
		last = known
	}
	for number, picture := range found.Pictures {
		if !bytes.Equal(picture.SVG, a.Findings().Pictures[number].SVG) {
			t.Errorf("figure %d differs", number)
		}
	}
}

func TestAnalyzeSaysWhatIsMissing(t *testing.T) {
	for name, spoil := range map[string]func(*Material){
		"images":     func(m *Material) { m.Test = dataset.Images{} },
		"pixels":     func(m *Material) { m.Test.Pixels = m.Test.Pixels[1:] },
		"denoising":  func(m *Material) { m.Denoising = nil },
		"classifier": func(m *Material) { m.Frozen = nil },
		"labels":     func(m *Material) { m.Test.Labels[5] = 12 },
	} {
		m := material(300)
		spoil(m)
		if _, err := Analyze(t.Context(), m, func(string, ...any) {}); !errors.Is(err, ErrMaterial) {
			t.Errorf("%s: got %v, want ErrMaterial", name, err)
		}
	}
}
