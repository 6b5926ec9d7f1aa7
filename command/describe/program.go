package describe

import (
	"fmt"
	"strconv"
	"strings"

	"trellis/command/output"
	trellisv1 "trellis/proto/trellis/v1"
)

// Resources says what each run of a study needs of a worker: 2 cores, 8 GiB of memory, 1 GPU.
func Resources(spec *trellisv1.StudySpec) string {
	its := spec.GetResources()
	cores := "1 core"
	if cpus := its.GetCpus(); cpus != 0 && cpus != 1 {
		cores = strconv.FormatFloat(cpus, 'g', -1, 64) + " cores"
	}
	parts := []string{cores}
	if its.GetMemory() > 0 {
		parts = append(parts, output.ShortBytes(its.GetMemory())+" of memory")
	}
	if its.GetGpus() > 0 {
		parts = append(parts, output.Count(uint64(its.GetGpus()), "GPU"))
	}
	text := strings.Join(parts, ", ")
	if limit := its.GetTime(); limit != nil {
		text += fmt.Sprintf("; at most %s", limit.AsDuration())
	}
	return text
}

// Command is a program's command as a person would type it.
func Command(program *trellisv1.Program) string {
	parts := make([]string, len(program.GetCommand()))
	for i, part := range program.GetCommand() {
		if parts[i] = part; part == "" || strings.ContainsAny(part, " \t\n\"'\\$`") {
			parts[i] = strconv.Quote(part)
		}
	}
	return output.Shorten(strings.Join(parts, " "), 200)
}
