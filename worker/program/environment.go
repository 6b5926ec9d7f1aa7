package program

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"trellis/proto/template"
)

// threadVariables limit the threads that libraries of numerics start. They count the machine's cores, not the run's.
var threadVariables = []string{
	"OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
}

// environment returns the program's variables: those of the worker but its own, then the spec's, then those of the
// protocol.
func environment(c *Config, f *folder, inherited []string) []string {
	variables := map[string]string{}
	for _, variable := range inherited {
		if name, value, ok := strings.Cut(variable, "="); ok && name != "" && !isWorkers(name) {
			variables[name] = value
		}
	}
	given := c.Program.GetEnvironment()
	for name, value := range given {
		if !strings.HasPrefix(name, "TRELLIS_") {
			variables[name] = value
		}
	}
	standard := func(name, value string) {
		if _, set := variables[name]; !set {
			variables[name] = value
		}
	}
	for _, name := range threadVariables {
		standard(name, strconv.Itoa(c.Resources.Threads()))
	}
	// Output should be seen when it is written.
	standard("PYTHONUNBUFFERED", "1")
	if c.Python != "" {
		path := c.Python
		if more := variables["PYTHONPATH"]; more != "" {
			path += string(os.PathListSeparator) + more
		}
		variables["PYTHONPATH"] = path
	}
	// "" hides all GPUs. AMD's runtime reads both; ROCR_VISIBLE_DEVICES would count on top of them.
	devices := strings.Join(c.GPUs, ",")
	variables["CUDA_VISIBLE_DEVICES"], variables["HIP_VISIBLE_DEVICES"] = devices, devices
	// The numbers are those of the driver's tools.
	standard("CUDA_DEVICE_ORDER", "PCI_BUS_ID")

	variables[template.Variable("max_epochs")] = strconv.Itoa(c.MaxEpochs)
	variables[template.Variable("seed")] = strconv.FormatInt(c.Seed, 10)
	for name, value := range c.Parameters {
		variables[template.Variable(name)] = template.Text(value)
	}
	variables["TRELLIS_RUN"], variables["TRELLIS_REPORTS"] = f.run, f.reports
	variables["TRELLIS_SEED"] = strconv.FormatInt(c.Seed, 10)
	variables["TRELLIS_MAX_EPOCHS"] = strconv.Itoa(c.MaxEpochs)
	variables["TRELLIS_FIRST_EPOCH"] = strconv.Itoa(c.FirstEpoch)
	variables["TRELLIS_LAST_EPOCH"] = strconv.Itoa(c.LastEpoch)
	if f.resume != "" {
		variables["TRELLIS_RESUME"] = f.resume
	}
	variables["PWD"] = f.work
	delete(variables, "OLDPWD")

	list := make([]string, 0, len(variables))
	for name, value := range variables {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list
}

// isWorkers says whether a variable is the worker's own. Those by which it sends traces may have a key in them.
func isWorkers(name string) bool {
	return strings.HasPrefix(name, "TRELLIS_") || strings.HasPrefix(name, "OTEL_EXPORTER_OTLP_") || name == "OTEL_SERVICE_NAME"
}

// arguments returns the command with its parameters put in.
func arguments(c *Config) ([]string, error) {
	values := map[string]string{"seed": strconv.FormatInt(c.Seed, 10), "max_epochs": strconv.Itoa(c.MaxEpochs)}
	names := make([]string, 0, len(c.Parameters))
	for name, value := range c.Parameters {
		values[name] = template.Text(value)
		names = append(names, name)
		if strings.ContainsRune(values[name], 0) {
			return nil, &Error{Kind: BadCommand, Message: fmt.Sprintf("the value of %s contains a NUL byte", name)}
		}
	}
	command := c.Program.GetCommand()
	if err := template.Check(command, names); err != nil {
		return nil, &Error{Kind: BadCommand, Message: err.Error(), Err: err}
	}
	expanded := make([]string, len(command))
	for i, argument := range command {
		expanded[i], _ = template.Expand(argument, values) // Check has found no error.
	}
	if expanded[0] == "" {
		return nil, &Error{Kind: BadCommand, Message: "the command is empty"}
	}
	return expanded, nil
}

// find returns the path of the executable: a name without a slash is looked up in the program's PATH, others are
// relative to its folder.
func find(name, work string, environment []string) (string, error) {
	if strings.Contains(name, "/") {
		path := name
		if !filepath.IsAbs(path) {
			path = filepath.Join(work, path)
		}
		switch err := executable(path); {
		case err == nil:
			return path, nil
		case errors.Is(err, fs.ErrNotExist) && filepath.IsAbs(name):
			return "", &Error{Kind: NoCommand, Message: name + " does not exist on this worker", Err: err}
		case errors.Is(err, fs.ErrNotExist):
			return "", &Error{Kind: BadCommand, Message: name + " is not among the program's files", Err: err}
		default:
			return "", notExecutable(name, err)
		}
	}
	var path string
	for _, variable := range environment {
		if value, ok := strings.CutPrefix(variable, "PATH="); ok {
			path = value
		}
	}
	var found error
	for _, folder := range filepath.SplitList(path) {
		if !filepath.IsAbs(folder) {
			continue // What is in the working folder is named with a slash.
		}
		candidate := filepath.Join(folder, name)
		switch err := executable(candidate); {
		case err == nil:
			return candidate, nil
		case !errors.Is(err, fs.ErrNotExist) && found == nil:
			found = notExecutable(candidate, err)
		}
	}
	if found != nil {
		return "", found
	}
	message := fmt.Sprintf("command %q is not in this worker's PATH, %s", name, path)
	if executable(filepath.Join(work, name)) == nil {
		return "", &Error{Kind: BadCommand, Message: message + "; the one among the program's files is ./" + name}
	}
	return "", &Error{Kind: NoCommand, Message: message, Err: fs.ErrNotExist}
}

// executable returns nil if a path is a file that may be executed by somebody.
func executable(path string) error {
	switch info, err := os.Stat(path); {
	case errors.Is(err, syscall.ENOTDIR):
		return fs.ErrNotExist
	case err != nil:
		return err
	case info.IsDir():
		return syscall.EISDIR
	case info.Mode()&0o111 == 0:
		return fs.ErrPermission
	default:
		return nil
	}
}

func notExecutable(name string, err error) *Error {
	message := fmt.Sprintf("%s can't be executed: %v", name, err)
	switch {
	case errors.Is(err, syscall.EISDIR):
		message = name + " is a folder, not a command"
	case errors.Is(err, fs.ErrPermission):
		message = name + " is not executable: chmod +x it, or name its interpreter in the command"
	}
	return &Error{Kind: BadCommand, Message: message, Err: err}
}
