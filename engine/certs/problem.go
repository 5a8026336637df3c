package certs

import (
	"slices"
	"strings"
)

// A problem is what is wrong with a value of a config.
type problem struct{ text, hint string }

// Error implements error.
func (p *problem) Error() string {
	if p.hint == "" {
		return p.text
	}
	return p.text + "; " + p.hint
}

// nearHint suggests the known name that was probably meant, or lists them.
func nearHint(name string, known []string) string {
	limit := min(6, (len(name)+1)/3)
	best, bestDist := "", limit+1
	for _, k := range known {
		if d := editDistance(strings.ToLower(name), strings.ToLower(k)); d < bestDist {
			best, bestDist = k, d
		}
	}
	if best != "" {
		return "did you mean \"" + best + "\"?"
	}
	const listMax = 8
	if len(known) > listMax {
		return "want one such as " + strings.Join(known[:listMax], ", ")
	}
	return "want one of " + strings.Join(known, ", ")
}

// editDistance counts the bytes to insert, delete or replace to turn a into b.
func editDistance(a, b string) int {
	last, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = slices.Min([]int{last[j] + 1, row[j-1] + 1, last[j-1] + cost})
		}
		last, row = row, last
	}
	return last[len(b)]
}
