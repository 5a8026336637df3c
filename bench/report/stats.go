package report

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// resamples is how often the bootstrap draws. More changes the interval by less than its print.
const resamples = 2000

// A Spread is the middle of a set of figures and how far they lie apart.
type Spread struct {
	Median    float64 `json:"median"`
	Q1, Q3    float64 // the middle half
	Low, High float64 // 95 % interval of the median, by bootstrap
	Count     int
}

// SpreadOf summarizes figures. The bootstrap is seeded by nothing but their number, so a report can be made again.
func SpreadOf(figures []float64) Spread {
	if len(figures) == 0 {
		return Spread{Median: math.NaN(), Q1: math.NaN(), Q3: math.NaN(), Low: math.NaN(), High: math.NaN()}
	}
	sorted := slices.Sorted(slices.Values(figures))
	sp := Spread{Median: quantile(sorted, 0.5), Q1: quantile(sorted, 0.25), Q3: quantile(sorted, 0.75), Count: len(sorted)}
	rng := rand.New(rand.NewPCG(uint64(len(sorted)), 1))
	medians, draw := make([]float64, resamples), make([]float64, len(sorted))
	for i := range medians {
		for j := range draw {
			draw[j] = sorted[rng.IntN(len(sorted))]
		}
		slices.Sort(draw)
		medians[i] = quantile(draw, 0.5)
	}
	slices.Sort(medians)
	sp.Low, sp.High = quantile(medians, 0.025), quantile(medians, 0.975)
	return sp
}

// quantile interpolates between the two nearest figures.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

// Ratios divides two rows of figures round by round. A round in which either is missing (NaN) or the divisor is 0
// gives no pair.
func Ratios(a, b []float64) []float64 {
	var out []float64
	for i := range min(len(a), len(b)) {
		if !math.IsNaN(a[i]) && !math.IsNaN(b[i]) && b[i] != 0 {
			out = append(out, a[i]/b[i])
		}
	}
	return out
}

// Figure prints a number with three significant digits and no exponent.
func Figure(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "-"
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

// Range prints the middle half and the interval of a spread.
func (s Spread) Range() string {
	if s.Count < 2 {
		return "one round"
	}
	return fmt.Sprintf("%s–%s [%s–%s]", Figure(s.Q1), Figure(s.Q3), Figure(s.Low), Figure(s.High))
}
