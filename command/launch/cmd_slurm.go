package launch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"trellis/command/cli"
	"trellis/command/client"
	"trellis/command/exit"
	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// maxWorkers is how many workers a launch may have: more than a coordinator has sessions for by default.
const maxWorkers = 10_000

var launchName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,49}$`)

// launchOptions are the flags of trellis launch slurm.
type launchOptions struct {
	name                       string
	count, max, slots, gpus    int
	partition, memory, folder  string
	workerToken, binary, study string
	time                       jobTime
	untilIdle, every           time.Duration
	programs, dryRun           bool
	labels                     map[string]string
	sbatch, rest               []string
}

func slurmCommand(env *cli.Environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "slurm [-- WORKER-FLAG...]",
		Short: "Start workers as jobs of Slurm",
		Long: `Start workers as an array of jobs of Slurm, one worker a job. When a job is preempted or its time is
almost up, the worker hands its runs back with their checkpoints, and the job goes back into the queue. A job completes
when its worker has had no run for --until-idle.

With --count, it submits so many workers and returns. With --max, it stays and keeps as many workers as runs wait for,
up to --max: it submits jobs when runs wait, and cancels queued ones that are not needed any more; workers that run
leave by themselves when they are idle. It ends when there has been nothing to do for --until-idle, or when jobs only
fail. It keeps no state but Slurm's queue: when it was interrupted, start it again.

The coordinator must be reachable from Slurm's nodes. If it asks who its workers are, a token is created for them and
written to a file that only you can read, in --folder, where the jobs' output is too: all nodes must see that folder,
and this binary. Flags after -- go to trellis worker.`,
		Example: `  trellis launch slurm --count 50 --slots 4 --partition gpu --gpus 1 --time 4h
  trellis launch slurm --max 200 --until-idle 10m --slots 8 --time 1d
  trellis launch slurm --count 2 --sbatch=--account=abc --dry-run`,
	}
	options, its := cli.ClientFlags(cmd, client.DefaultWait), &launchOptions{}
	its.addFlags(cmd)
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if dash := cmd.ArgsLenAtDash(); len(args) > 0 && dash != 0 {
			return fmt.Errorf("slurm takes no arguments but flags of the worker after --, got %q", args[0])
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		its.rest = args
		if err := errors.Join(its.check(), cli.CheckStudyFlag(cmd, its.study)); err != nil {
			return err
		}
		if err := errors.Join(checkWorkerFlags(cmd, args), checkReachable(options.Address)); err != nil {
			return err
		}
		folder, err := filepath.Abs(its.folder)
		if err != nil {
			return err
		}
		its.folder = folder
		if err := its.checkWords(); err != nil { // With the folders that it is in.
			return err
		}
		if its.dryRun {
			if err := options.ChooseEncryption(); err != nil {
				return err
			}
			return its.show(env, options)
		}
		return env.WithClient(cmd.Context(), options, func(ctx context.Context, c *client.Client) error {
			return its.launch(ctx, env, c, options, slurm{})
		})
	}
	return cmd
}

func (o *launchOptions) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.name, "name", "workers", "`name` of the launch, for status, scale and stop")
	flags.IntVar(&o.count, "count", 0, "number of workers to start")
	flags.IntVar(&o.max, "max", 0, "start as many workers as runs wait for, at most this number")
	flags.IntVar(&o.slots, "slots", 1, "runs that each worker trains at the same time, and cores of its job")
	flags.StringVar(&o.partition, "partition", "", "`partition` of Slurm (default Slurm's)")
	flags.IntVar(&o.gpus, "gpus", 0, "GPUs of each worker")
	flags.StringVar(&o.memory, "memory", "", "`size` of each worker's memory, for example 16GiB or 16G (default Slurm's)")
	flags.Var(&o.time, "time",
		"how long a job may take before it goes back into the queue, for example 4h, 2d or Slurm's 4:00:00; at least 5m "+
			"(default Slurm's)")
	flags.DurationVar(&o.untilIdle, "until-idle", 10*time.Minute,
		"how long a worker, and launch with --max, wait for another run")
	flags.DurationVar(&o.every, "every", 15*time.Second, "time between two looks at the queue, with --max")
	cli.LabelFlag(flags, &o.labels, "`NAME=VALUE` that the workers: of a spec can ask for; can be repeated")
	flags.StringVar(&o.study, "study", "", "train runs of this `study` alone")
	flags.BoolVar(&o.programs, "programs", false,
		"run programs too: whoever may submit studies runs any command as you")
	flags.StringVar(&o.folder, "folder", "trellis-launch",
		"`folder` for the jobs' output and the token, which all nodes see")
	flags.StringVar(&o.workerToken, "worker-token", "",
		"`file` with the workers' token (default one that is created, if needed)")
	flags.StringVar(&o.binary, "binary", "", "`path` of trellis on the nodes (default this binary's)")
	flags.StringArrayVar(&o.sbatch, "sbatch", nil,
		"one more `option` of sbatch, for example --sbatch=--account=abc; can be repeated")
	flags.BoolVar(&o.dryRun, "dry-run", false, "print the batch script and submit nothing")
	for name, value := range map[string]*int{"count": &o.count, "max": &o.max, "slots": &o.slots} {
		cli.AtLeast(flags, name, value, 1)
	}
	cli.AtLeast(flags, "gpus", &o.gpus, 0)
	cli.AtLeast(flags, "until-idle", &o.untilIdle, time.Second)
	cli.AtLeast(flags, "every", &o.every, time.Second)
}

// check refuses what can't be launched.
func (o *launchOptions) check() error {
	switch {
	case (o.count == 0) == (o.max == 0):
		return exit.Usagef("launch slurm needs one of --count, a fixed number of workers, " +
			"and --max, as many as runs wait for")
	case max(o.count, o.max) > maxWorkers:
		return exit.Usagef("%d workers are too many: at most %d", max(o.count, o.max), maxWorkers)
	case !launchName.MatchString(o.name):
		return exit.Usagef("invalid argument %q for --name: must have 1 to 50 letters, digits and . _ -, "+
			"and start with a letter or digit", o.name)
	}
	if o.memory != "" {
		if _, ok := parseMemory(o.memory); !ok {
			return exit.Usagef("invalid argument %q for --memory: must be a size with its unit, for example 16GiB or 16G",
				o.memory)
		}
	}
	return errors.Join(o.checkWords(), o.checkOptions(), o.checkRest())
}

// launch submits the workers.
func (o *launchOptions) launch(
	ctx context.Context, env *cli.Environment, c *client.Client, options *cli.ClientOptions, s scheduler,
) error {
	jobs, err := unended(ctx, s, o.name)
	if err != nil {
		return err
	}
	if len(jobs) > 0 && o.count > 0 {
		return exit.Usagef("launch %s has %s already: change their number with trellis launch scale %s COUNT, "+
			"or choose another --name", o.name, output.Count(uint64(len(jobs)), "worker"), o.name)
	}
	if err := o.lookForStudy(ctx, env, c); err != nil {
		return err
	}
	if err := os.MkdirAll(o.folder, 0o700); err != nil {
		return fmt.Errorf("make the folder for the workers' output: %w", err)
	}
	asked, err := hasAccessControl(ctx, c)
	if err != nil {
		return err
	}
	if asked && o.workerToken == "" {
		if err := handOutToken(ctx, env, c, o.name, o.tokenFile(true)); err != nil {
			return err
		}
	}
	batch, err := o.batch(options, o.tokenFile(asked))
	if err != nil {
		return err
	}
	if o.max > 0 {
		if other := slices.IndexFunc(jobs, func(j job) bool { return j.options != batch.mark }); other >= 0 {
			return exit.Usagef("launch %s has jobs that were submitted with other options, such as %s: choose another "+
				"--name, repeat the options, or stop it first with trellis launch stop %s",
				o.name, jobs[other].id, o.name)
		}
		kind := o.kind()
		fleet := &fleet{
			name: o.name, folder: o.folder, jobs: s, batch: batch, max: o.max, every: o.every, idle: o.untilIdle,
			look: func(ctx context.Context) (demand, error) {
				return look(ctx, c, s, o.name, batch.mark, kind)
			},
		}
		if asked && o.workerToken == "" {
			fleet.renew = func(ctx context.Context) error {
				return handOutToken(ctx, env, c, o.name, o.tokenFile(true))
			}
		}
		err := fleet.keep(ctx, env.Err)
		if errors.Is(err, exit.ErrInterrupted) {
			fmt.Fprintf(env.Err, "Interrupted. Workers stay until they are idle. To go on, run the same command "+
				"again; to stop them: trellis launch stop %s\n", o.name)
		}
		return err
	}
	arrays, err := submitAll(ctx, s, o.count, batch.script)
	if len(arrays) > 0 {
		fmt.Fprintf(env.Err, "Submitted %s as %s. Their output: %s\n", output.Count(uint64(jobsOf(arrays)), "worker"),
			numbers(arrays), o.folder)
	} else if asked && o.workerToken == "" {
		tellTokenIn(env, o.tokenFile(true))
	}
	return err
}

// lookForStudy says so if the workers' study is not there. It may be submitted later.
func (o *launchOptions) lookForStudy(ctx context.Context, env *cli.Environment, c *client.Client) error {
	if o.study == "" {
		return nil
	}
	_, err := client.Call(ctx, client.CallTimeout, c.GetStudy, &trellisv1.GetStudyRequest{Study: o.study})
	if status.Code(err) == codes.NotFound {
		fmt.Fprintf(env.Err, "The coordinator has no study %s: the workers wait until one is submitted, and take no "+
			"other runs. If the name is mistyped: trellis launch stop %s\n", o.study, o.name)
		return nil
	}
	return err
}

// show writes the batch script, and says what it needs before it can be submitted.
func (o *launchOptions) show(env *cli.Environment, options *cli.ClientOptions) error {
	token := o.tokenFile(options.Credentials.Authority != "")
	batch, err := o.batch(options, token)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprint(env.Out, batch.script(max(o.count, 1))); err != nil {
		return err
	}
	before := "mkdir -p " + quoted(o.folder)
	if token != "" && o.workerToken == "" {
		before += fmt.Sprintf(" && trellis tokens create%s --role worker --name launch-%s --file %s",
			connectionFlags(options), o.name, quoted(token))
	}
	fmt.Fprintf(env.Err, "Nothing was submitted, and the coordinator at %s was not asked. "+
		"To submit this script yourself, first: %s\n", options.Address, before)
	if token == "" {
		fmt.Fprintln(env.Err, "The script gives workers no token: "+
			"if the coordinator asks who they are, add --authority.")
	}
	return nil
}

// connectionFlags are those with which another command reaches the same coordinator as the same user.
func connectionFlags(options *cli.ClientOptions) string {
	flags := " --coordinator " + quoted(options.Address)
	for _, file := range []struct{ flag, path string }{
		{"authority", options.Credentials.Authority},
		{"certificate", options.Credentials.Certificate},
		{"key", options.Credentials.Key},
		{"token-file", options.Credentials.TokenFile},
	} {
		if file.path != "" {
			flags += " --" + file.flag + " " + quoted(file.path)
		}
	}
	if options.Credentials.Insecure {
		flags += " --insecure"
	}
	return flags
}

// kind is one of the workers, as a study sees it.
func (o *launchOptions) kind() *kind {
	memory, said := parseMemory(o.memory)
	return &kind{said: said, Worker: &trellisv1.Worker{
		Slots: uint32(o.slots), Labels: o.labels, Study: o.study,
		Capacity: &trellisv1.Capacity{
			Cpus: float64(o.slots), Memory: memory, Gpus: make([]*trellisv1.Gpu, o.gpus), Programs: o.programs,
		},
	}}
}

// tokenFile is the file of the workers' token, nothing if they need none.
func (o *launchOptions) tokenFile(needed bool) string {
	if o.workerToken != "" || !needed {
		return o.workerToken
	}
	return filepath.Join(o.folder, o.name+".token")
}

// batch is the batch script of the workers.
func (o *launchOptions) batch(options *cli.ClientOptions, token string) (b batch, err error) {
	option := func(name, value string) {
		if value != "" {
			b.options = append(b.options, fmt.Sprintf("--%s=%s", name, sbatchWord(value)))
		}
	}
	option("job-name", jobPrefix+o.name)
	option("ntasks", "1")
	option("cpus-per-task", strconv.Itoa(o.slots))
	option("partition", o.partition)
	if o.gpus > 0 {
		option("gres", "gpu:"+strconv.Itoa(o.gpus))
	}
	if size, ok := parseMemory(o.memory); ok {
		option("mem", strconv.FormatUint((size+(1<<20)-1)>>20, 10)+"M")
	}
	if o.time > 0 {
		option("time", timeLimit(time.Duration(o.time)))
	}
	// A % of the folder's own is written twice.
	option("output", filepath.Join(strings.ReplaceAll(o.folder, "%", "%%"), o.name+"-%A_%a.log"))
	for _, other := range o.sbatch {
		name, value, has := strings.Cut(strings.TrimPrefix(other, "--"), "=")
		if has {
			other = "--" + name + "=" + sbatchWord(value)
		}
		b.options = append(b.options, other)
	}

	if o.binary == "" {
		if o.binary, err = os.Executable(); err != nil {
			return b, fmt.Errorf("find this binary: %w: name it with --binary", err)
		}
	}
	b.variables = []string{"TRELLIS=" + o.binary, "TRELLIS_EXIT_WHEN_IDLE=" + o.untilIdle.String()}
	b.args = []string{"--coordinator", options.Address, "--slots", strconv.Itoa(o.slots)}
	for _, file := range []struct{ flag, path string }{
		{"--authority", options.Credentials.Authority}, {"--token-file", token},
	} {
		if file.path == "" {
			continue
		}
		path, err := filepath.Abs(file.path)
		if err != nil {
			return b, err
		}
		b.args = append(b.args, file.flag, path)
	}
	if options.Credentials.Insecure {
		b.args = append(b.args, "--insecure")
	}
	for _, name := range slices.Sorted(maps.Keys(o.labels)) {
		b.args = append(b.args, "--label", name+"="+o.labels[name])
	}
	if o.study != "" {
		b.args = append(b.args, "--study", o.study)
	}
	if o.programs {
		b.args = append(b.args, "--programs")
	}
	b.args = append(b.args, o.rest...)
	b.mark = b.digest(o.max > 0)
	option("comment", commentPrefix+b.mark)
	return b, nil
}

// sbatchWord is a value as sbatch reads it in a script. See checkWords for what it must not have.
func sbatchWord(value string) string {
	if plain.MatchString(value) {
		return value
	}
	return `"` + value + `"`
}
