package grid

import "strings"

// Nearest returns the name that was most likely meant by word, or "" if none is near: one typed with few mistakes, one
// that is part of it or has it as a part, or one that it abbreviates. Names that are equally near are joined by "or".
func Nearest(word string, names []string) string {
	word = strings.ToLower(shortened(word))
	var near []string
	distance := max(1, len(word)/3)
	for _, name := range names {
		switch d := editDistance(word, name); {
		case d < distance:
			near, distance = []string{name}, d
		case d == distance:
			near = append(near, name)
		}
	}
	if len(near) == 0 {
		for _, name := range names {
			related := len(word) >= 3 && (strings.Contains(name, word) || strings.Contains(word, name))
			if related || word == initials(name) {
				near = append(near, name)
			}
		}
	}
	return strings.Join(near, " or ")
}

// initials of learning_rate are lr.
func initials(name string) string {
	var letters strings.Builder
	for part := range strings.SplitSeq(name, "_") {
		letters.WriteString(part[:min(1, len(part))])
	}
	return letters.String()
}

// editDistance is the number of mistakes that make b of a: characters inserted, left out, replaced, or two neighbors
// exchanged (optimal string alignment).
func editDistance(a, b string) int {
	// d[i][j] is the distance of the first i characters of a and the first j of b.
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			replaced := d[i-1][j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			d[i][j] = min(replaced, d[i-1][j]+1, d[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
