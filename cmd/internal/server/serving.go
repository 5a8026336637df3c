package server

import (
	"fmt"
	"time"

	"millrace/cmd/internal/control"
	"millrace/filters"
	"millrace/filters/accesslog"
	"millrace/filters/l4"
)

// serving is one listener on one loop.
type serving struct {
	sets
	listener *control.Listener
	gate     *gate
	front    *l4.Listener      // nil for UDP
	filters  *listenerFilters  // nil for UDP
	chains   map[string]*chain // by control.Chain.Key; those that are in force
	// chainsLeft counts the chains that have not been released, retired ones too.
	chainsLeft int
	gone       bool      // replaced or removed
	until      time.Time // when connections in listener filters have to end; only valid if gone
}

// listenerFilters are the listener filters of a listener on one loop.
type listenerFilters struct {
	sets
	named []l4.Named
}

// newServing builds a listener, with all of its chains.
func (w *worker) newServing(l *control.Listener) (*serving, error) {
	sv := &serving{listener: l, chains: map[string]*chain{}}
	sv.gate = w.newGate(l, w.registrar(&sv.sets))
	err := w.buildServing(sv)
	if err != nil {
		w.discardServing(sv)
		return nil, err
	}
	return sv, nil
}

func (w *worker) buildServing(sv *serving) (err error) {
	for _, of := range sv.listener.AllChains() {
		if sv.chains[of.Key], err = w.newChain(sv, of); err != nil {
			delete(sv.chains, of.Key)
			return err
		}
	}
	if sv.listener.UDP {
		return nil
	}
	if sv.filters, err = w.newListenerFilters(sv, sv.listener); err != nil {
		return err
	}
	sv.front = l4.NewListener(w.frontOptions(sv))
	return nil
}

// newListenerFilters builds the listener filters that l lists.
func (w *worker) newListenerFilters(sv *serving, l *control.Listener) (*listenerFilters, error) {
	lf := &listenerFilters{}
	for i := range l.Filters {
		f := &l.Filters[i]
		spec := w.server.network[networkKey{filters.KindListener, f.Name}]
		built, err := spec.Build(f.Config, f.Shared, w.networkEnv(sv, &lf.sets, 2*i+1))
		if err != nil {
			w.releaseSets(&lf.sets)
			return nil, fmt.Errorf("listener filter %q: %w", f.Name, err)
		}
		lf.named = append(lf.named, l4.Named{Name: f.Name, Filter: built})
	}
	return lf, nil
}

// frontOptions returns what the listener does with new connections.
func (w *worker) frontOptions(sv *serving) l4.Options {
	l := sv.listener
	o := l4.Options{
		Loop: w.loop, Filters: sv.filters.named, Timeout: l.FilterTimeout, ContinueOnTimeout: l.ContinueOnTimeout,
		Table: l.Table, Gate: sv.gate, Stats: &sv.gate.stats.Stats,
	}
	if len(l.Logs) > 0 {
		o.Log = accesslog.NewLogger(l.Logs, w.loop.Index())
	}
	if l.UseOriginalDst {
		o.HandOff = w.where.find
	}
	for _, of := range l.Chains {
		o.Chains = append(o.Chains, sv.chains[of.Key].l4)
	}
	if l.Default != nil {
		o.Default = sv.chains[l.Default.Key].l4
	}
	return o
}

// discardServing gives back what a listener that never served holds.
func (w *worker) discardServing(sv *serving) {
	for _, ch := range sv.chains {
		w.releaseChain(ch)
	}
	w.releaseServing(sv)
}

// releaseServing gives back what a listener without chains holds.
func (w *worker) releaseServing(sv *serving) {
	if sv.filters != nil {
		w.releaseSets(&sv.filters.sets)
	}
	w.releaseSets(&sv.sets)
}

// pending returns the number of connections in listener filters.
func (sv *serving) pending() int {
	if sv.front == nil {
		return 0
	}
	return sv.front.Pending()
}

// drain asks all connections to end.
func (sv *serving) drain() {
	for _, ch := range sv.chains {
		ch.ends.Drain()
	}
}

// close ends all connections.
func (sv *serving) close() {
	if sv.front != nil {
		sv.front.Close()
	}
	for _, ch := range sv.chains {
		ch.ends.Close()
	}
}

// update is an update of a listener in place, made but not in force.
type update struct {
	chains  map[string]*chain // new ones, by key
	filters *listenerFilters  // nil if they stay
}

// newUpdate builds what differs of a listener.
func (w *worker) newUpdate(sv *serving, c *control.ListenerChange) (*update, error) {
	u := &update{chains: map[string]*chain{}}
	err := w.buildUpdate(u, sv, c)
	if err != nil {
		w.discardUpdate(u)
		return nil, err
	}
	return u, nil
}

func (w *worker) buildUpdate(u *update, sv *serving, c *control.ListenerChange) (err error) {
	for i := range c.Chains {
		if change := &c.Chains[i]; change.Builds() {
			ch, err := w.newChain(sv, change.New)
			if err != nil {
				return err
			}
			u.chains[change.New.Key] = ch
		}
	}
	if c.Old.FilterHash != c.New.FilterHash && !c.New.UDP {
		u.filters, err = w.newListenerFilters(sv, c.New)
	}
	return err
}

// discardUpdate undoes newUpdate.
func (w *worker) discardUpdate(u *update) {
	for _, ch := range u.chains {
		w.releaseChain(ch)
	}
	if u.filters != nil {
		w.releaseSets(&u.filters.sets)
	}
}

// commitUpdate puts an update into force. New connections get what is new; those that chains have go on, and
// those of chains that are gone drain.
func (w *worker) commitUpdate(u *update, c *control.ListenerChange, until time.Time) {
	sv := w.serving[c.New.Name]
	sv.listener = c.New
	sv.gate.limit = c.New.ConnectionLimit
	var gone []*chain
	for i := range c.Chains {
		change := &c.Chains[i]
		if change.Retires() {
			gone = append(gone, sv.chains[change.Old.Key])
			delete(sv.chains, change.Old.Key)
		}
		switch {
		case change.Builds():
			sv.chains[change.New.Key] = u.chains[change.New.Key]
		case change.Action == control.Changed:
			sv.chains[change.New.Key].setRoutes(change.New)
		}
	}
	if u.filters != nil {
		w.releaseSets(&sv.filters.sets)
		sv.filters = u.filters
	}
	if sv.front != nil {
		sv.front.Set(w.frontOptions(sv))
	}
	w.attach(sv)
	for _, ch := range gone {
		w.retire(ch, until)
	}
}

// setRoutes makes the chain route as of says.
func (ch *chain) setRoutes(of *control.Chain) {
	ch.of = of
	ch.manager.SetRoutes(of.Routes.Table, of.Routes.Formats)
}
