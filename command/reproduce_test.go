package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"trellis/command/exit"
	"trellis/command/fake"
	"trellis/command/reproduction"
	"trellis/command/search"
	"trellis/command/spec"
	"trellis/examples"
	trellisv1 "trellis/proto/trellis/v1"
)

func parseReproduction(path string, data []byte, r *trellisv1.Reproduction) error {
	models := spec.Models()
	return spec.ParseInto(models, path, data, r, func(proto.Message) error {
		return reproduction.Validate(models, r, models.Validate)
	})
}

// Both reproductions that are built in are valid, and ask for every figure.
func TestReproductionsAreValid(t *testing.T) {
	for name, data := range map[string][]byte{
		"reproduce":       examples.Reproduce,
		"reproduce-quick": examples.ReproduceQuick,
	} {
		r := new(trellisv1.Reproduction)
		if err := parseReproduction(name, data, r); err != nil {
			t.Error(err)
		}
		if len(r.GetStages()) < 4 || r.GetAnalysis() == nil {
			t.Errorf("%s has %d stages and the analysis %v", name, len(r.GetStages()), r.GetAnalysis())
		}
	}
}

// What is wrong with a reproduction is told with its line, as of a spec.
func TestReproductionErrors(t *testing.T) {
	text := strings.Replace(string(examples.ReproduceQuick), "noise: [0.3, 0.5]", "noise: [0.3, -0.5]", 1)
	text = strings.Replace(text, "variational: quick-variational", "variational: quick", 1)
	path := filepath.Join(t.TempDir(), "wrong.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if code := Run(t.Context(), []string{"reproduce", path}, nil, &stdout, &stderr); code != exit.Usage {
		t.Errorf("exit code %d, want %d", code, exit.Usage)
	}
	for _, want := range []string{"noise", `there is no stage with a study "quick"`} {
		line := regexp.MustCompile(`wrong\.yaml:\d+:\d+: [^\n]*` + regexp.QuoteMeta(want))
		if !line.MatchString(stderr.String()) {
			t.Errorf("nothing says where %s is wrong:\n%s", want, stderr.String())
		}
	}
}

// The small reproduction goes through all its stages; the same command trains nothing again, and draws the same
// figures.
func TestReproduceQuick(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("trains for half a minute")
	}
	// On half of the images.
	fewer := string(examples.ReproduceQuick)
	for _, numbers := range [][2]string{
		{"train: 10000, validation: 2000", "train: 5000, validation: 500"},
		{"validation: 1000", "validation: 500"},
		{"images: 1000\n", "images: 500\n"},
	} {
		if !strings.Contains(fewer, numbers[0]) {
			t.Fatalf("the example has no %q to make less of", numbers[0])
		}
		fewer = strings.ReplaceAll(fewer, numbers[0], numbers[1])
	}
	file := filepath.Join(t.TempDir(), "fewer.yaml")
	if err := os.WriteFile(file, []byte(fewer), 0o600); err != nil {
		t.Fatal(err)
	}
	output := filepath.Join(t.TempDir(), "paper")
	reproduce := func() (string, string) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		start := time.Now()
		if code := Run(t.Context(), []string{"reproduce", file, "--folder", output}, nil, &stdout, &stderr); code != exit.OK {
			t.Fatalf("exit code %d:\n%s", code, stderr.String())
		}
		t.Logf("it took %v", time.Since(start))
		return stdout.String(), stderr.String()
	}
	results, _ := reproduce()

	// Loose bounds of what so short a training can give: they tell a stage that has gone wrong.
	for what, bounds := range map[string][2]float64{
		"validation loss":                                    {0.005, 0.06},
		"test loss with noise of sigma 0.3":                  {0.01, 0.07},
		"test loss with noise of sigma 0.5":                  {0.01, 0.075},
		"test loss with noise of sigma 0.3, within 2 epochs": {0.02, 0.09},
		"test loss with noise of sigma 0.5, within 2 epochs": {0.02, 0.09},
		"test accuracy, encoder frozen":                      {0.7, 0.99},
		"test accuracy, encoder fine-tuned":                  {0.85, 0.999},
		"squared error of a test image, summed":              {15, 60},
		"Kullback-Leibler divergence of a test image":        {1, 40},
		"mean top probability of samples":                    {0.4, 1},
		"5-nearest-neighbor accuracy, codes":                 {0.7, 1},
		"5-nearest-neighbor accuracy, t-SNE":                 {0.6, 1},
		"trustworthiness, t-SNE":                             {0.9, 1},
		"trustworthiness, PCA":                               {0.6, 0.99},
		"variational: 5-nearest-neighbor accuracy, codes":    {0.6, 1},
		"variational: trustworthiness, t-SNE":                {0.9, 1},
	} {
		ours, ok := resultOf(results, what)
		if !ok || !(ours >= bounds[0] && ours <= bounds[1]) {
			t.Errorf("%s is %v, want %v to %v", what, ours, bounds[0], bounds[1])
		}
	}
	figures := map[string][]byte{}
	for number := 2; number <= 9; number++ {
		drawn, err := os.ReadFile(filepath.Join(output, fmt.Sprintf("figure-%d.png", number)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := png.Decode(bytes.NewReader(drawn)); err != nil {
			t.Errorf("figure %d: %v", number, err)
		}
		vector, err := os.ReadFile(filepath.Join(output, fmt.Sprintf("figure-%d.svg", number)))
		if err != nil || !bytes.Contains(vector, []byte("<svg")) {
			t.Errorf("figure %d as SVG: %v", number, err)
		}
		figures[fmt.Sprint(number)] = drawn
	}
	page, err := os.ReadFile(filepath.Join(output, search.ReportName))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"0.0269", "0.9513", "quick-autoencoder", "quick-variational", "quick-denoising", "quick-classifier",
		"maximum epochs",
	} {
		if !bytes.Contains(page, []byte(want)) {
			t.Errorf("the report does not mention %s", want)
		}
	}
	if external := regexp.MustCompile(`(src|href)="https?:`).Find(page); external != nil {
		t.Errorf("the report needs the network: %s", external)
	}

	again, progress := reproduce()
	if again != results {
		t.Errorf("the second time, it says\n%s\nwant\n%s", again, results)
	}
	if strings.Contains(progress, "epoch 1/") || strings.Count(progress, "with the same spec and has ended") != 4 {
		t.Errorf("the second time, it trained:\n%s", progress)
	}
	for number, before := range figures {
		after, err := os.ReadFile(filepath.Join(output, "figure-"+number+".png"))
		if err != nil || !bytes.Equal(before, after) {
			t.Errorf("figure %s differs the second time: %v", number, err)
		}
	}
}

// resultOf is our number in the line of a table that begins with what: that of the convolutional autoencoder where both
// have one, or of the variational one if what says so.
func resultOf(tables, what string) (float64, bool) {
	what, variational := strings.CutPrefix(what, "variational: ")
	for line := range strings.Lines(tables) {
		rest, ok := strings.CutPrefix(line, what+"  ")
		if !ok {
			continue
		}
		columns := regexp.MustCompile(`\s{2,}`).Split(strings.TrimSpace(rest), -1)
		ours := columns[0]
		// With the paper's before it and the difference behind, or with the other autoencoder's before it.
		if len(columns) == 3 || variational && len(columns) == 2 {
			ours = columns[1]
		}
		value, err := strconv.ParseFloat(ours, 64)
		return value, err == nil
	}
	return 0, false
}

// What would make hours of training useless is told before them: an output folder that can't be written, test images
// that the analysis needs and that are not here.
func TestReproduceChecksFirst(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fake := &fake.Coordinator{OnCreate: func(context.Context) error {
		t.Error("a study was submitted")
		return errors.New("not now")
	}}
	address := fake.Serve(t)
	unknown := filepath.Join(t.TempDir(), "unknown.yaml")
	text := strings.ReplaceAll(string(examples.ReproduceQuick), "data: mnist", "data: elsewhere")
	if err := os.WriteFile(unknown, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"choose another with --folder":                         {"--quick", "--folder", filepath.Join(file, "paper")},
		"the analysis needs the test images on this machine: ": {unknown, "--folder", t.TempDir()},
	} {
		var stdout, stderr bytes.Buffer
		args := append([]string{"reproduce", "--coordinator", address}, args...)
		if code := Run(t.Context(), args, nil, &stdout, &stderr); code == exit.OK ||
			!strings.Contains(stderr.String(), want) {
			t.Errorf("%q: exit code %d, want %q in:\n%s", args, code, want, stderr.String())
		}
	}
}

// The same command takes up again what has failed in a study that has ended, once.
func TestReproduceRetries(t *testing.T) {
	file := filepath.Join(t.TempDir(), "one.yaml")
	const text = `
title: one
stages:
  - study: {name: one, model: synthetic, grid: {latent_dim: 4, learning_rate: 1e-3, max_epochs: 2}}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := new(trellisv1.Reproduction)
	if err := parseReproduction(file, []byte(text), r); err != nil {
		t.Fatal(err)
	}
	study := &trellisv1.Study{
		Name: "one", State: trellisv1.StudyState_STUDY_STATE_COMPLETED,
		Progress: &trellisv1.Progress{Trials: 1, TrialsFailed: 1},
		Spec:     spec.Models().WithDefaults(r.GetStages()[0].GetStudy()),
	}
	retries := 0
	for _, succeeds := range []bool{false, true} {
		fake := &fake.Coordinator{
			Cluster: &trellisv1.GetClusterResponse{Nodes: []*trellisv1.Node{{
				Id: "first", Address: "first:1",
				Leader: true,
			}}},
			Study:    study,
			OnCreate: func(context.Context) error { return status.Error(codes.AlreadyExists, "exists already") },
			OnWatch: func(_ *trellisv1.WatchStudyRequest, stream trellisv1.StudyService_WatchStudyServer) error {
				return stream.Send(&trellisv1.WatchStudyResponse{Study: study})
			},
			OnRetry: func(*trellisv1.RetryStudyRequest) (*trellisv1.RetryStudyResponse, error) {
				retries++
				if succeeds {
					study.Progress.TrialsSucceeded, study.Progress.TrialsFailed = 1, 0
				}
				return &trellisv1.RetryStudyResponse{Study: study, Runs: 1}, nil
			},
		}
		want := exit.Incomplete
		if succeeds {
			want = exit.OK
		}
		var stdout, stderr bytes.Buffer
		args := []string{"reproduce", file, "--coordinator", fake.Serve(t), "--folder", t.TempDir()}
		if code := Run(t.Context(), args, nil, &stdout, &stderr); code != want {
			t.Errorf("exit code %d, want %d:\n%s", code, want, stderr.String())
		}
		if said := "Study one: retrying 1 failed run."; !strings.Contains(stderr.String(), said) {
			t.Errorf("want %q in:\n%s", said, stderr.String())
		}
	}
	if retries != 2 {
		t.Errorf("retried %d times, want 2", retries)
	}
}
