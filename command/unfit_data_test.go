package command

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trellis/command/exit"
)

// writeImages writes a data set of square images, with labels below classes, or none if that is 0.
func writeImages(t *testing.T, dir string, side, classes int) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(name string, header []int, content []byte) {
		var file []byte
		for _, number := range header {
			file = binary.BigEndian.AppendUint32(file, uint32(number))
		}
		if err := os.WriteFile(filepath.Join(dir, name), append(file, content...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const count = 60
	for _, part := range []string{"train", "t10k"} {
		write(part+"-images-idx3-ubyte", []int{0x803, count, side, side}, make([]byte, count*side*side))
		if classes == 0 {
			continue
		}
		labels := make([]byte, count)
		for i := range labels {
			labels[i] = byte(i % classes)
		}
		write(part+"-labels-idx1-ubyte", []int{0x801, count}, labels)
	}
}

// A study that no worker could train is refused when it is submitted, and by a dry run, with or without a coordinator.
// What can be trained is: an autoencoder needs no labels.
func TestUnfitData(t *testing.T) {
	skipRaced(t)
	data := t.TempDir()
	writeImages(t, filepath.Join(data, "digits"), 28, 10)
	writeImages(t, filepath.Join(data, "letters"), 28, 26)
	writeImages(t, filepath.Join(data, "bare"), 28, 0)
	writeImages(t, filepath.Join(data, "small"), 8, 10)
	writeImages(t, filepath.Join(data, "large"), 72, 0)
	_, address := startCoordinator(t, "--data-sets", data)
	startWorker(t, address, "worker")
	spec := func(name, model, data, more string) string {
		return writeSpec(t, "name: "+name+"\nmodel: "+model+"\ndata: "+data+
			"\ngrid: {latent_dim: 4, learning_rate: 1e-3, max_epochs: 1}\nbatch_size: 20\n"+more)
	}
	for _, name := range []string{"digits", "letters", "bare"} {
		mustTrellis(t, "submit", "--watch", "--coordinator", address, spec(name, "conv-autoencoder", name, ""))
	}
	const pretrained = "pretrained: {study: digits}\n"
	mustTrellis(t, "submit", "--watch", "--coordinator", address, spec("classes", "classifier", "digits", pretrained))
	mustTrellis(t, "submit", "--watch", "--coordinator", address, spec("more-classes", "classifier", "letters", pretrained))
	const tooSmall = `spec.yaml:3:7: depth: 3 (the grid has no depth) does not fit the images of the data set "small", which have 8 x 8 pixels, ` +
		"with latent_dim 4, filters 8, hidden 64, kernel 3: images are too small: 8 x 8 pixels, want 9 or more a side " +
		"for 3 convolutions with kernels of 3 x 3: 2 fits"
	for _, test := range []struct{ spec, want string }{
		{
			spec("b", "classifier", "bare", pretrained),
			`spec.yaml:3:7: the data set "bare" has no labels, and the model classifier learns from them`,
		},
		{
			spec("c", "classifier", "small", pretrained),
			tooSmall,
		},
		{
			spec("d", "conv-autoencoder", "small", "split: {train: 20, validation: 10}\n"),
			tooSmall,
		},
		{
			writeSpec(t, "name: e\nmodel: variational-autoencoder\ndata: large\n"+
				"grid: {latent_dim: [2, 404, 405], learning_rate: 1e-3, max_epochs: 1}\n"),
			`spec.yaml:4:29: latent_dim: 405 does not fit the images of the data set "large", which have 72 x 72 pixels, ` +
				"with depth 2, filters 64, kernel 4: network is too large: encoder.mu.weight would have 16796160 values, " +
				"want up to 16777216: 404 fits",
		},
	} {
		for _, args := range [][]string{
			{"submit", "--coordinator", address},
			{"submit", "--coordinator", address, "--dry-run"},
			{"run", "--dry-run", "--data-sets", data},
			{"submit", "--coordinator", "127.0.0.1:1", "--dry-run", "--data-sets", data},
		} {
			_, stderr, code := trellis(t, append(args, test.spec)...)
			if code != exit.Usage || !strings.Contains(stderr, test.want) ||
				strings.Contains(stderr, "validation error") {
				t.Errorf("%v: exit code %d, %s; want %d and %s", args[1:], code, stderr, exit.Usage, test.want)
			}
		}
	}
	mustTrellis(t, "submit", "--watch", "--coordinator", address, spec("wide", "variational-autoencoder", "large", ""))
	mustTrellis(t, "submit", "--coordinator", address, spec("kernel", "conv-autoencoder", "digits", "fixed: {kernel: 5}\n"))
	for _, test := range []struct{ study, flag, values, want string }{
		{"wide", "--latent-dim", "404,405", "trellis: --latent-dim: 405 does not fit the images"},
		{"wide", "--add", "latent_dim=405,406", "trellis: --add latent_dim: 405 and 406 do not fit the images"},
		{"wide", "--learning-rate", "5000", "trellis: --learning-rate takes numbers above 0 and at most 1000, not 5000"},
		{"wide", "--seeds", "1,1", "trellis: --seeds: 1 stands twice"},
		{"kernel", "--depth", "4", `trellis: --depth: 4 does not fit the images of the data set "digits", which have ` +
			"28 x 28 pixels, with the study's latent_dim 4, filters 8, hidden 64, kernel 5: "},
	} {
		for _, plan := range []string{"--dry-run=false", "--dry-run"} {
			_, stderr, code := trellis(t, "extend", test.study, test.flag, test.values, plan, "--coordinator", address)
			if code != exit.Usage || !strings.Contains(stderr, test.want) {
				t.Errorf("extend %s: exit code %d, %s", test.study, code, stderr)
			}
		}
	}
}
