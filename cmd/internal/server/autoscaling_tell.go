package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	"millrace/cmd/internal/admin"
	"millrace/upstream"
)

const (
	// webhookAnswerMax is how much of the answer of a webhook is read, so that its connection can be used again.
	webhookAnswerMax = 64 << 10
	// commandKillWait bounds how long a command that was killed keeps its output open.
	commandKillWait = time.Second
	// commandOutputMax is how much of what a command says is kept for the log.
	commandOutputMax = 1024
)

// autoscaleChange is what is told, as the JSON of a webhook.
type autoscaleChange struct {
	Cluster       string    `json:"cluster"`
	Wanted        uint32    `json:"wanted_hosts"`
	Before        uint32    `json:"previous_wanted_hosts"`
	Current       uint32    `json:"current_hosts"`
	Healthy       uint32    `json:"healthy_hosts"`
	Metric        string    `json:"metric"`
	Traffic       float64   `json:"traffic"`
	TargetPerHost float64   `json:"target_per_host"`
	MinHosts      uint32    `json:"min_hosts"`
	MaxHosts      uint32    `json:"max_hosts"`
	Time          time.Time `json:"time"`
}

func newAutoscaleChange(cluster string, before uint32, a *admin.Autoscaling) *autoscaleChange {
	return &autoscaleChange{
		Cluster: cluster, Wanted: a.Wanted, Before: before, Current: a.Current, Healthy: a.Healthy, Metric: a.Metric, Traffic: a.Traffic,
		TargetPerHost: a.TargetPerHost, MinHosts: a.MinHosts, MaxHosts: a.MaxHosts, Time: time.Now().UTC(),
	}
}

// env is the environment of a command: the facts, and nothing of that of the proxy, which may hold secrets.
func (c *autoscaleChange) env() []string {
	u := func(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
	f := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"MILLRACE_CLUSTER=" + c.Cluster, "MILLRACE_WANTED_HOSTS=" + u(c.Wanted), "MILLRACE_PREVIOUS_WANTED_HOSTS=" + u(c.Before),
		"MILLRACE_CURRENT_HOSTS=" + u(c.Current), "MILLRACE_HEALTHY_HOSTS=" + u(c.Healthy), "MILLRACE_METRIC=" + c.Metric,
		"MILLRACE_TRAFFIC=" + f(c.Traffic), "MILLRACE_TARGET_PER_HOST=" + f(c.TargetPerHost),
		"MILLRACE_MIN_HOSTS=" + u(c.MinHosts), "MILLRACE_MAX_HOSTS=" + u(c.MaxHosts),
	}
}

// autoscaleTeller tells of changes, one at a time. Of those that come meanwhile only the last is told.
type autoscaleTeller struct {
	config         *upstream.AutoscalingConfig
	stats          *autoscaleStats
	log            *slog.Logger
	client         http.Client
	hooks, started chan *autoscaleChange // one place each: what is told next
}

func newAutoscaleTeller(c *upstream.AutoscalingConfig, st *autoscaleStats, log *slog.Logger) *autoscaleTeller {
	return &autoscaleTeller{
		config: c, stats: st, log: log, hooks: make(chan *autoscaleChange, 1), started: make(chan *autoscaleChange, 1),
		client: http.Client{
			Transport:     &http.Transport{MaxIdleConns: 1, IdleConnTimeout: time.Minute},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // a POST that became a GET told nobody
		},
	}
}

// tell tells of a change, and returns at once. One goroutine calls it.
func (t *autoscaleTeller) tell(c *autoscaleChange) {
	for _, to := range []chan *autoscaleChange{t.hooks, t.started} {
		select {
		case <-to: // it is out of date
		default:
		}
		to <- c
	}
}

// run tells until ctx is done.
func (t *autoscaleTeller) run(ctx context.Context) {
	defer t.client.CloseIdleConnections()
	var both sync.WaitGroup
	both.Go(func() { t.each(ctx, t.hooks, t.post) })
	both.Go(func() { t.each(ctx, t.started, t.start) })
	both.Wait()
}

func (t *autoscaleTeller) each(ctx context.Context, from chan *autoscaleChange, f func(context.Context, *autoscaleChange)) {
	for {
		select {
		case c := <-from:
			f(ctx, c)
		case <-ctx.Done():
			return
		}
	}
}

// post posts a change, again until it is taken, until there is a newer one or until there have been enough tries.
func (t *autoscaleTeller) post(ctx context.Context, c *autoscaleChange) {
	w := t.config.Webhook
	if w == nil {
		return
	}
	body, err := json.Marshal(c)
	if err != nil {
		panic("BUG: server: " + err.Error()) // numbers and texts
	}
	wait := w.RetryBaseInterval
	for try := uint32(0); ; try++ {
		if err = t.postOnce(ctx, w, body); err == nil {
			t.stats.WebhookSuccess.Inc()
			return
		}
		if try == w.Retries || len(t.hooks) > 0 || ctx.Err() != nil {
			break
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		if len(t.hooks) > 0 {
			break
		}
		t.stats.WebhookRetry.Inc()
		wait = min(2*wait, w.RetryMaxInterval)
	}
	t.stats.WebhookFailure.Inc()
	t.log.Warn("the autoscaling webhook was not told", "wanted", c.Wanted, "error", err)
}

func (t *autoscaleTeller) postOnce(ctx context.Context, w *upstream.AutoscalingWebhook, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, w.Timeout)
	defer cancel()
	rq, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	rq.Header.Set("Content-Type", "application/json")
	rq.Header.Set("User-Agent", "millrace")
	resp, err := t.client.Do(rq)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, webhookAnswerMax) // the status is the answer
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("answered %s", resp.Status)
	}
	return nil
}

// start runs the command for a change and waits for its end.
func (t *autoscaleTeller) start(ctx context.Context, c *autoscaleChange) {
	cc := t.config.Command
	if cc == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, cc.Timeout)
	defer cancel()
	var said headBuffer
	cmd := exec.CommandContext(ctx, cc.Argv[0], cc.Argv[1:]...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = c.env(), "/", &said, &said, commandKillWait
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // what it has started too
	if err := cmd.Run(); err != nil {
		t.stats.CommandFailure.Inc()
		t.log.Warn("the autoscaling command failed", "command", cc.Argv[0], "wanted", c.Wanted, "error", err, "said", string(said.b))
		return
	}
	t.stats.CommandSuccess.Inc()
}

// headBuffer keeps the beginning of what is written to it.
type headBuffer struct{ b []byte }

func (h *headBuffer) Write(p []byte) (int, error) {
	h.b = append(h.b, p[:min(len(p), commandOutputMax-len(h.b))]...)
	return len(p), nil
}
