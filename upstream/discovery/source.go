package discovery

import (
	"context"
	"log/slog"

	"millrace/engine/stats"
	"millrace/upstream"
)

// A Source finds the hosts of one cluster.
type Source interface {
	// Run finds hosts until ctx ends, and gives them to put each time they change. put is not called at the same time from
	// two goroutines, and not after Run.
	Run(ctx context.Context, put Put)
}

// Put takes what a source has found: all hosts of now, or why there are none to tell of. After an error those of before
// stay.
type Put func(hosts []upstream.HostConfig, err error)

// Stats counts what one source does, under cluster.<name>.
type Stats struct {
	Attempt   stats.Counter `stat:"update_attempt" help:"times hosts were looked for: a name resolved, or a file read"`
	Success   stats.Counter `stat:"update_success" help:"times they were found"`
	Failure   stats.Counter `stat:"update_failure" help:"times they were not, so that those of before stay"`
	Empty     stats.Counter `stat:"update_empty" help:"times there were none"`
	NoRebuild stats.Counter `stat:"update_no_rebuild" help:"times they were those of before"`
}

// Env is what a source needs of the process.
type Env struct {
	// Resolvers are shared by all sources.
	Resolvers *Resolvers
	// Stats is written by this source alone.
	Stats *Stats
	// Known are the hosts the cluster has so far.
	Known []upstream.HostConfig
	// Decode reads the text of a hosts file.
	Decode func(file string, text []byte) ([]upstream.HostConfig, error)
	// Answered is called once, when each name has been resolved, or the file read, with success or without; the hosts found by
	// then have been put. May be nil.
	Answered func()
	// Log hears of a source that begins to fail, and of one that works again.
	Log *slog.Logger
}

// answered calls Answered.
func (e *Env) answered() {
	if e.Answered != nil {
		e.Answered()
	}
}

// New returns the source of a cluster, nil for one whose hosts are listed.
//
// Precondition: cfg is valid.
func New(cfg *upstream.Config, env *Env) Source {
	switch cfg.Type {
	case upstream.StrictDNS, upstream.LogicalDNS:
		return newNames(cfg, env)
	case upstream.HostsFile:
		return &file{cluster: cfg.Name, path: cfg.HostsFile, env: env}
	}
	return nil
}

// health is whether a source works, for the log, which hears of changes only.
type health struct {
	failing bool
	log     *slog.Logger
	attrs   []any
}

// note takes an outcome.
func (h *health) note(err error) {
	switch {
	case err != nil && !h.failing:
		h.log.Warn("hosts cannot be found; those known so far stay", append(h.attrs[:len(h.attrs):len(h.attrs)], "error", err)...)
	case err == nil && h.failing:
		h.log.Info("hosts are found again", h.attrs...)
	}
	h.failing = err != nil
}
