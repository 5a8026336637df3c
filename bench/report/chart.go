package report

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// A Bar is one line of a chart: parts laid end to end, such as user and system time.
type Bar struct {
	Label string
	Parts []float64
}

// A Chart is a set of horizontal bars in groups, one group for each scenario.
type Chart struct {
	Title  string
	Unit   string
	Parts  []string // the legend, one name for each part of a bar
	Groups []Group
}

// A Group is the bars of one scenario. Each group has a scale of its own, since scenarios differ by orders.
type Group struct {
	Title string
	Bars  []Bar
}

const (
	chartWidth  = 720
	barLeft     = 110 // where bars begin; labels are left of it
	barRight    = 90  // kept free for the figure
	barHeight   = 18
	barGap      = 6
	groupGap    = 14
	titleHeight = 26
)

var partColors = [...]string{"#3b6ea5", "#9fc1e0", "#d9822b", "#f2c48d"}

// SVG renders the chart. Colors hold on light and dark pages; text takes the page's color where it can.
func (c Chart) SVG() string {
	var b strings.Builder
	y := titleHeight
	fmt.Fprintf(&b, "<text x=\"0\" y=\"16\" class=\"t\">%s</text>\n", html.EscapeString(c.Title))
	if len(c.Parts) > 1 {
		y = c.legend(&b, y)
	}
	for _, g := range c.Groups {
		y = c.group(&b, g, y)
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label=%q>
<style>text{font:13px system-ui,sans-serif;fill:#24292f}.t{font-weight:600;font-size:15px}.g{font-weight:600}.e{text-anchor:end}@media(prefers-color-scheme:dark){text{fill:#d0d7de}}</style>
`, chartWidth, y, chartWidth, y, html.EscapeString(c.Title)) + b.String() + "</svg>\n"
}

func (c Chart) legend(b *strings.Builder, y int) int {
	x := 0
	for i, name := range c.Parts {
		fmt.Fprintf(b, "<rect x=\"%d\" y=\"%d\" width=\"12\" height=\"12\" fill=\"%s\"/><text x=\"%d\" y=\"%d\">%s</text>\n",
			x, y, partColors[i%len(partColors)], x+18, y+11, html.EscapeString(name))
		x += 40 + 8*len(name)
	}
	return y + 24
}

func (c Chart) group(b *strings.Builder, g Group, y int) int {
	longest := 0.0
	for _, bar := range g.Bars {
		longest = math.Max(longest, total(bar))
	}
	fmt.Fprintf(b, "<text x=\"0\" y=\"%d\" class=\"g\">%s</text>\n", y+13, html.EscapeString(g.Title))
	y += 22
	for _, bar := range g.Bars {
		fmt.Fprintf(b, "<text x=\"%d\" y=\"%d\" class=\"e\">%s</text>", barLeft-8, y+13, html.EscapeString(bar.Label))
		x := float64(barLeft)
		for i, v := range bar.Parts {
			w := 0.0
			if longest > 0 {
				w = v / longest * (chartWidth - barLeft - barRight)
			}
			fmt.Fprintf(b, "<rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>", x, y, w, barHeight, partColors[i%len(partColors)])
			x += w
		}
		fmt.Fprintf(b, "<text x=\"%.1f\" y=\"%d\">%s %s</text>\n", x+6, y+13, Figure(total(bar)), html.EscapeString(c.Unit))
		y += barHeight + barGap
	}
	return y + groupGap
}

func total(b Bar) float64 {
	sum := 0.0
	for _, v := range b.Parts {
		sum += v
	}
	return sum
}
