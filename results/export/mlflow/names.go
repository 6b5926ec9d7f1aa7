package mlflow

import (
	"path"
	"slices"
	"strings"
)

// fileNames returns under which names MLflow is to know metrics, of which each is a file of that name. A name with
// slashes is a file in a folder, as MLflow does it, but where that can't be: a part of it is empty or of dots, or
// another name is that folder. There, an underscore stands for each slash. Names that only differ in case get a number,
// because some file systems take them for one.
func fileNames(names []string) map[string]string {
	files, taken := make(map[string]string, len(names)), map[string]bool{}
	for _, name := range slices.Sorted(slices.Values(names)) {
		file := name
		isFolder := func(other string) bool {
			return strings.HasPrefix(name, other+"/") || strings.HasPrefix(other, name+"/")
		}
		conflicts := strings.Contains(name, "/") && (!isPath(name) || slices.ContainsFunc(names, isFolder))
		if conflicts || strings.Trim(name, ".") == "" {
			file = strings.ReplaceAll(strings.ReplaceAll(name, "/", "_"), ".", "_")
		}
		for taken[strings.ToLower(file)] {
			file += "_2"
		}
		taken[strings.ToLower(file)] = true
		files[name] = file
	}
	return files
}

// isPath says whether a name is a path below a folder, and no other path is the same.
func isPath(name string) bool {
	return path.Clean(name) == name && !path.IsAbs(name) && name != ".." && !strings.HasPrefix(name, "../")
}
