package route

import "strings"

// arena keeps many short texts in few objects, so that the collector has few to
// mark and the decoded configuration is not kept alive by its strings.
type arena struct {
	chunk strings.Builder
	seen  map[string]string // short texts that repeat, such as header names
}

const (
	arenaChunk   = 64 << 10
	arenaSeenLen = 24   // longer texts rarely repeat
	arenaSeenMax = 4096 // texts remembered
)

func newArena() arena { return arena{seen: map[string]string{}} }

// str returns a copy of s that lies in the arena.
func (a *arena) str(s string) string {
	if s == "" {
		return ""
	}
	if t, ok := a.seen[s]; ok {
		return t
	}
	if a.chunk.Cap()-a.chunk.Len() < len(s) {
		a.chunk = strings.Builder{} // texts given out keep the old chunk alive
		a.chunk.Grow(max(arenaChunk, len(s)))
	}
	start := a.chunk.Len()
	a.chunk.WriteString(s)
	t := a.chunk.String()[start:]
	if len(s) <= arenaSeenLen && len(a.seen) < arenaSeenMax {
		a.seen[t] = t
	}
	return t
}
