package data

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"trellis/command/cli"
	"trellis/command/exit"
	"trellis/command/node"
	"trellis/command/output"
	"trellis/trainer/dataset"
	"trellis/trainer/dataset/source"
)

// importing is what an import was asked for.
type importing struct {
	name, path string
	options    source.Options
	testEvery  int
}

func importCommand(env *cli.Environment) *cobra.Command {
	var wanted importing
	cmd := &cobra.Command{
		Use:   "import NAME PATH",
		Short: "Import a data set",
		Long: `Import images as the data set NAME. They are converted once and checked; PATH is not needed afterwards. PATH is one of:

  - a folder of IDX files: train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
    t10k-labels-idx1-ubyte, gzipped or not; idx4 if the dimensions are number, channels, height and width
  - a NumPy archive (.npz), or a folder of arrays (.npy), with x_train, y_train, x_test and y_test, or similar names
    (train_images, test_labels); or with x and y only. Images are uint8: (number, height, width), with the channels
    last or second
  - one NumPy array (.npy) of images without labels
  - a folder of PNG or JPEG files, with a folder for each class, or without labels. Above them, there can be
    folders train and test
  - the folder of CIFAR-10's binary version: data_batch_1.bin and the like, and test_batch.bin

Images all have one size, 8 bits for each of 1 to 4 channels, and at most 256 classes. All together have at most 1 GiB.

If PATH has no test images, every 7th of each class becomes one (--test-every). Images for validation (val) become the
last training images, which a study validates with by default. Pictures are shuffled, always in the same way.
The same content has the same digest, whatever it was imported from: studies share its results.`,
		Example: `  trellis data import fashion ~/Downloads/fashion
  trellis data import cifar cifar-10-batches-bin
  trellis data import cells cells/ --channels 1 --skip-unfit`,
		Args: cli.Operands("NAME", "PATH"),
	}
	options, format := node.DataFlags(cmd), cli.OutputFlag(cmd)
	cmd.Flags().IntVar(&wanted.testEvery, "test-every", dataset.DefaultTestEvery,
		"if there are no test images, make every image of this `number` of each class one, 2 or more")
	cmd.Flags().IntVar(&wanted.options.Channels, "channels", 0,
		"`number` of channels of pictures: 1 for gray, 3, or 4 with transparency (default 1 if all files are gray, else 3)")
	cmd.Flags().BoolVar(&wanted.options.SkipUnfit, "skip-unfit", false,
		"leave out pictures that are damaged or have another size than most")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		wanted.name, wanted.path = args[0], args[1]
		switch wanted.options.Channels {
		case 0, 1, 3, 4:
		default:
			return exit.Usagef("--channels is %d, must be 1, 3 or 4", wanted.options.Channels)
		}
		if wanted.testEvery < 2 {
			return exit.Usagef("--test-every is %d, must be 2 or more", wanted.testEvery)
		}
		return runImport(cmd.Context(), env, options, &wanted, *format)
	}
	return cmd
}

func runImport(
	ctx context.Context, env *cli.Environment, options *node.DataOptions, wanted *importing, format output.Format,
) error {
	library := options.Library()
	if library.Dir == "" {
		return exit.Usagef("there is no folder for data sets: name one with --data-sets")
	}
	library.Warn = func(err error) { fmt.Fprintf(output.Printable(env.Err), "trellis: %v\n", err) }
	// Looking at a large folder takes long: the name comes first.
	if err := library.CheckFree(wanted.name); err != nil {
		return taken(err, wanted.name)
	}
	ctx, stop := cli.Interruptible(ctx)
	defer stop()
	images, err := source.Open(ctx, wanted.path, wanted.options)
	if err != nil {
		return hint(explain(err))
	}
	manifest, err := library.Import(ctx, wanted.name, images, wanted.testEvery)
	if err != nil {
		return taken(err, wanted.name)
	}
	d := describeManifest(wanted.name, library.Dir, manifest)
	if err := write(env.Out, format, d); err != nil {
		return err
	}
	for _, notice := range d.notices() {
		fmt.Fprintf(env.Err, "trellis: %s\n", notice)
	}
	return nil
}

// taken says how to go on where the name is taken, or what hint says of other errors.
func taken(err error, name string) error {
	if errors.Is(err, dataset.ErrExists) {
		return exit.Existsf("%w: choose another name, or remove it first: trellis data remove %s", err, name)
	}
	return hint(explain(err))
}

// hint says how to go on without pictures that can't be imported.
func hint(err error) error {
	if !errors.Is(err, source.ErrUnfit) {
		return err
	}
	return exit.Usagef("%w\nTo import the others: --skip-unfit", err)
}
