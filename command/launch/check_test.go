package launch

import (
	"errors"
	"strings"
	"testing"
	"time"

	"trellis/command/cli"
	"trellis/command/exit"
)

// What would have launch lose sight of its jobs, or is more than one word of a batch script, is refused.
func TestRefused(t *testing.T) {
	for _, test := range []struct {
		options launchOptions
		want    string
	}{
		{launchOptions{sbatch: []string{"--job-name=mine"}}, "needs to set --job-name itself"},
		{launchOptions{sbatch: []string{"--job-n=mine"}}, "needs to set --job-name itself"},
		{launchOptions{sbatch: []string{"--array=1-9"}}, "needs to set --array itself"},
		{launchOptions{sbatch: []string{"--cluster=other"}}, "needs to set --clusters itself"},
		{launchOptions{sbatch: []string{"--output=x"}}, "needs to set --output itself"},
		{launchOptions{sbatch: []string{"--wait"}}, "needs to set --wait itself"},
		{launchOptions{sbatch: []string{"-Jmine"}}, "must be a long option"},
		{launchOptions{sbatch: []string{"--account abc"}}, "must be a long option"},
		{launchOptions{sbatch: []string{"--account=abc\necho"}}, "must be a long option"},
		{launchOptions{sbatch: []string{`--mail-user="a b"`}}, "must be a long option"},
		{launchOptions{gpus: 2, sbatch: []string{"--gres=gpu:a100:1"}}, "--gpus and --sbatch=--gres=gpu:a100:1"},
		{launchOptions{gpus: 2, sbatch: []string{"--gpus=1"}}, "--gpus and --sbatch=--gpus=1 both say"},
		{launchOptions{memory: "1G", sbatch: []string{"--mem=2G"}}, "--memory and --sbatch=--mem=2G both say"},
		{launchOptions{time: jobTime(time.Hour), sbatch: []string{"--time=60"}}, "--time and --sbatch=--time=60"},
		{launchOptions{partition: "a", sbatch: []string{"--partition=b"}}, "--partition and --sbatch=--partition=b"},
		{launchOptions{sbatch: []string{"--time=1"}}, "must be at least 5 minutes"},
		{launchOptions{time: jobTime(299 * time.Second)}, "must be at least 5 minutes: workers hand their runs back"},
		{launchOptions{partition: "gpu\necho INJECTED >&2"}, "for --partition: must have no quotation marks"},
		{launchOptions{folder: `/tmp/a "b"`}, "for --folder: must have no quotation marks"},
		{launchOptions{folder: `/tmp/a\b`}, "for --folder: must have no quotation marks"},
		{launchOptions{rest: []string{"--slots=2"}}, "say it with --slots of launch slurm, before --"},
		{launchOptions{rest: []string{"--cache-dir", "/c", "--label", "gpu=a100"}}, "say it with --label"},
		{launchOptions{rest: []string{"--cpus", "2"}}, "say it with --slots"},
		{launchOptions{rest: []string{"--name", "mine"}}, "workers are known by their names"},
	} {
		test.options.name, test.options.count = "workers", 1
		if err := test.options.check(); !errors.Is(err, exit.ErrUsage) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.options, err, test.want)
		}
	}
	good := launchOptions{
		name: "workers", count: 1, partition: "gpu,low", folder: "/tmp/a b %u/c", binary: "/bin/trellis", slots: 1,
		time: jobTime(time.Hour),
		sbatch: []string{
			"--account=abc", "--hold", "--mem=2G", "--gres=gpu:1", "--time-min=60",
			"--exclude=a,b", "--constraint=a&b", "--cluster-constraint=x",
		},
		rest: []string{"--cache-dir", "name", "--drain-timeout=20s", "--metrics", ":0"},
	}
	if err := good.check(); err != nil {
		t.Error(err)
	}
	short := launchOptions{name: "w", count: 1, time: jobTime(time.Minute), sbatch: []string{"--signal=B:TERM@20"}}
	if err := short.check(); err != nil {
		t.Errorf("short jobs that are told in time: %v", err)
	}
	batch, err := good.batch(&cli.ClientOptions{Address: "head:7070"}, "")
	if err != nil {
		t.Fatal(err)
	}
	script := batch.script(1)
	for _, want := range []string{
		`#SBATCH --output="/tmp/a b %%u/c/workers-%A_%a.log"` + "\n", `#SBATCH --constraint="a&b"` + "\n",
		"#SBATCH --hold\n",
		"#SBATCH --comment=trellis-launch:" + batch.mark + "\n",
	} {
		if !strings.Contains(script, want) {
			t.Errorf("there is no %q:\n%s", want, script)
		}
	}
}

// Times are taken as Slurm writes them too, but not such that a worker would have to end when it has just begun.
func TestTime(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"4h": 4 * time.Hour, "2d": 48 * time.Hour, "5m": 5 * time.Minute,
		"240": 4 * time.Hour, "6:30": 390 * time.Second, "04:00:00": 4 * time.Hour,
		"0-4": 4 * time.Hour, "1-2:30": 26*time.Hour + 30*time.Minute, "2-02:01:30": 50*time.Hour + 90*time.Second,
		"1m": time.Minute, "299s": 299 * time.Second, "4": 4 * time.Minute, "4:59": 299 * time.Second,
		"0": 0, "": 0, "-": 0, "1-": 0, "-4": 0, "+9": 0, "1:2:3:4": 0,
		"1-2:3:4:5": 0, "1-2-3": 0, "99999999": 0, "99999-0": 0, "99999999999999999999": 0, "x": 0,
	} {
		var got jobTime
		if err := got.Set(text); (err == nil) != (want > 0) || err == nil && time.Duration(got) != want {
			t.Errorf("--time %s: %v, %v, want %v", text, time.Duration(got), err, want)
		}
	}
}

func TestMemory(t *testing.T) {
	for text, want := range map[string]uint64{
		"16G": 16 << 30, "500M": 500 << 20, "16GiB": 16 << 30, "16GB": 16e9, "1.5T": 3 << 39,
		"16000": 0, "": 0, "G": 0, "16g": 0, "16GG": 0, "16Gi": 0,
	} {
		if got, ok := parseMemory(text); got != want || ok != (want > 0) {
			t.Errorf("%s: %d, %t, want %d", text, got, ok, want)
		}
	}
}

// A launch is told apart from others by all that its workers are, and by whether their number changes.
func TestDigest(t *testing.T) {
	seen := map[string]bool{}
	for _, b := range []batch{
		{},
		{options: []string{"a"}},
		{options: []string{"a b"}},
		{options: []string{"a", "b"}},
		{variables: []string{"a"}},
		{args: []string{"a"}},
	} {
		for _, elastic := range []bool{false, true} {
			if digest := b.digest(elastic); seen[digest] {
				t.Errorf("%+v, %t: %s is that of another", b, elastic, digest)
			} else {
				seen[digest] = true
			}
		}
	}
}

// Variables that stand for options of Slurm's commands get to none of them.
func TestInherited(t *testing.T) {
	for variable, want := range map[string]bool{
		"PATH=/bin": true, "SLURM_CONF=/etc/x": true, "SLURM_JWT=x": true, "SBATCH_JOB_NAME=x": false,
		"SLURM_CLUSTERS=x": false, "SQUEUE_STATES=x": false, "SCANCEL_NAME=x": false, "TRELLIS_TOKEN=x": false, "SLURM_JOB_ID=7": false,
	} {
		if inherited(variable) != want {
			t.Errorf("%s: %t", variable, !want)
		}
	}
}
