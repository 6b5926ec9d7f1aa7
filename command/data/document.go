package data

import (
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"trellis/command/output"
	"trellis/command/spec"
	"trellis/trainer/dataset"
)

// document is what is said of one data set.
type document struct {
	Name     string `json:"name" yaml:"name"`
	Digest   string `json:"digest" yaml:"digest"`
	Folder   string `json:"folder,omitempty" yaml:"folder,omitempty"`
	Imported string `json:"imported_from,omitempty" yaml:"imported_from,omitempty"`
	Height   int    `json:"height" yaml:"height"`
	Width    int    `json:"width" yaml:"width"`
	Channels int    `json:"channels" yaml:"channels"`
	Bytes    int64  `json:"bytes" yaml:"bytes"`
	// TestEvery is 0 if the test images were so from the start.
	TestEvery   int       `json:"test_every,omitempty" yaml:"test_every,omitempty"`
	TrainImages int       `json:"train_images" yaml:"train_images"`
	TestImages  int       `json:"test_images" yaml:"test_images"`
	Sorted      bool      `json:"sorted" yaml:"sorted"`
	Classes     []class   `json:"classes" yaml:"classes"`
	Values      []values  `json:"values" yaml:"values"`
	LeftOut     []leftOut `json:"left_out" yaml:"left_out"`
	counts      map[dataset.Reason]int
}

// class is a label and what it has.
type class struct {
	Label int    `json:"label" yaml:"label"`
	Name  string `json:"name,omitempty" yaml:"name,omitempty"`
	Train int    `json:"train_images" yaml:"train_images"`
	Test  int    `json:"test_images" yaml:"test_images"`
}

// values describes a channel's values.
type values struct {
	Minimum   int     `json:"minimum" yaml:"minimum"`
	Maximum   int     `json:"maximum" yaml:"maximum"`
	Mean      float64 `json:"mean" yaml:"mean"`
	Deviation float64 `json:"deviation" yaml:"deviation"`
}

// leftOut is a file that was not imported.
type leftOut struct {
	Path   string `json:"path" yaml:"path"`
	Reason string `json:"reason" yaml:"reason"`
	Error  string `json:"error,omitempty" yaml:"error,omitempty"`
}

// describeManifest describes what was imported into a folder of data sets.
func describeManifest(name, dir string, m *dataset.Manifest) *document {
	d := &document{
		Name: name, Digest: m.Digest, Folder: filepath.Join(dir, name), Imported: string(m.Format),
		Height: m.Height, Width: m.Width, Channels: m.Channels, Bytes: m.Bytes(), TestEvery: m.TestEvery,
	}
	d.count(m.Statistics, m.Classes)
	d.counts = m.LeftOut.Counts
	for _, file := range m.LeftOut.Examples {
		d.LeftOut = append(d.LeftOut, leftOut{file.Path, string(file.Reason), file.Error})
	}
	return d
}

// describeSet describes a data set that has been read.
func describeSet(set *dataset.Set, dir string, statistics dataset.Statistics) *document {
	if set.Imported != nil {
		return describeManifest(set.Name, dir, set.Imported)
	}
	d := &document{
		Name: set.Name, Digest: set.Digest, Height: set.Height, Width: set.Width, Channels: set.Channels, Bytes: set.Bytes(),
	}
	d.count(statistics, nil)
	return d
}

// count adds statistics. names are those of the classes, if they have any.
func (d *document) count(s dataset.Statistics, names []string) {
	d.TrainImages, d.TestImages, d.Sorted = s.Train.Images, s.Test.Images, s.Sorted
	for label, images := range s.Train.Classes {
		c := class{Label: label, Train: images, Test: s.Test.Classes[label]}
		if label < len(names) {
			c.Name = names[label]
		}
		d.Classes = append(d.Classes, c)
	}
	for _, channel := range s.Channels {
		d.Values = append(d.Values, values(channel))
	}
}

// notices are what the person who imported a data set should know.
func (d *document) notices() (notices []string) {
	if d.Sorted {
		notices = append(notices, "the training images come class after class, so the last ones, which validate by default, are "+
			"of other classes than the first: shuffle them and import again")
	}
	if slices.IndexFunc(d.Values, func(v values) bool { return v.Maximum > 1 }) < 0 {
		notices = append(notices, "no value is above 1, so all images are almost black: scale them to 0 (black) to 255 (white)")
	}
	var untrained, untested []string
	for _, c := range d.Classes {
		switch {
		case c.Train == 0:
			untrained = append(untrained, c.text())
		case c.Test == 0:
			untested = append(untested, c.text())
		}
	}
	if untrained != nil {
		notices = append(notices, "no training image has the "+labels(untrained))
	}
	if untested != nil {
		notice := "no test image has the " + labels(untested)
		if d.TestEvery > 0 {
			has := "it has"
			if len(untested) > 1 {
				has = "each of them has"
			}
			notice += fmt.Sprintf(": %s fewer than %d images, of which one would be put aside to test (--test-every)", has,
				d.TestEvery)
		}
		notices = append(notices, notice)
	}
	var other []string
	var smallest, largest uint32
	for _, model := range spec.Models() {
		low, high := model.GetMinSide(), model.GetMaxSide()
		if !model.GetData() || min(d.Height, d.Width) >= int(low) && max(d.Height, d.Width) <= int(high) {
			continue
		}
		other, smallest, largest = append(other, model.GetName()), max(smallest, low), high
	}
	if other != nil {
		notices = append(notices, fmt.Sprintf("images of %d x %d pixels can't be trained on by %s, which take %d to %d a side: "+
			"scale them and import again", d.Height, d.Width, output.Enumerate(other), smallest, largest))
	}
	return notices
}

// labels writes the first of many labels.
func labels(texts []string) string {
	word := "label "
	if len(texts) > 1 {
		word = "labels "
	}
	if more := len(texts) - 10; more > 0 {
		texts = append(texts[:10:10], fmt.Sprintf("%d more", more))
	}
	return word + output.Enumerate(texts)
}

func (c class) text() string {
	if c.Name == "" || c.Name == strconv.Itoa(c.Label) {
		return strconv.Itoa(c.Label)
	}
	return fmt.Sprintf("%d (%s)", c.Label, output.EscapeLine(c.Name))
}

// write writes the document in one of the formats. CSV is the classes.
func write(out io.Writer, format output.Format, d *document) error {
	switch format {
	case output.JSON, output.YAML:
		return output.WriteDocument(out, format, d)
	case output.CSV:
		records := [][]string{{"label", "name", "train_images", "test_images"}}
		for _, c := range d.Classes {
			records = append(records, []string{strconv.Itoa(c.Label), c.Name, strconv.Itoa(c.Train), strconv.Itoa(c.Test)})
		}
		return csv.NewWriter(out).WriteAll(records)
	}
	_, err := fmt.Fprint(out, d.text())
	return err
}

// text is the document for people. Names of classes and files come from elsewhere: they may not move a terminal's cursor.
func (d *document) text() string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-9s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("name", "%s", d.Name)
	line("digest", "%s", d.Digest)
	if d.Folder != "" {
		line("folder", "%s (%s)", d.Folder, output.ShortBytes(uint64(d.Bytes)))
		line("from", "%s", formatWords[dataset.Format(d.Imported)])
	}
	aside := ""
	if d.TestEvery > 0 {
		aside = fmt.Sprintf(" (no test images were there: one of every %d of each class)", d.TestEvery)
	}
	line("images", "%s to train, %s to test%s", grouped(d.TrainImages), grouped(d.TestImages), aside)
	line("size", "%d x %d pixels (high x wide), %s", d.Height, d.Width, output.Count(uint64(d.Channels), "channel"))
	if d.Classes == nil {
		line("classes", "no labels")
	} else {
		line("classes", "%d", len(d.Classes))
	}
	for _, reason := range slices.Sorted(maps.Keys(d.counts)) {
		line("left out", "%s", reasonWords[reason](uint64(d.counts[reason])))
	}
	for _, file := range d.LeftOut {
		text := file.Path
		if file.Error != "" {
			text += ": " + file.Error
		}
		line("", "  %s", output.Shorten(output.EscapeLine(text), 200))
	}
	table := output.NewTable()
	table.AppendHeader([]any{"channel", "minimum", "maximum", "mean", "deviation"})
	for i, v := range d.Values {
		table.AppendRow([]any{i, v.Minimum, v.Maximum, output.ShortNumber(v.Mean), output.ShortNumber(v.Deviation)})
	}
	fmt.Fprintf(&b, "\n%s\n", table.Render())
	if d.Classes == nil {
		return b.String()
	}
	table = output.NewTable()
	table.AppendHeader([]any{"label", "name", "training", "test"})
	for _, c := range d.Classes {
		table.AppendRow([]any{c.Label, output.EscapeLine(c.Name), grouped(c.Train), grouped(c.Test)})
	}
	fmt.Fprintf(&b, "\n%s\n", table.Render())
	return b.String()
}

var formatWords = map[dataset.Format]string{
	dataset.IDX: "IDX files", dataset.NumPy: "NumPy arrays", dataset.Pictures: "pictures", dataset.CIFAR: "CIFAR-10's binary files",
}

var reasonWords = map[dataset.Reason]func(uint64) string{
	dataset.Hidden:     func(n uint64) string { return output.Count(n, "hidden file") },
	dataset.NotAnImage: func(n uint64) string { return output.Count(n, "file") + " not named .png, .jpg or .jpeg" },
	dataset.NoClass:    func(n uint64) string { return output.Count(n, "picture") + " outside the folders of classes" },
	dataset.OtherFolder: func(n uint64) string {
		return output.Count(n, "folder") + " without pictures, beside those of the parts"
	},
	dataset.LinkedFolder: func(n uint64) string { return output.Count(n, "link") + " to folders within those of classes" },
	dataset.Unfit:        func(n uint64) string { return output.Count(n, "picture") + " that can't be read or have another size" },
	dataset.UnknownArray: func(n uint64) string { return output.Count(n, "array") + " of unknown names" },
}
