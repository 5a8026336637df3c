package admin

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// ready is /ready.
func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	state := s.deps.State()
	w.Header().Set("Content-Type", textType)
	if state != StateLive {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = w.Write([]byte(state + "\n"))
}

// serverInfo is /server_info, the JSON of envoy.admin.v3.ServerInfo.
func (s *Server) serverInfo(w http.ResponseWriter, r *http.Request) {
	info := s.deps.Info()
	now := time.Now()
	first := info.FirstStarted
	if first.IsZero() {
		first = info.Started
	}
	j := newJSON(w, r, indented)
	defer j.done()
	j.object("")
	j.str("version", info.Version)
	j.optional("commit", info.Commit)
	j.str("state", string(s.deps.State()))
	j.str("uptime_current_epoch", seconds(now.Sub(info.Started)))
	j.str("uptime_all_epochs", seconds(now.Sub(first)))
	j.object("command_line_options")
	j.str("config_path", info.ConfigPath)
	j.int("concurrency", int64(info.Concurrency))
	j.int("restart_epoch", int64(info.RestartEpoch))
	j.str("drain_time", seconds(info.DrainTime))
	j.strings("arguments", info.CommandLine)
	j.end()
	j.node(&info.Node)
	j.end()
}

func (j *jsonPage) node(n *Node) {
	j.object("node")
	j.str("id", n.ID)
	j.str("cluster", n.Cluster)
	j.object("locality")
	j.optional("region", n.Region)
	j.optional("zone", n.Zone)
	j.optional("sub_zone", n.SubZone)
	j.end()
	j.end()
}

// seconds formats d as protobuf's JSON does, in whole seconds.
func seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) + "s" }

// answer writes OK, or 500 and the error.
func answer(w http.ResponseWriter, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writeText(w, "OK\n")
}

func (s *Server) healthFail(w http.ResponseWriter, _ *http.Request) {
	s.deps.SetHealthy(false)
	answer(w, nil)
}

func (s *Server) healthOK(w http.ResponseWriter, _ *http.Request) {
	s.deps.SetHealthy(true)
	answer(w, nil)
}

func (s *Server) reopenLogs(w http.ResponseWriter, _ *http.Request) {
	answer(w, s.deps.ReopenLogs())
}

func (s *Server) resetCounters(w http.ResponseWriter, _ *http.Request) {
	s.deps.Stats.ResetCounters()
	answer(w, nil)
}

// drain is /drain_listeners.
func (s *Server) drain(w http.ResponseWriter, r *http.Request) {
	o := DrainOptions{Graceful: isSet(r, "graceful"), SkipExit: isSet(r, "skip_exit"), InboundOnly: isSet(r, "inboundonly")}
	if o.SkipExit && !o.Graceful {
		http.Error(w, "parameter skip_exit needs graceful", http.StatusBadRequest)
		return
	}
	answer(w, s.deps.Drain(o))
}

// quit is /quitquitquit. The answer is on its way before the process begins to end.
func (s *Server) quit(w http.ResponseWriter, _ *http.Request) {
	answer(w, nil)
	_ = http.NewResponseController(w).Flush() // a peer that is gone must not keep us alive
	s.deps.Quit()
}

// logging is /logging: without a parameter it tells the level.
func (s *Server) logging(w http.ResponseWriter, r *http.Request) {
	if level := choice(r, "level", ""); level != "" {
		if level == "warning" { // Envoy's word
			level = "warn"
		}
		if s.deps.SetLogLevel == nil {
			http.Error(w, "the log level cannot be changed", http.StatusNotImplemented)
			return
		}
		if err := s.deps.SetLogLevel(level); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	writeText(w, fmt.Sprintf("active loggers:\n  all: %s\n", s.deps.LogLevel()))
}
