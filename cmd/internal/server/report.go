package server

import (
	"context"
	"errors"
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
	st.Loads++
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

// Reload loads the file again, and reads the files of certificates again. A file that is refused changes nothing.
func (s *Server) Reload(ctx context.Context) admin.Report {
	var report admin.Report
	err := s.control.Do(ctx, func() error {
		report = s.reload()
		s.noteLoad(report)
		return nil
	})
	if err != nil {
		return admin.Report{Errors: []string{err.Error()}}
	}
	return report
}

func (s *Server) reload() admin.Report {
	cfg, warnings, err := s.load()
	unusable := s.reloadCertificates() // also if the file is refused: they are swapped by themselves as well
	var report admin.Report
	if err == nil {
		report, err = s.apply(cfg)
	}
	if err != nil {
		report = admin.Report{Errors: problems(err)}
		for _, line := range report.Errors {
			s.log.Error("reload", "error", line)
		}
		s.log.Error("reload refused, nothing changed", "errors", len(report.Errors))
		return report
	}
	report.Warnings = append(append(warnings, unusable...), s.restartNeeded(cfg)...)
	s.logReport(&report)
	return report
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
	s.log.Info("reloaded", "changes", len(r.Changes), "unchanged", r.Unchanged, "took", r.Took.String(), "hash", r.Hash)
	for _, w := range r.Warnings {
		s.log.Warn("reload", "warning", w)
	}
	for _, c := range r.Changes {
		s.log.Info("reload", "action", c.Action, "kind", c.Kind, "name", c.Name, "detail", c.Detail)
	}
}
