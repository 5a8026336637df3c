package config

import (
	"slices"
	"strings"
)

// listMax is the most names a hint lists when none is near.
const listMax = 12

// nearHint suggests the known name that was probably meant, or lists them.
func nearHint(name string, known []string) string {
	if alias := aliasOf(name, known); alias != "" {
		return "it is called " + quote(alias) + " here"
	}
	if hint := laterHint(name); hint != "" {
		return hint + listHint("; want ", known, quote)
	}
	if near := nearest(name, known); near != "" {
		return "did you mean " + quote(near) + "?"
	}
	return listHint("want ", known, quote)
}

// listHint lists names after a lead, or says nothing if there are none.
func listHint(lead string, names []string, format func(string) string) string {
	if len(names) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString(lead)
	for i, n := range names {
		switch {
		case i == listMax:
			b.WriteString(", …")
			return b.String()
		case i > 0 && i == len(names)-1:
			b.WriteString(" or ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(format(n))
	}
	return b.String()
}

// nearest returns the known name that name was probably meant to be, or "".
// Short names must be nearer than long ones: every two-letter word is two
// edits from every other.
func nearest(name string, known []string) string {
	limit := min(2, (len(name)+1)/3)
	best, bestDist := "", limit+1
	lower := strings.ToLower(name)
	for _, k := range known {
		if abs(len(k)-len(name)) > limit {
			continue
		}
		if d := editDistance(lower, strings.ToLower(k)); d < bestDist {
			best, bestDist = k, d
		}
	}
	return best
}

func abs(n int) int { return max(n, -n) }

// editDistance counts the bytes to insert, delete, replace or swap with their
// neighbour to turn a into b.
func editDistance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
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
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
