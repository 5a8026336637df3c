//go:build race

package server

// raceEnabled reports whether the race detector runs.
const raceEnabled = true
