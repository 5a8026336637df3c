package server

import (
	"reflect"

	"millrace/cmd/internal/control"
	"millrace/engine/stats"
	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/upstream"
)

// sharedEnv returns what a filter may use when it makes what its loops have in common; held lets go of it.
func (b *building) sharedEnv(held *control.Resources) *filters.SharedEnv {
	s := b.server
	return &filters.SharedEnv{
		ClusterID: func(name string) (upstream.ClusterID, bool) {
			c := b.next.Cluster(name)
			if c == nil {
				return 0, false
			}
			return c.ID, true
		},
		ClusterStatName: func(name string) string {
			if c := b.next.Cluster(name); c != nil {
				return c.Config.StatName()
			}
			return name
		},
		OpenLog: func(cfg *accesslog.Config) (*accesslog.Log, error) { return s.logs.Open(cfg) },
		Watch:   b.watch,
		Once:    func(key string, made func() any) any { return s.common(key, made, held) },
		Stats:   func(scope stats.Scope, set any) any { return s.registerShared(scope, set, held) },
		Log:     s.log,
	}
}

// kept is a value of the control side and how many parts of snapshots use it.
type kept struct {
	value any
	users int
}

// common is filters.SharedEnv.Once.
func (s *Server) common(key string, made func() any, held *control.Resources) any {
	k := s.once[key]
	if k == nil {
		k = &kept{value: made()}
		s.once[key] = k
	}
	k.users++
	held.Forget = append(held.Forget, func() {
		if k.users--; k.users == 0 {
			delete(s.once, key)
		}
	})
	return k.value
}

// registerShared returns the set of counters that no loop owns and that is known by its prefix and type, or makes this
// one known.
func (s *Server) registerShared(scope stats.Scope, set any, held *control.Resources) any {
	key := setKey{scope.Prefix, reflect.TypeOf(set)}
	k := s.sharedSets[key]
	if k == nil {
		k = &kept{value: set}
		s.sharedSets[key] = k
		s.registry.Add(scope, set)
	}
	k.users++
	held.Forget = append(held.Forget, func() {
		if k.users--; k.users == 0 {
			delete(s.sharedSets, key)
			s.registry.Remove(scope, k.value)
		}
	})
	return k.value
}
