package command

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trellis/command/exit"
)

// writePictures writes pictures of two classes.
func writePictures(t *testing.T, dir string, width, height int, colored bool) {
	t.Helper()
	for i := range 40 {
		path := filepath.Join(dir, []string{"cat", "dog"}[i%2], fmt.Sprintf("%d.png", i))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		picture := image.NewNRGBA(image.Rect(0, 0, width, height))
		gray := image.NewGray(picture.Rect)
		for pixel := range width * height {
			c := color.NRGBA{byte(i * pixel), byte(pixel), byte(i), 255}
			picture.SetNRGBA(pixel%width, pixel/width, c)
			gray.SetGray(pixel%width, pixel/width, color.Gray{c.R})
		}
		file, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if colored {
			err = png.Encode(file, picture)
		} else {
			err = png.Encode(file, gray)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// writeCIFAR writes images in CIFAR-10's binary files, each of the color that its class has.
func writeCIFAR(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"data_batch_1.bin", "test_batch.bin"} {
		var file []byte
		for i := range 40 {
			label := byte(i % 10)
			file = append(file, label)
			for _, value := range []byte{25 * label, 255 - 25*label, byte(i)} {
				file = append(file, bytes.Repeat([]byte{value}, 32*32)...)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, name), file, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestData: what is imported while a coordinator runs is trained on by its workers, whatever its size and its channels;
// what no model takes is refused, with the line of the spec; a bit that the disk changes is found.
func TestData(t *testing.T) {
	from, sets := t.TempDir(), t.TempDir()
	writePictures(t, from+"/gray", 28, 28, false)
	writePictures(t, from+"/colored", 28, 28, true)
	writePictures(t, from+"/wide", 64, 48, false)
	writePictures(t, from+"/tiny", 20, 8, false)
	writeCIFAR(t, from+"/cifar")
	_, address := startCoordinator(t, "--data-sets", sets)
	startWorker(t, address, "worker")
	for _, name := range []string{"gray", "colored", "wide", "tiny", "cifar"} {
		mustTrellis(t, "data", "import", name, from+"/"+name, "--data-sets", sets)
	}
	spec := func(name, model, data, more string) string {
		return writeSpec(t, "name: "+name+"\nmodel: "+model+"\ndata: "+data+
			"\ngrid: {latent_dim: 4, learning_rate: 1e-3, max_epochs: 1}\nbatch_size: 20\n"+more)
	}
	for _, name := range []string{"gray", "colored", "wide", "cifar"} {
		mustTrellis(t, "submit", "--watch", "--coordinator", address, spec(name, "conv-autoencoder", name, ""))
	}
	const pretrained = "pretrained: {study: cifar}\n"
	mustTrellis(t, "submit", "--watch", "--coordinator", address, spec("classes", "classifier", "cifar", pretrained))
	const shape = "where: loss == 'mse'\nfixed: {filters: 5, depth: 2, kernel: 5, hidden: 20}\n"
	mustTrellis(t, "submit", "--watch", "--coordinator", address, strings.Replace(
		spec("shaped", "conv-autoencoder", "gray", shape), "max_epochs: 1", "max_epochs: 1, loss: [bce, mse]", 1))
	mustTrellis(t, "submit", "--watch", "--coordinator", address, writeSpec(t, "name: reads\nmodel: classifier\ndata: gray\n"+
		"pretrained: {study: shaped}\ngrid: {learning_rate: 1e-3, max_epochs: 1}\n"))
	checkModel(t, address, "shaped", "decoder.c.0.weight", []int{10, 5, 5, 5})
	checkModel(t, address, "reads", "encoder.l.2.weight", []int{4, 20})
	checkModel(t, address, "wide", "decoder.c.4.weight", []int{8, 1, 3, 3})
	checkModel(t, address, "wide", "encoder.l.0.weight", []int{64, 32 * 5 * 7})
	checkModel(t, address, "cifar", "encoder.c.0.weight", []int{8, 3, 3, 3})
	checkModel(t, address, "classes", "head.2.weight", []int{10, 64})
	for _, test := range []struct{ spec, want string }{
		{
			spec("a", "conv-autoencoder", "tiny", ""),
			`spec.yaml:3:7: depth: 3 (the grid has no depth) does not fit the images of the data set "tiny", which have 8 x 20 ` +
				`pixels, with latent_dim 4, filters 8, hidden 64, kernel 3: images are too small: 8 x 20 pixels, want 9 or more a ` +
				`side for 3 convolutions with kernels of 3 x 3: 2 fits`,
		},
		{
			writeSpec(t, "name: tiny\nmodel: conv-autoencoder\ndata: tiny\ngrid:\n  latent_dim: 4\n  learning_rate: 1e-3\n"+
				"  max_epochs: 1\n  kernel: 5\n  depth: 5\n"),
			`spec.yaml:9:10: latent_dim 4, depth 5, filters 8, hidden 64, kernel 5 do not fit the images`,
		},
		{
			writeSpec(t, "name: deep\nmodel: conv-autoencoder\ndata: gray\ngrid:\n  latent_dim: 4\n  learning_rate: 1e-3\n"+
				"  max_epochs: 1\n  depth: [2, 3, 5]\n"),
			`spec.yaml:8:17: depth: 5 does not fit`,
		},
		{
			writeSpec(t, "name: other\nmodel: classifier\ndata: gray\npretrained: {study: shaped}\ngrid:\n  learning_rate: 1e-3\n"+
				"  max_epochs: 1\n  depth: 3\n"),
			`spec.yaml:8:10: the weights of trial 0 of study shaped have depth 2 and fit no other, such as 3: leave depth out, or ` +
				`name a trial with that`,
		},
		{
			spec("b", "classifier", "wide", pretrained),
			`spec.yaml:6:13: the weights are of a network for images of 32 x 32 pixels and 3 channels, and the data set "wide" has ` +
				`images of 48 x 64 pixels and 1 channel: name a study on such images`,
		},
	} {
		if _, stderr, code := trellis(t, "submit", "--coordinator", address, test.spec); code != exit.Usage || !strings.Contains(stderr, test.want) {
			t.Errorf("exit code %d, %s; want %d and %s", code, stderr, exit.Usage, test.want)
		}
	}

	var shown struct {
		Digest      string
		TrainImages int `json:"train_images"`
		TestImages  int `json:"test_images"`
		Channels    int
		Classes     []struct{ Name string }
	}
	montage := filepath.Join(t.TempDir(), "montage.png")
	if err := json.Unmarshal([]byte(mustTrellis(t, "data", "show", "colored", "--data-sets", sets, "--montage", montage, "-o", "json")), &shown); err != nil {
		t.Fatal(err)
	}
	if shown.TrainImages != 36 || shown.TestImages != 4 || shown.Channels != 3 || len(shown.Classes) != 2 || shown.Classes[1].Name != "dog" {
		t.Errorf("got %+v", shown)
	}
	checkMontage(t, montage)
	if list := mustTrellis(t, "data", "list", "--data-sets", sets); !strings.Contains(list, shown.Digest[:12]) || !strings.Contains(list, "48 x 64") {
		t.Errorf("the list lacks a data set: %s", list)
	}

	path := filepath.Join(sets, "gray", "train-images-idx3-ubyte")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 1
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := trellis(t, "data", "show", "gray", "--data-sets", sets); code != exit.Error || !strings.Contains(stderr, "is damaged on disk") {
		t.Errorf("a changed bit gave exit code %d, %s", code, stderr)
	}
	if _, stderr, code := trellis(t, "data", "remove", "gray", "--data-sets", sets); code != exit.Usage || !strings.Contains(stderr, "add --yes") {
		t.Errorf("without --yes, exit code %d, %s", code, stderr)
	}
	mustTrellis(t, "data", "remove", "gray", "--yes", "--data-sets", sets)
	for _, args := range [][]string{
		{"data", "show", "gray"}, {"data", "remove", "--yes", "gray"}, {"data", "remove", "gray"}, {"data", "remove", "mnist"},
	} {
		if _, stderr, code := trellis(t, append(args, "--data-sets", sets)...); code != exit.NotFound {
			t.Errorf("%v without such a data set gave exit code %d, %s", args, code, stderr)
		}
	}
	mustTrellis(t, "data", "import", "gray", from+"/gray", "--data-sets", sets)
	if _, stderr, code := trellis(t, "data", "import", "gray", from+"/nothing", "--data-sets", sets); code != exit.AlreadyExists || !strings.Contains(stderr, "remove it first") {
		t.Errorf("a taken name gave exit code %d, %s", code, stderr)
	}
}

// checkModel reads a study's best model, as safetensors and as ONNX, for the shape of a tensor of the former.
func checkModel(t *testing.T, address, study, tensor string, shape []int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.safetensors")
	mustTrellis(t, "model", "get", study, "--coordinator", address, "--file", path)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var header map[string]struct{ Shape []int }
	if err := json.Unmarshal(file[8:][:binary.LittleEndian.Uint64(file)], &header); err != nil {
		t.Fatal(err)
	}
	if got := header[tensor].Shape; !slices.Equal(got, shape) {
		t.Errorf("%s of study %s has the shape %v, want %v", tensor, study, got, shape)
	}
	mustTrellis(t, "model", "get", study, "--coordinator", address, "--format", "onnx", "--file", path+".onnx")
}

// checkMontage looks at a picture of two rows of 12 images of 28 x 28 pixels, twice as large.
func checkMontage(t *testing.T, path string) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	picture, err := png.Decode(file)
	if err != nil {
		t.Fatal(err)
	}
	if want := image.Rect(0, 0, 12*58+2, 2*58+2); picture.Bounds() != want {
		t.Errorf("the montage has %v, want %v", picture.Bounds(), want)
	}
	// The second pixel of each image has 1 in its second channel: see writePictures.
	if _, green, _, _ := picture.At(5, 3).RGBA(); green>>8 != 1 {
		t.Errorf("the second pixel's green is %d, want 1", green>>8)
	}
}
