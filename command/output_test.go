package command

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	trellisv1 "trellis/proto/trellis/v1"
)

// sampleTrials has what is hard to write: a NaN, a zero, a value that is not set, a loss of no round number, a text
// with every separator.
func sampleTrials() []*trellisv1.Trial {
	return []*trellisv1.Trial{
		{
			Study: "sample", Index: 0, Run: "0123456789abcdef0123456789abcdef",
			Parameters:     &trellisv1.Parameters{LatentDim: 16, LearningRate: 1e-3, MaxEpochs: 2, Seed: 1, BatchSize: 256},
			State:          trellisv1.TrialState_TRIAL_STATE_SUCCEEDED,
			Objective:      proto.Float64(0.012345678901234567),
			TestLoss:       proto.Float64(1.0 / 3),
			BestEpoch:      2,
			Epochs:         2,
			TrainLoss:      []float64{0.1, 0.02},
			ValidationLoss: []float64{0.2, 0.012345678901234567},
		},
		{
			Study: "sample", Index: 1, Run: "fedcba9876543210fedcba9876543210",
			Parameters: &trellisv1.Parameters{
				LatentDim: 784, LearningRate: 0.00031622776601683794, WeightDecay: 1e-5, MaxEpochs: 2, Seed: 1, BatchSize: 256,
			},
			State:          trellisv1.TrialState_TRIAL_STATE_SUCCEEDED,
			Objective:      proto.Float64(math.NaN()),
			TestLoss:       proto.Float64(math.NaN()),
			Epochs:         1,
			TrainLoss:      []float64{math.Inf(1)},
			ValidationLoss: []float64{math.NaN()},
		},
		{
			Study: "sample", Index: 4, Run: "00112233445566778899aabbccddeeff",
			Parameters: &trellisv1.Parameters{LatentDim: 1, LearningRate: 1, MaxEpochs: 10000, BatchSize: 1},
			State:      trellisv1.TrialState_TRIAL_STATE_FAILED,
			Error:      "out of memory: \"a, b\"\n- c: d",
		},
	}
}

// measuredTrials have metrics, but for the first: one that is not set, a NaN, one of the test images alone.
func measuredTrials() []*trellisv1.Trial {
	trials := sampleTrials()
	trials[0], trials[2] = trials[2], trials[0]
	trials[1].Metrics = map[string]float64{"accuracy": math.NaN(), "top_three": 1}
	trials[2].Metrics = map[string]float64{"accuracy": 0.9871}
	trials[2].TestMetrics = map[string]float64{"accuracy": 2.0 / 3, "recall": 0.5}
	return trials
}

// noisyTrials are the samples with a value on two axes that only their model has.
func noisyTrials() []*trellisv1.Trial {
	trials := sampleTrials()
	for i, trial := range trials {
		trial.Parameters.Values = map[string]float64{"noise": 1 / float64(3*i+3), "divergence_weight": 1}
	}
	return trials
}

func sampleStudy() *trellisv1.Study {
	return &trellisv1.Study{
		Name:  "sample",
		Spec:  &trellisv1.StudySpec{Name: "sample", Model: "conv-autoencoder", Data: "mnist"},
		State: trellisv1.StudyState_STUDY_STATE_COMPLETED,
		Progress: &trellisv1.Progress{
			Trials: 3, TrialsSucceeded: 2, TrialsFailed: 1, Runs: 3, RunsSucceeded: 2, RunsFailed: 1, Epochs: 3,
			TrainingSeconds: 1.5,
		},
		CreateTime: timestamppb.New(time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)),
	}
}

// sampleNow is when the samples are written.
var sampleNow = time.Date(2026, 11, 23, 23, 50, 0, 0, time.UTC)

func sampleForecast() *trellisv1.Forecast {
	return &trellisv1.Forecast{
		Epochs:     &trellisv1.Estimate{Expected: 3100.4, Low: 2900, High: 3400},
		Seconds:    &trellisv1.Estimate{Expected: 2820, Low: 2520, High: 3500},
		Confidence: 0.9, Slots: 8, SecondsPerEpoch: 5.25,
		Basis:        "1700 epochs of 2 other studies of the same model and data measured",
		Alternatives: []*trellisv1.Forecast_Alternative{{Slots: 4, Seconds: 5500}, {Slots: 16, Seconds: 1500}},
	}
}

func sampleBest() *trellisv1.GetBestTrialResponse {
	trials := sampleTrials()
	return &trellisv1.GetBestTrialResponse{Trial: trials[0], RunnerUp: trials[1], Study: sampleStudy()}
}

// Each listing in each format, and that programs can read what is for them.
func TestGoldenOutput(t *testing.T) {
	t.Setenv("TZ", "UTC")
	empty := func(format outputFormat, out *bytes.Buffer) error {
		return newListWriter(out, format, "trials", trialColumns).Close("No trial meets the condition.")
	}
	trials := func(format outputFormat, out *bytes.Buffer) error {
		columns := trialColumns
		if format == formatCSV {
			columns = append(columns[:len(columns):len(columns)], lossColumns...)
		}
		list := newTrialList(out, format, columns)
		for _, trial := range sampleTrials() {
			if err := list.Add(trial); err != nil {
				return err
			}
		}
		return list.Close("")
	}
	metrics := func(format outputFormat, out *bytes.Buffer) error {
		list := newTrialList(out, format, trialColumns)
		for _, trial := range measuredTrials() {
			if err := list.Add(trial); err != nil {
				return err
			}
		}
		return list.Close("")
	}
	measured := func(format outputFormat, out *bytes.Buffer) error {
		best := sampleBest()
		best.Trial = measuredTrials()[1]
		if format == formatCSV {
			return writeOne(out, format, best.GetTrial(), withMetrics(trialColumns, metricsOf(best.GetTrial())))
		}
		if format == formatTable {
			return writeBest(out, best)
		}
		return writeMessage(out, format, best)
	}
	best := func(format outputFormat, out *bytes.Buffer) error {
		switch format {
		case formatTable:
			return writeBest(out, sampleBest())
		case formatCSV:
			return writeOne(out, format, sampleBest().GetTrial(), trialColumns)
		default:
			return writeMessage(out, format, sampleBest())
		}
	}
	noisy := func(format outputFormat, out *bytes.Buffer) error {
		list := newTrialList(out, format, trialColumnsWith([]string{"divergence_weight", "noise"}))
		for _, trial := range noisyTrials() {
			if err := list.Add(trial); err != nil {
				return err
			}
		}
		return list.Close("")
	}
	noisyBest := func(format outputFormat, out *bytes.Buffer) error {
		best := sampleBest()
		best.Trial, best.RunnerUp = noisyTrials()[0], noisyTrials()[1]
		switch format {
		case formatTable:
			return writeBest(out, best)
		case formatCSV:
			return writeOne(out, format, best.GetTrial(), trialColumnsWith([]string{"divergence_weight", "noise"}))
		default:
			return writeMessage(out, format, best)
		}
	}
	noisyConfigurations := func(format outputFormat, out *bytes.Buffer) error {
		list := newListWriter(out, format, "configurations", configurationColumnsWith([]string{"divergence_weight", "noise"}))
		for i, trial := range noisyTrials() {
			trial.Parameters.Seed = 0
			if err := list.Add(&trellisv1.Configuration{Rank: uint64(i + 1), Parameters: trial.Parameters}); err != nil {
				return err
			}
		}
		return list.Close("")
	}
	measuredConfigurations := func(format outputFormat, out *bytes.Buffer) error {
		list := &configurationList{out: out, format: format, columns: configurationColumns}
		for _, c := range sampleConfigurations() {
			if len(c.GetRepetitions()) > 1 {
				c.Metrics, c.TestMetrics = map[string]float64{"accuracy": 0.984375}, map[string]float64{"accuracy": 0.96875}
			}
			if err := list.Add(c); err != nil {
				return err
			}
		}
		return list.Close("")
	}
	checkListing(t, "none", func(format string, out *bytes.Buffer) error { return empty(outputFormat(format), out) })
	checkListing(t, "trials", func(format string, out *bytes.Buffer) error { return trials(outputFormat(format), out) })
	checkListing(t, "trials_with_metrics", func(format string, out *bytes.Buffer) error { return metrics(outputFormat(format), out) })
	checkListing(t, "best_with_metrics", func(format string, out *bytes.Buffer) error { return measured(outputFormat(format), out) })
	checkListing(t, "best", func(format string, out *bytes.Buffer) error { return best(outputFormat(format), out) })
	checkListing(t, "trials_with_own_axes", func(format string, out *bytes.Buffer) error { return noisy(outputFormat(format), out) })
	checkListing(t, "best_with_own_axes", func(format string, out *bytes.Buffer) error { return noisyBest(outputFormat(format), out) })
	checkListing(t, "configurations_with_own_axes", func(format string, out *bytes.Buffer) error { return noisyConfigurations(outputFormat(format), out) })
	checkListing(t, "configurations_with_metrics", func(format string, out *bytes.Buffer) error { return measuredConfigurations(outputFormat(format), out) })
}

// The list of models in each format.
func TestGoldenModels(t *testing.T) {
	models := func(format outputFormat, out *bytes.Buffer) error {
		list := newListWriter(out, format, "models", modelColumns)
		for _, model := range sampleModels() {
			if err := list.Add(model); err != nil {
				return err
			}
		}
		return list.Close("")
	}
	checkListing(t, "models", func(format string, out *bytes.Buffer) error { return models(outputFormat(format), out) })
}

// A study in each format.
func TestGoldenStudy(t *testing.T) {
	t.Setenv("TZ", "UTC")
	study := func(format outputFormat, out *bytes.Buffer) error {
		return writeOne(out, format, sampleStudy(), studyColumns)
	}
	checkListing(t, "study", func(format string, out *bytes.Buffer) error { return study(outputFormat(format), out) })
}

// A worker in each format.
func TestGoldenWorker(t *testing.T) {
	worker := func(format outputFormat, out *bytes.Buffer) error {
		return writeOne(out, format, &trellisv1.Worker{
			Name: "host-1", State: trellisv1.WorkerState_WORKER_STATE_LOST, Slots: 8, Runs: 2, Version: "v1", Processor: "RISC",
		}, workerColumns)
	}
	checkListing(t, "worker", func(format string, out *bytes.Buffer) error { return worker(outputFormat(format), out) })
}

// What studies would cost, in each format.
func TestGoldenPlans(t *testing.T) {
	t.Setenv("TZ", "UTC")
	cost := func(format outputFormat, out *bytes.Buffer) error {
		return writePlan(out, format, &trellisv1.StudySpec{Name: "sample"}, &trellisv1.PlanStudyResponse{
			Trials: 3, Runs: 2, Epochs: 300, EpochsAlone: 450, Forecast: bound(300, 200, 33.25, 8, "the spec's epoch_time"),
		}, sampleNow)
	}
	plan := func(format outputFormat, out *bytes.Buffer) error {
		return writePlan(out, format, &trellisv1.StudySpec{Name: "sample"}, &trellisv1.PlanStudyResponse{
			Trials: 108, Runs: 36, Epochs: 5400, EpochsAlone: 10800, RunsShared: 12, EpochsShared: 1700, SecondsShared: 860,
			Forecast: sampleForecast(),
		}, sampleNow)
	}
	nothing := func(format outputFormat, out *bytes.Buffer) error {
		return writePlan(out, format, &trellisv1.StudySpec{Name: "sample"}, &trellisv1.PlanStudyResponse{
			Trials: 3, Runs: 1, Epochs: 30, EpochsAlone: 60, RunsShared: 1, EpochsShared: 30, SecondsShared: 1.5,
			Forecast: &trellisv1.Forecast{Epochs: &trellisv1.Estimate{}, Seconds: &trellisv1.Estimate{}, Confidence: 0.9},
		}, sampleNow)
	}
	checkListing(t, "estimate", func(format string, out *bytes.Buffer) error { return cost(outputFormat(format), out) })
	checkListing(t, "plan", func(format string, out *bytes.Buffer) error { return plan(outputFormat(format), out) })
	checkListing(t, "known_plan", func(format string, out *bytes.Buffer) error { return nothing(outputFormat(format), out) })
}

// listingFormats are those that every listing has.
var listingFormats = []string{"table", "json", "yaml", "csv"}

// checkListing compares what write writes in each of the formats with the files testdata/output/NAME.FORMAT, and checks that
// the same values give the same bytes, which programs can read.
func checkListing(t *testing.T, name string, write func(format string, out *bytes.Buffer) error) {
	t.Helper()
	for _, format := range listingFormats {
		t.Run(name+"."+format, func(t *testing.T) {
			var out, again bytes.Buffer
			if err := write(format, &out); err != nil {
				t.Fatal(err)
			}
			if err := write(format, &again); err != nil {
				t.Fatal(err)
			}
			if out.String() != again.String() {
				t.Errorf("the same values give other bytes:\n%s\n%s", &out, &again)
			}
			checkReadable(t, format, out.Bytes())
			golden(t, filepath.Join("testdata/output", name+"."+format), out.String())
		})
	}
}

// checkReadable checks that text is one document of its format.
func checkReadable(t *testing.T, format string, text []byte) {
	t.Helper()
	var err error
	switch format {
	case "json":
		var document map[string]any
		err = json.Unmarshal(text, &document)
	case "yaml":
		var document map[string]any
		err = yaml.Unmarshal(text, &document)
	case "csv":
		_, err = csv.NewReader(bytes.NewReader(text)).ReadAll()
	}
	if err != nil {
		t.Errorf("%v in:\n%s", err, text)
	}
}

// A long CSV is written as it comes, once the metrics are known; one of several studies when all have come.
func TestTrialListIsWrittenAsItComes(t *testing.T) {
	best := sampleBest()
	best.Trial = measuredTrials()[1]
	asked := 0
	answering := &fakeCoordinator{best: func(*trellisv1.GetBestTrialRequest) (*trellisv1.GetBestTrialResponse, error) {
		asked++
		return best, nil
	}}
	c := connectAnswer(t, answering.serve(t))
	for _, test := range []struct {
		name         string
		whole        bool
		first        *trellisv1.Trial
		asked, early int
	}{
		{"measured", false, measuredTrials()[2], 0, 2},
		{"not trained, for two lines of reasons", false, measuredTrials()[0], 1, 3},
		{"several studies", true, measuredTrials()[2], 0, 0},
	} {
		var out bytes.Buffer
		list := newTrialList(&out, formatCSV, trialColumns)
		list.whole, asked = test.whole, 0
		if err := list.Add(test.first); err != nil {
			t.Fatal(err)
		}
		if err := list.releaseAfter(t.Context(), c, "sample"); err != nil {
			t.Fatal(err)
		}
		if lines := strings.Count(out.String(), "\n"); lines != test.early || asked != test.asked {
			t.Errorf("%s: %d lines after the first page, and the best was asked for %d times; want %d and %d", test.name, lines, asked,
				test.early, test.asked)
		}
		if err := list.Add(measuredTrials()[1]); err != nil {
			t.Fatal(err)
		}
		if err := list.Close(""); err != nil {
			t.Fatal(err)
		}
		records, err := csv.NewReader(&out).ReadAll()
		if err != nil || !slices.Contains(records[0], "accuracy") || !slices.Contains(records[0], "test_accuracy") || len(records) != 3 {
			t.Errorf("%s: got %q, %v", test.name, records, err)
		}
	}
}

// A CSV with losses has a column of each metric by epoch, one without has none.
func TestTrialListMetricsByEpoch(t *testing.T) {
	measured := measuredTrials()[2]
	measured.EpochMetrics = map[string]*trellisv1.Series{"train_accuracy": {Values: []float64{0.5, 0.75}}}
	for _, columns := range [][]column[trial]{trialColumns, slices.Concat(trialColumns, lossColumns)} {
		var out bytes.Buffer
		list := newTrialList(&out, formatCSV, columns)
		for _, trial := range []*trellisv1.Trial{measured, measuredTrials()[0]} {
			if err := list.Add(trial); err != nil {
				t.Fatal(err)
			}
		}
		if err := list.Close(""); err != nil {
			t.Fatal(err)
		}
		records, err := csv.NewReader(&out).ReadAll()
		if err != nil || len(records) != 3 {
			t.Fatalf("got %q, %v", records, err)
		}
		column := slices.Index(records[0], "train_accuracy")
		if len(columns) == len(trialColumns) {
			if column >= 0 {
				t.Errorf("without losses, there is a column of metrics by epoch: %q", records[0])
			}
			continue
		}
		if column < 0 || records[1][column] != "0.5 0.75" || records[2][column] != "" {
			t.Errorf("metrics by epoch are in column %d of %q", column, records)
		}
	}
}

// What JSON and YAML say is what the coordinator has said, NaN and all.
func TestOutputKeepsValues(t *testing.T) {
	for _, want := range slices.Concat(sampleTrials(), measuredTrials()) {
		data, err := marshalJSON(want, "")
		if err != nil {
			t.Fatal(err)
		}
		node, err := yamlNode(want)
		if err != nil {
			t.Fatal(err)
		}
		text, err := encodeYAML(node)
		if err != nil {
			t.Fatal(err)
		}
		var document map[string]any
		if err := yaml.Unmarshal(text, &document); err != nil {
			t.Fatal(err)
		}
		fromYAML, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		for name, data := range map[string][]byte{"JSON": data, "YAML": fromYAML} {
			got := new(trellisv1.Trial)
			if err := protojson.Unmarshal(data, got); err != nil || !proto.Equal(got, want) {
				t.Errorf("%s: got %v, %v, want %v", name, got, err, want)
			}
		}
	}
}

func TestLead(t *testing.T) {
	second := func(objective float64) *trellisv1.Trial {
		return &trellisv1.Trial{
			Index: 7, Objective: &objective, Parameters: &trellisv1.Parameters{LatentDim: 4, MaxEpochs: 10},
		}
	}
	const who = "trial 7 (latent 4, learning rate 0, weight decay 0, maximum epochs 10)"
	for _, test := range []struct {
		name       string
		loss, next float64
		want       string
	}{
		{"by a tenth", 0.01, 0.011, "by 0.001000 (10.00%): " + who},
		{"tie", 0.01, 0.01, "by nothing: the same loss as " + who + ", which ranks lower for its size or length"},
		{"next diverged", 0.01, math.NaN(), who + " has NaN"},
		{"both diverged", math.NaN(), math.NaN(), who + " has NaN"},
		{"loss of zero", 0, 0.5, who + " has 0.500000"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := lead(test.loss, second(test.next)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestShortTexts(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 1234 * time.Microsecond: "1ms", 1540 * time.Millisecond: "1.5s", 12345 * time.Millisecond: "12s",
		90 * time.Second: "1m30s", 3*time.Hour + 29*time.Minute + 40*time.Second: "3h30m", 100 * time.Hour: "4d4h",
		24*time.Hour - time.Second: "24h0m",
	} {
		if got := shortDuration(d); got != want {
			t.Errorf("shortDuration(%v) = %q, want %q", d, got, want)
		}
	}
	for loss, want := range map[float64]string{
		0.0123456789: "0.012346", 0: "0.000000", 1e-9: "1e-09", 123456: "1.235e+05", math.Inf(1): "+Inf", 1.5: "1.500000",
	} {
		if got := shortLoss(loss); got != want {
			t.Errorf("shortLoss(%v) = %q, want %q", loss, got, want)
		}
	}
	for got, want := range map[string]string{
		count(1, "trial"): "1 trial", count(0, "trial"): "0 trials", count(2, "study"): "2 studies",
		shorten("short", 10): "short", shorten("a long text", 6): "a long...", shorten("日本語", 4): "日...",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// connectAnswer returns a client of the coordinator at an address.
func connectAnswer(t *testing.T, address string) *client {
	t.Helper()
	c, err := newClient(address, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.connect(t.Context(), DefaultWait); err != nil {
		t.Fatal(err)
	}
	return c
}
