package route

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// checkRoutes reports routes that no request can reach, because an earlier one
// takes all that would come to them. Each problem names both places.
//
// An earlier route shadows a later one if its path is the same or wider and it has
// no other conditions, or if both matches are equal.
func checkRoutes(routes []RouteConfig, report reporter) {
	s := shadows{wide: map[shadowKey]int{}, same: map[shadowKey][]int{}, routes: routes}
	for i := range routes {
		m := &routes[i].Match
		if m.kinds() != 1 { // reported elsewhere
			continue
		}
		kind, text := m.kind()
		if first, why := s.find(m, kind, text); first >= 0 {
			path := fmt.Sprintf("routes[%d].match", i)
			if kind != pathConnect {
				path += "." + kind.String()
			}
			report(path, fmt.Sprintf("route is unreachable: routes[%d] %s %s", first, s.describe(first), why),
				fmt.Sprintf("put it before routes[%d], or remove it", first))
			continue
		}
		s.add(i, m, kind, text)
	}
}

// shadowKey is a path a route looks for. fold keys are lower case.
type shadowKey struct {
	text string
	kind pathKind
	fold bool
}

// shadows are the routes so far.
type shadows struct {
	routes []RouteConfig
	wide   map[shadowKey]int        // first route with this path and no other conditions
	same   map[shadowKey][]int      // routes with this path and other conditions, sameMax at most
	sizes  []int                    // lengths of the texts in wide, ascending
	kinds  [pathConnect + 1][2]bool // kinds in wide, and whether they fold: most tables have few
}

// sameMax bounds how many routes of one path are compared with each other.
const sameMax = 64

func newShadowKey(m *MatchConfig, kind pathKind, text string) shadowKey {
	if !m.CaseSensitive && kind < pathRegex {
		return shadowKey{strings.ToLower(text), kind, true}
	}
	return shadowKey{text, kind, false}
}

func (s *shadows) add(i int, m *MatchConfig, kind pathKind, text string) {
	key := newShadowKey(m, kind, text)
	if m.conditions() > 0 {
		if len(s.same[key]) < sameMax {
			s.same[key] = append(s.same[key], i)
		}
		return
	}
	s.wide[key] = i
	s.kinds[kind][index(key.fold)] = true
	if at, found := slices.BinarySearch(s.sizes, len(text)); !found && kind < pathRegex {
		s.sizes = slices.Insert(s.sizes, at, len(text))
	}
}

// find returns an earlier route that takes everything this match would, or -1.
func (s *shadows) find(m *MatchConfig, kind pathKind, text string) (int, string) {
	if first, ok := s.wide[newShadowKey(m, kind, text)]; ok {
		return first, "takes the same paths"
	}
	for _, first := range s.same[newShadowKey(m, kind, text)] {
		if reflect.DeepEqual(&s.routes[first].Match, m) {
			return first, "has the same match"
		}
	}
	if kind == pathConnect {
		return -1, ""
	}
	const wider = "takes all its paths"
	if kind == pathRegex { // of which only "/" is known to be wider
		return max(s.at(shadowKey{"/", pathPrefix, false}), s.at(shadowKey{"/", pathPrefix, true})), wider
	}
	for _, n := range s.sizes {
		if n > len(text) {
			break
		}
		if first := s.covering(text[:n], text[n:], kind, !m.CaseSensitive); first >= 0 {
			return first, wider
		}
	}
	return -1, ""
}

// covering returns a route for the text which takes all paths of a later one that
// begin with the text and go on with rest, or -1.
func (s *shadows) covering(text, rest string, kind pathKind, fold bool) int {
	if first := s.spelled(text, pathPrefix, fold); first >= 0 {
		return first
	}
	if rest != "" && rest[0] == '/' || rest == "" && kind != pathPrefix {
		if first := s.spelled(text, pathSeparated, fold); first >= 0 {
			return first
		}
	}
	if rest == "" && kind == pathExact {
		return s.spelled(text, pathExact, fold)
	}
	return -1
}

// spelled returns a route for the text that takes it in the spellings of a later one, which are all
// if fold, or -1.
func (s *shadows) spelled(text string, kind pathKind, fold bool) int {
	if s.kinds[kind][1] {
		if first := s.at(shadowKey{strings.ToLower(text), kind, true}); first >= 0 {
			return first
		}
	}
	if fold && strings.ToLower(text) != strings.ToUpper(text) {
		return -1
	}
	return s.at(shadowKey{text, kind, false})
}

func (s *shadows) at(key shadowKey) int {
	if s.kinds[key.kind][index(key.fold)] {
		if i, ok := s.wide[key]; ok {
			return i
		}
	}
	return -1
}

// index is the place of a yes or no in a pair.
func index(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// describe names a route in a message.
func (s *shadows) describe(i int) string {
	kind, text := s.routes[i].Match.kind()
	d := fmt.Sprintf("(%s %q)", kind, text)
	if kind == pathConnect {
		d = "(connect_matcher)"
	}
	if name := s.routes[i].Name; name != "" {
		d = fmt.Sprintf("%q ", name) + d
	}
	return d
}
