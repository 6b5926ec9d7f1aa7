package data

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/node"
	"trellis/command/output"
	"trellis/trainer/dataset"
)

// row is a data set of the list.
type row struct {
	Name        string `json:"name" yaml:"name"`
	Digest      string `json:"digest,omitempty" yaml:"digest,omitempty"`
	Imported    bool   `json:"imported" yaml:"imported"`
	Height      int    `json:"height" yaml:"height"`
	Width       int    `json:"width" yaml:"width"`
	Channels    int    `json:"channels" yaml:"channels"`
	Classes     int    `json:"classes" yaml:"classes"`
	TrainImages int    `json:"train_images" yaml:"train_images"`
	TestImages  int    `json:"test_images" yaml:"test_images"`
	Bytes       int64  `json:"bytes" yaml:"bytes"`
	Problem     string `json:"problem,omitempty" yaml:"problem,omitempty"`
}

func listCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List data sets",
		Long: `List the data sets that specs can name, and the folders that can't be used. Those that were imported are not
read for it: trellis data show does that.`,
		Args: cli.Operands(),
	}
	options, format := node.DataFlags(cmd), cli.OutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		library := options.Library()
		folders, err := library.Available()
		if err != nil {
			return err
		}
		rows := make([]row, len(folders))
		for i, folder := range folders {
			rows[i] = newRow(cmd.Context(), &library, folder)
		}
		return writeRows(env.Out, *format, rows)
	}
	return cmd
}

func newRow(ctx context.Context, library *dataset.Library, folder dataset.Folder) row {
	r := row{Name: folder.Name, Imported: folder.Imported != nil}
	set, err := (*dataset.Set)(nil), folder.Err
	switch m := folder.Imported; {
	case err != nil:
	case m != nil:
		r.Digest, r.Height, r.Width, r.Channels = m.Digest, m.Height, m.Width, m.Channels
		r.Classes, r.TrainImages, r.TestImages = len(m.Statistics.Train.Classes), m.Statistics.Train.Images, m.Statistics.Test.Images
		r.Bytes = m.Bytes()
	default:
		set, err = library.FindLocal(ctx, folder.Name)
	}
	if errors.Is(err, dataset.ErrNotDownloaded) {
		err = errors.New("not downloaded yet: the first study that needs it does that")
	}
	if err != nil {
		r.Problem = err.Error()
	}
	if set != nil {
		r.Digest, r.Height, r.Width, r.Channels = set.Digest, set.Height, set.Width, set.Channels
		r.Classes, r.TrainImages, r.TestImages, r.Bytes = set.Classes, set.TrainImages, set.TestImages, set.Bytes()
	}
	return r
}

func writeRows(out io.Writer, format output.Format, rows []row) error {
	switch format {
	case output.JSON, output.YAML:
		return output.WriteDocument(out, format, struct {
			DataSets []row `json:"data_sets" yaml:"data_sets"`
		}{rows})
	case output.CSV:
		records := [][]string{{
			"name", "digest", "imported", "height", "width", "channels", "classes", "train_images", "test_images", "bytes", "problem",
		}}
		for _, r := range rows {
			record := []string{r.Name, r.Digest, strconv.FormatBool(r.Imported)}
			for _, number := range []int{r.Height, r.Width, r.Channels, r.Classes, r.TrainImages, r.TestImages, int(r.Bytes)} {
				record = append(record, strconv.Itoa(number))
			}
			records = append(records, append(record, r.Problem))
		}
		return csv.NewWriter(out).WriteAll(records)
	}
	table := output.NewTable()
	table.AppendHeader([]any{"name", "digest", "pixels", "channels", "classes", "training", "test", "bytes", "problem"})
	for _, r := range rows {
		if r.Digest == "" {
			table.AppendRow([]any{r.Name, "", "", "", "", "", "", "", output.EscapeLine(r.Problem)})
			continue
		}
		table.AppendRow([]any{
			r.Name, r.Digest[:shortDigest], fmt.Sprintf("%d x %d", r.Height, r.Width), r.Channels, classesOf(r.Classes),
			grouped(r.TrainImages), grouped(r.TestImages), output.ShortBytes(uint64(r.Bytes)), output.EscapeLine(r.Problem),
		})
	}
	_, err := fmt.Fprintln(out, table.Render())
	return err
}

// shortDigest is how much of a digest tables show.
const shortDigest = 12

func classesOf(number int) string {
	if number == 0 {
		return "no labels"
	}
	return strconv.Itoa(number)
}

func grouped(number int) string { return output.Grouped(uint64(number)) }
