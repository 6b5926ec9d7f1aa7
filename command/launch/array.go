package launch

import (
	"context"
	"fmt"
	"regexp"

	"trellis/command/output"
)

// arrayJob is an array of jobs that was submitted.
type arrayJob struct {
	id   string
	jobs int
	// seen says that Slurm has shown it since.
	seen bool
}

func jobsOf(arrays []*arrayJob) (jobs int) {
	for _, its := range arrays {
		jobs += its.jobs
	}
	return jobs
}

// numbers names arrays: job 101, or jobs 101 and 102.
func numbers(arrays []*arrayJob) string {
	ids := make([]string, len(arrays))
	for i, its := range arrays {
		ids[i] = its.id
	}
	if len(ids) == 1 {
		return "job " + ids[0]
	}
	return "jobs " + output.Enumerate(ids)
}

// tooMany matches what sbatch says if it might accept fewer jobs: arrays are accepted or refused as a whole.
var tooMany = regexp.MustCompile(`(?i)invalid job array|submit ?job|submit limit`)

// submitAll submits jobs in arrays no larger than Slurm allows. With an error, arrays are what it has accepted before.
func submitAll(
	ctx context.Context, s scheduler, jobs int, script func(jobs int) string,
) (arrays []*arrayJob, err error) {
	size := jobs
	if jobs > 1 {
		size = min(size, s.largest(ctx))
	}
	for submitted := 0; submitted < jobs; {
		size = min(size, jobs-submitted)
		id, err := s.submit(ctx, script(size))
		switch {
		case err == nil:
			arrays, submitted = append(arrays, &arrayJob{id: id, jobs: size}), submitted+size
		case size > 1 && tooMany.MatchString(err.Error()):
			size /= 2
		case submitted > 0:
			return arrays, fmt.Errorf("%s not submitted: %w", output.Count(uint64(jobs-submitted), "worker"), err)
		default:
			return nil, err
		}
	}
	return arrays, nil
}
