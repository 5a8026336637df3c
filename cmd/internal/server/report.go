package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"millrace/cmd/internal/admin"
	"millrace/cmd/internal/control"
)

// noteLoad remembers the outcome of a load for /config_status.
func (s *Server) noteLoad(r admin.Report) {
	s.statusMu.Lock()
	defer s.statusMu.Unlock()
	st := &s.status
	st.Path = s.opt.ConfigPath
	if st.Loads++; r.Dropped {
		return // what came instead says how it went
	}
	if st.Loads > 1 {
		st.LastAttempt = time.Now()
	}
	st.Last = r
	if !r.Applied {
		st.Refusals++
		s.rejected.Store(true)
		return
	}
	s.rejected.Store(false)
	st.Hash, st.LoadedAt = r.Hash, s.snapshot.Load().LoadedAt
}

// Reload loads the file again, and reads the files of certificates again. A file that is refused changes nothing. It returns
// when the file is in force, that is after new clusters have been warmed, or when it has been refused.
func (s *Server) Reload(ctx context.Context) admin.Report {
	reports := make(chan admin.Report, 1)
	err := s.control.Do(ctx, func() error { s.reload(reports); return nil })
	if err == nil {
		select {
		case r := <-reports:
			return r
		case <-ctx.Done():
			err = fmt.Errorf("the new configuration waits for its clusters: %w", ctx.Err())
		}
	}
	return admin.Report{Errors: []string{err.Error()}}
}

// reload loads the file again. What has come of it goes to reports.
func (s *Server) reload(reports chan<- admin.Report) {
	cfg, warnings, err := s.load()
	warnings = append(warnings, s.reloadCertificates()...) // also if the file is refused: they are swapped by themselves as well
	done := func(report admin.Report, err error) {
		if err != nil {
			report.Errors = problems(err)
			s.logRefused(&report)
		} else {
			report.Warnings = slices.Concat(warnings, report.Warnings, s.restartNeeded(cfg))
			s.logReport(&report)
		}
		s.noteLoad(report)
		reports <- report
	}
	if err != nil {
		done(admin.Report{}, err)
		return
	}
	s.apply(cfg, done)
}

func (s *Server) logRefused(r *admin.Report) {
	if r.Dropped {
		s.log.Info("reload dropped", "why", r.Errors[0])
		return
	}
	for _, line := range r.Errors {
		s.log.Error("reload", "error", line)
	}
	s.log.Error("reload refused, nothing changed", "errors", len(r.Errors))
}

// problems returns the lines of an error.
func problems(err error) (lines []string) {
	var refused *ErrRefused
	if errors.As(err, &refused) {
		for _, e := range refused.Errors {
			lines = append(lines, e.Error())
		}
		return lines
	}
	return strings.Split(err.Error(), "\n")
}

// newReport tells what a diff did.
func newReport(next *control.Snapshot, d *control.Diff, took time.Duration) admin.Report {
	r := admin.Report{Applied: true, Hash: hashText(next.Hash), Took: took, Unchanged: d.Unchanged}
	for i := range d.Clusters {
		change, cluster := &d.Clusters[i], d.Clusters[i].New
		if cluster == nil {
			cluster = change.Old
		}
		r.Changes = append(r.Changes, admin.Change{Action: change.Action.String(), Kind: "cluster", Name: cluster.Name, Detail: change.Detail()})
	}
	for i := range d.Listeners {
		r.Changes = append(r.Changes, listenerChanges(&d.Listeners[i])...)
	}
	return r
}

// listenerChanges tells what differs of a listener: in one line, or of one that stays in a line for each filter chain.
func listenerChanges(c *control.ListenerChange) (list []admin.Change) {
	l := c.New
	if l == nil {
		l = c.Old
	}
	if !c.InPlace() {
		return []admin.Change{{Action: c.Action.String(), Kind: "listener", Name: l.Name, Detail: c.Detail()}}
	}
	if c.Front {
		list = append(list, admin.Change{Action: c.Action.String(), Kind: "listener", Name: l.Name, Detail: "settings"})
	}
	for i := range c.Chains {
		change := &c.Chains[i]
		kind, name := "filter_chain", l.Name
		if change.Action == control.Changed && !change.Builds() {
			kind = "route_table"
		}
		if title := change.Title(); title != "" {
			name += " " + title
		}
		list = append(list, admin.Change{Action: change.Action.String(), Kind: kind, Name: name, Detail: change.Detail()})
	}
	return list
}

func (s *Server) logReport(r *admin.Report) {
	s.log.Info("reloaded", "changes", len(r.Changes), "unchanged", r.Unchanged, "took", r.Took.String(), "warmed", r.Warmed, "warmed_for", r.WarmedFor.Round(time.Microsecond).String(), "hash", r.Hash)
	for _, w := range r.Warnings {
		s.log.Warn("reload", "warning", w)
	}
	for _, c := range r.Changes {
		s.log.Info("reload", "action", c.Action, "kind", c.Kind, "name", c.Name, "detail", c.Detail)
	}
}
