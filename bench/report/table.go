package report

import (
	"strings"
	"unicode/utf8"
)

// A Table is rows of cells under a head. The first column is aligned left, the others right.
type Table struct {
	Head []string
	Rows [][]string
}

// Add appends a row.
func (t *Table) Add(cells ...string) { t.Rows = append(t.Rows, cells) }

// Text renders the table for a terminal.
func (t Table) Text() string {
	widths := make([]int, len(t.Head))
	for _, row := range t.all() {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	var b strings.Builder
	for _, row := range t.all() {
		for i, c := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c))
			if i == 0 {
				b.WriteString(c + pad)
			} else {
				b.WriteString("  " + pad + c)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// Markdown renders the table for a document.
func (t Table) Markdown() string {
	var b strings.Builder
	for i, row := range t.all() {
		b.WriteString("| " + strings.Join(row, " | ") + " |\n")
		if i == 0 {
			b.WriteString("|---" + strings.Repeat("|---:", len(t.Head)-1) + "|\n")
		}
	}
	return b.String()
}

func (t Table) all() [][]string { return append([][]string{t.Head}, t.Rows...) }
