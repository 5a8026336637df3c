package report

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestSpreadOf(t *testing.T) {
	t.Parallel()
	got := SpreadOf([]float64{5, 1, 4, 2, 3})
	if got.Median != 3 || got.Q1 != 2 || got.Q3 != 4 || got.Count != 5 {
		t.Errorf("SpreadOf(1..5) = %+v; want 3, 2 and 4 of 5", got)
	}
	if one := SpreadOf([]float64{7}); one.Median != 7 || one.Low != 7 || one.High != 7 || one.Range() != "one round" {
		t.Errorf("SpreadOf(7) = %+v", one)
	}
	if none := SpreadOf(nil); !math.IsNaN(none.Median) || none.Count != 0 {
		t.Errorf("SpreadOf(nil) = %+v; want NaN", none)
	}
	if got.Range() != "2.00–4.00 [1.00–5.00]" {
		t.Errorf("Range = %q", got.Range())
	}
}

func TestSpreadIsOrdered(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.SliceOfN(rapid.Float64Range(0.1, 10), 1, 12).Draw(t, "figures")
		before := slices.Clone(in)
		s := SpreadOf(in)
		if !slices.Equal(in, before) {
			t.Fatal("SpreadOf changed its argument")
		}
		lo, hi := slices.Min(in), slices.Max(in)
		row := []float64{lo, s.Low, s.Median, s.High, hi}
		if !slices.IsSorted(row) || s.Q1 > s.Median || s.Median > s.Q3 {
			t.Fatalf("SpreadOf(%v) = %+v is out of order", in, s)
		}
		if SpreadOf(in) != s {
			t.Fatal("SpreadOf differs from one call to the next")
		}
	})
}

func TestRatios(t *testing.T) {
	t.Parallel()
	nan := math.NaN()
	for _, tt := range []struct{ a, b, want []float64 }{
		{[]float64{1, 2, 3}, []float64{2, 2, 2}, []float64{0.5, 1, 1.5}},
		{[]float64{1, nan, 3}, []float64{2, 2, nan}, []float64{0.5}},
		{[]float64{1, 2}, []float64{0, 4, 5}, []float64{0.5}},
		{nil, []float64{1}, nil},
	} {
		if got := Ratios(tt.a, tt.b); !slices.Equal(got, tt.want) {
			t.Errorf("Ratios(%v, %v) = %v, want %v", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestFigure(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in   float64
		want string
	}{
		{0.123, "0.12"}, {9.876, "9.88"}, {12.34, "12.3"}, {1234.5, "1234"}, {math.NaN(), "-"}, {0, "0.00"},
	} {
		if got := Figure(tt.in); got != tt.want {
			t.Errorf("Figure(%v) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	tb := Table{Head: []string{"name", "µs"}}
	tb.Add("floor", "7.1")
	tb.Add("x", "10.3")
	if want := "name     µs\nfloor   7.1\nx      10.3\n"; tb.Text() != want {
		t.Errorf("Text = %q, want %q", tb.Text(), want)
	}
	if want := "| name | µs |\n|---|---:|\n| floor | 7.1 |\n| x | 10.3 |\n"; tb.Markdown() != want {
		t.Errorf("Markdown = %q, want %q", tb.Markdown(), want)
	}
}

func TestChartIsXML(t *testing.T) {
	t.Parallel()
	c := Chart{
		Title: `CPU <per> "request"`, Unit: "µs", Parts: []string{"user", "system"},
		Groups: []Group{
			{Title: "a & b", Bars: []Bar{{"nginx", []float64{2, 8}}, {"floor", []float64{0, 5}}}},
			{Title: "empty", Bars: []Bar{{"x", []float64{0, 0}}}},
		},
	}
	svg := c.SVG()
	dec := xml.NewDecoder(strings.NewReader(svg))
	rects := 0
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("SVG is not XML: %v\n%s", err, svg)
		}
		if el, ok := tok.(xml.StartElement); ok && el.Name.Local == "rect" {
			rects++
		}
	}
	if rects != 2+6 {
		t.Errorf("SVG has %d rectangles, want 2 of the legend and 6 of the bars", rects)
	}
	// The longest bar fills the space between the labels and the figures; the other is half of it.
	for _, want := range []string{`width="416.0"`, `width="260.0"`, "10.0 µs", "5.00 µs"} {
		if !strings.Contains(svg, want) {
			t.Errorf("SVG lacks %s:\n%s", want, svg)
		}
	}
	if strings.Contains(svg, "NaN") {
		t.Error("SVG has NaN")
	}
}
