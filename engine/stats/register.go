package stats

// A Registrar makes a set of counters known under a scope. It returns the set to count in: the given
// one, or one of the same type that is known there already, so that what replaces a part of the
// configuration goes on with its counters.
type Registrar func(scope Scope, set any) any

// Register returns the set of type T of a scope. A nil Registrar gives a set nobody reads.
func Register[T any](r Registrar, scope Scope) *T {
	set := new(T)
	if r == nil {
		return set
	}
	return r(scope, set).(*T)
}
