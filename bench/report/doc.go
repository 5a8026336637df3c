// Package report turns the figures of a benchmark into ratios, tables and charts.
//
// Rounds are compared in pairs: the figure of one peer in a round over that of another in the same round, which takes
// the slow drift of a shared machine out. A ratio is reported as the median of its pairs, with the middle half of them
// and a bootstrap interval of the median. Everything here is pure: figures in, text out.
package report
