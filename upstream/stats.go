package upstream

import (
	"slices"

	"millrace/codec"
	"millrace/engine/stats"
)

// ClusterStats counts one cluster on one loop, under cluster.<name>. The loop writes, admin
// reads. upstream/pool keeps what concerns connections and waiting; the router keeps what concerns responses,
// timeouts and retries.
type ClusterStats struct {
	CxTotal               stats.Counter `stat:"upstream_cx_total" help:"connections opened, or tried"`
	CxActive              stats.Gauge   `stat:"upstream_cx_active" help:"connections open or opening"`
	BindErrors            stats.Counter `stat:"bind_errors" help:"connections whose source address could not be had"`
	CxPreconnect          stats.Counter `stat:"upstream_cx_preconnect" help:"connections opened, or tried, before there was a request for them"`
	CxHTTP1Total          stats.Counter `stat:"upstream_cx_http1_total" help:"HTTP/1.1 connections opened, or tried"`
	CxHTTP2Total          stats.Counter `stat:"upstream_cx_http2_total" help:"HTTP/2 connections opened, or tried"`
	CxCloseNotify         stats.Counter `stat:"upstream_cx_close_notify" help:"HTTP/2 connections on which the host asked for no more requests"`
	CxConnectFail         stats.Counter `stat:"upstream_cx_connect_fail" help:"connections that did not open, timeouts included"`
	CxConnectTimeout      stats.Counter `stat:"upstream_cx_connect_timeout" help:"connections not open after connect_timeout"`
	CxIdleTimeout         stats.Counter `stat:"upstream_cx_idle_timeout" help:"connections closed after idle_timeout"`
	CxMaxDuration         stats.Counter `stat:"upstream_cx_max_duration_reached" help:"connections closed at max_connection_duration"`
	CxOverflow            stats.Counter `stat:"upstream_cx_overflow" help:"connections wanted beyond max_connections"`
	CxDestroy             stats.Counter `stat:"upstream_cx_destroy" help:"connections gone"`
	CxDestroyLocal        stats.Counter `stat:"upstream_cx_destroy_local" help:"connections closed by us"`
	CxDestroyRemote       stats.Counter `stat:"upstream_cx_destroy_remote" help:"connections closed by the host"`
	CxDestroyActive       stats.Counter `stat:"upstream_cx_destroy_with_active_rq" help:"connections gone during a request"`
	CxDestroyLocalActive  stats.Counter `stat:"upstream_cx_destroy_local_with_active_rq" help:"connections closed by us during a request"`
	CxDestroyRemoteActive stats.Counter `stat:"upstream_cx_destroy_remote_with_active_rq" help:"connections closed by the host during a request"`
	CxProtocolError       stats.Counter `stat:"upstream_cx_protocol_error" help:"connections closed because of what the host sent"`
	// Broken says which rule it was, by the name of the access log's detail.
	Broken        stats.Enum[codec.Reason] `stat:"upstream_cx_protocol_error." help:"connections closed because the host broke this rule"`
	CxMaxRequests stats.Counter            `stat:"upstream_cx_max_requests" help:"connections closed at max_requests_per_connection"`
	CxTaken       stats.Counter            `stat:"upstream_cx_taken" help:"idle connections of another loop that were taken over instead of opening one"`
	CxGiven       stats.Counter            `stat:"upstream_cx_given" help:"idle connections given to another loop"`
	CxTakeRefused stats.Counter            `stat:"upstream_cx_take_refused" help:"times another loop was asked for an idle connection and had none to spare, or did not answer in time"`
	CxTakeLost    stats.Counter            `stat:"upstream_cx_take_lost" help:"connections of another loop closed on the way, since the config had changed or the loop was full"`
	// CxAttemptsExceeded is kept by tcp_proxy.
	CxAttemptsExceeded stats.Counter `stat:"upstream_cx_connect_attempts_exceeded" help:"connections given up after max_connect_attempts"`
	CxPoolOverflow     stats.Counter `stat:"upstream_cx_pool_overflow" help:"requests refused since their host has connections for too many names (auto_sni)"`
	CxNoneHealthy      stats.Counter `stat:"upstream_cx_none_healthy" help:"requests for which there was no host"`
	CxRxBytes          stats.Counter `stat:"upstream_cx_rx_bytes_total" help:"bytes received"`
	CxTxBytes          stats.Counter `stat:"upstream_cx_tx_bytes_total" help:"bytes sent"`

	CxConnectMs stats.Histogram `stat:"upstream_cx_connect_ms" unit:"us" help:"time to open a connection"`
	CxLengthMs  stats.Histogram `stat:"upstream_cx_length_ms" unit:"us" help:"life of a connection"`

	RqPerCx stats.Histogram `stat:"upstream_rq_per_cx" help:"requests that a connection carried"`

	RqTotal               stats.Counter `stat:"upstream_rq_total" help:"requests that got a connection"`
	RqActive              stats.Gauge   `stat:"upstream_rq_active" help:"requests on a connection"`
	RqPendingTotal        stats.Counter `stat:"upstream_rq_pending_total" help:"requests that had to wait for a connection"`
	RqPendingActive       stats.Gauge   `stat:"upstream_rq_pending_active" help:"requests waiting for a connection"`
	RqPendingOverflow     stats.Counter `stat:"upstream_rq_pending_overflow" help:"requests refused at max_pending_requests or max_requests"`
	RqPendingTimeout      stats.Counter `stat:"upstream_rq_pending_timeout" help:"requests that had no connection after max_pending_duration"`
	RqPendingFailureEject stats.Counter `stat:"upstream_rq_pending_failure_eject" help:"waiting requests failed by a connection that did not open"`
	RqCancelled           stats.Counter `stat:"upstream_rq_cancelled" help:"requests given up while waiting for a connection"`
	RqTimeout             stats.Counter `stat:"upstream_rq_timeout" help:"requests without a response in time"`
	RqPerTryTimeout       stats.Counter `stat:"upstream_rq_per_try_timeout" help:"tries without a response in time"`
	RqPerTryIdleTimeout   stats.Counter `stat:"upstream_rq_per_try_idle_timeout" help:"tries of which nothing came for per_try_idle_timeout"`
	RqRxReset             stats.Counter `stat:"upstream_rq_rx_reset" help:"requests ended by the host"`
	RqTxReset             stats.Counter `stat:"upstream_rq_tx_reset" help:"requests ended by us"`
	RqRetry               stats.Counter `stat:"upstream_rq_retry" help:"retries"`
	RqRetrySuccess        stats.Counter `stat:"upstream_rq_retry_success" help:"retries that brought a good response"`
	RqRetryOverflow       stats.Counter `stat:"upstream_rq_retry_overflow" help:"retries refused at max_retries"`
	RqRetryLimit          stats.Counter `stat:"upstream_rq_retry_limit_exceeded" help:"requests that failed with no retry left"`
	RqRetryBackoff        stats.Counter `stat:"upstream_rq_retry_backoff_exponential" help:"retries after an exponential wait"`
	RqRetryRateLimited    stats.Counter `stat:"upstream_rq_retry_backoff_ratelimited" help:"retries after a wait that the response has asked for"`
	RqRetryStale          stats.Counter `stat:"upstream_rq_retry_stale" help:"requests sent again, free of charge, since the host had closed the kept connection"`

	RqRetryRefused stats.Counter `stat:"upstream_rq_retry_refused" help:"requests sent again, free of charge, since the host had not processed them"`
	GRPCSuccess    stats.Counter `stat:"grpc.success" help:"responses to gRPC requests with status 0"`
	GRPCFailure    stats.Counter `stat:"grpc.failure" help:"responses to gRPC requests with another status, or none"`

	RetryAbandoned stats.Counter `stat:"retry_or_shadow_abandoned" help:"bodies too large to be kept for another try"`

	RqTime stats.Histogram `stat:"upstream_rq_time" unit:"us" help:"request sent to response complete"`
	Codes  stats.Codes     `stat:"upstream_rq_" help:"responses by status code"`
	// Internal and external requests each once more. Not every cluster has both.
	InternalRqTime stats.Histogram `stat:"internal.upstream_rq_time" unit:"us" help:"request sent to response complete, of internal requests"`
	InternalCodes  stats.Codes     `stat:"internal.upstream_rq_" help:"responses to internal requests by status code"`
	ExternalRqTime stats.Histogram `stat:"external.upstream_rq_time" unit:"us" help:"request sent to response complete, of external requests"`
	ExternalCodes  stats.Codes     `stat:"external.upstream_rq_" help:"responses to external requests by status code"`

	RetryCodes stats.Codes `stat:"retry.upstream_rq_" help:"responses given up for a retry, by status code"`

	FlowPaused   stats.Counter `stat:"upstream_flow_control_paused_reading_total" help:"reading from the host was paused"`
	FlowResumed  stats.Counter `stat:"upstream_flow_control_resumed_reading_total" help:"reading from the host went on"`
	FlowBackedUp stats.Counter `stat:"upstream_flow_control_backed_up_total" help:"the host took less than was sent"`
	FlowDrained  stats.Counter `stat:"upstream_flow_control_drained_total" help:"the host caught up"`

	// Of HTTP/2 connections.
	H2StreamsActive   stats.Gauge   `stat:"http2.streams_active" help:"streams open"`
	H2PendingBytes    stats.Gauge   `stat:"http2.pending_send_bytes" help:"bytes of requests that wait for a window of the host"`
	H2RxReset         stats.Counter `stat:"http2.rx_reset" help:"streams reset by the host"`
	H2TxReset         stats.Counter `stat:"http2.tx_reset" help:"streams reset by us"`
	H2Refused         stats.Counter `stat:"http2.stream_refused_errors" help:"streams the host did not process: refused, or above the last of a GOAWAY"`
	H2RxMessaging     stats.Counter `stat:"http2.rx_messaging_error" help:"streams ended since the host broke the protocol in them"`
	H2HeaderOverflow  stats.Counter `stat:"http2.header_overflow" help:"heads and trailers beyond the limits"`
	H2Trailers        stats.Counter `stat:"http2.trailers" help:"responses with trailers"`
	H2GoAwaySent      stats.Counter `stat:"http2.goaway_sent" help:"GOAWAY frames sent"`
	H2Keepalive       stats.Counter `stat:"http2.keepalive_timeout" help:"connections closed since a PING got no answer"`
	H2SettingsTimeout stats.Counter `stat:"http2.settings_timeout" help:"connections closed since SETTINGS were not acknowledged"`
	H2EmptyFlood      stats.Counter `stat:"http2.inbound_empty_frames_flood" help:"connections closed at max_consecutive_inbound_frames_with_empty_payload"`
	H2ControlFlood    stats.Counter `stat:"http2.inbound_control_frames_flood" help:"connections closed at max_inbound_control_frames"`
	H2ResetFlood      stats.Counter `stat:"http2.inbound_reset_flood" help:"connections closed at max_inbound_resets"`
	H2PausedFull      stats.Counter `stat:"http2.paused_response_full" help:"pieces of paused responses that hold up the others at max_paused_response_bytes"`
	H2OutboundFlood   stats.Counter `stat:"http2.outbound_control_flood" help:"connections closed since the host did not take the answers to its frames"`

	// Of clusters of type "original_dst".
	OriginalDstInvalid  stats.Counter `stat:"original_dst_host_invalid" help:"requests whose field names no host (use_http_header of original_dst_lb_config)"`
	OriginalDstOverflow stats.Counter `stat:"original_dst_host_overflow" help:"requests and connections refused at max_hosts of original_dst_lb_config"`

	// How the hosts for a pick were chosen: see [Choice].
	HealthyPanic    stats.Counter `stat:"lb_healthy_panic" help:"picks among all hosts since too few were healthy"`
	ZoneDirect      stats.Counter `stat:"lb_zone_routing_all_directly" help:"picks in the own zone, which can take all requests of its proxies"`
	ZoneSampled     stats.Counter `stat:"lb_zone_routing_sampled" help:"picks in the own zone, which can take a part of the requests of its proxies"`
	ZoneCross       stats.Counter `stat:"lb_zone_routing_cross_zone" help:"picks in other zones, since the own one cannot take all"`
	ZoneFull        stats.Counter `stat:"lb_zone_no_capacity_left" help:"picks in any zone, since rounding left no room in the others"`
	LocalNotOK      stats.Counter `stat:"lb_local_cluster_not_ok" help:"zones did not count: the local cluster panics (picks), or has no host in the zone of this proxy (rebuilds)"`
	ZoneTooSmall    stats.Counter `stat:"lb_zone_cluster_too_small" help:"rebuilds after which zones did not count, since fewer than min_cluster_size hosts were healthy"`
	SubsetsSelected stats.Counter `stat:"lb_subsets_selected" help:"picks in the subset that the request demands"`
	SubsetsFallback stats.Counter `stat:"lb_subsets_fallback" help:"picks by the fallback policy, for lack of a subset"`
	SubsetsPanic    stats.Counter `stat:"lb_subsets_fallback_panic" help:"of those, picks among all hosts because the default subset is empty"`
	// ZonesReckoned counts the sets that a loop has taken up.
	ZonesReckoned stats.Counter `stat:"lb_recalculate_zone_structures" help:"rebuilds of what zone-aware routing goes by"`
}

// MembershipStats counts the hosts of one cluster, under cluster.<name>. The control goroutine
// keeps one for each cluster: as a sum over loops it would count each host several times.
type MembershipStats struct {
	Total     stats.Gauge   `stat:"membership_total" help:"hosts"`
	Healthy   stats.Gauge   `stat:"membership_healthy" help:"healthy hosts"`
	Degraded  stats.Gauge   `stat:"membership_degraded" help:"hosts that are used when the healthy ones are too few"`
	Excluded  stats.Gauge   `stat:"membership_excluded" help:"hosts that do not count in what share is healthy: before their first check, or failed at once"`
	Change    stats.Counter `stat:"membership_change" help:"changes of the set of hosts"`
	MaxWeight stats.Gauge   `stat:"max_host_weight" help:"the largest weight of a host"`

	SubsetsActive     stats.Gauge   `stat:"lb_subsets_active" help:"subsets that have hosts"`
	SubsetsCreated    stats.Counter `stat:"lb_subsets_created" help:"subsets that came"`
	SubsetsRemoved    stats.Counter `stat:"lb_subsets_removed" help:"subsets that went"`
	SubsetsRefused    stats.Gauge   `stat:"lb_subsets_refused" help:"subsets beyond the limit of 10,000, which no request finds"`
	SubsetsDuplicates stats.Gauge   `stat:"lb_subsets_single_host_per_subset_duplicate" help:"hosts in no subset because single_host_per_subset has one for each"`

	subsets *subsetTable // as of the last Refresh
}

// BreakerStats shows a [Budget], under cluster.<name>.circuit_breakers.<priority>.
type BreakerStats struct {
	CxOpen           stats.GaugeFunc `stat:"cx_open" help:"1 while max_connections is reached"`
	RqPendingOpen    stats.GaugeFunc `stat:"rq_pending_open" help:"1 while max_pending_requests is reached"`
	RqOpen           stats.GaugeFunc `stat:"rq_open" help:"1 while max_requests is reached"`
	RqRetryOpen      stats.GaugeFunc `stat:"rq_retry_open" help:"1 while max_retries is reached"`
	RemainingCx      stats.GaugeFunc `stat:"remaining_cx" help:"connections that may still be opened"`
	RemainingPending stats.GaugeFunc `stat:"remaining_pending" help:"requests that may still wait for a connection"`
	RemainingRq      stats.GaugeFunc `stat:"remaining_rq" help:"requests that may still begin"`
	RemainingRetries stats.GaugeFunc `stat:"remaining_retries" help:"retries that may still begin"`
}

// NewBreakerStats returns the gauges of b, which outlives reloads as its cluster does.
func NewBreakerStats(b *Budget) *BreakerStats {
	open := func(r Resource) stats.GaugeFunc {
		return func() int64 {
			if b.Open(r) {
				return 1
			}
			return 0
		}
	}
	left := func(r Resource) stats.GaugeFunc { return func() int64 { return b.Remaining(r) } }
	return &BreakerStats{
		CxOpen: open(Connections), RqPendingOpen: open(Pending), RqOpen: open(Requests), RqRetryOpen: open(Retries),
		RemainingCx: left(Connections), RemainingPending: left(Pending), RemainingRq: left(Requests), RemainingRetries: left(Retries),
	}
}

// CountCode counts a response, made by the host or in its place.
func (s *ClusterStats) CountCode(status int, internal bool) {
	s.Codes.Inc(status)
	if internal {
		s.InternalCodes.Inc(status)
	} else {
		s.ExternalCodes.Inc(status)
	}
}

// CountTime counts how long a response took, in microseconds.
func (s *ClusterStats) CountTime(us uint64, internal bool) {
	s.RqTime.Record(us)
	if internal {
		s.InternalRqTime.Record(us)
	} else {
		s.ExternalRqTime.Record(us)
	}
}

// Update brings the numbers up to date with c, which replaced prev or nil.
func (s *MembershipStats) Update(c, prev *Cluster) {
	s.Refresh(c)
	if prev == nil || !slices.Equal(c.Hosts(), prev.Hosts()) {
		s.Change.Inc()
	}
}

// Refresh is Update for hosts that have only changed their health.
func (s *MembershipStats) Refresh(c *Cluster) {
	hs := c.HostSet()
	s.Total.Set(int64(len(hs.Hosts)))
	s.Healthy.Set(int64(hs.Healthy()))
	s.Degraded.Set(int64(hs.Degraded()))
	s.Excluded.Set(int64(hs.Excluded()))
	most := uint32(0)
	for _, h := range hs.Hosts {
		most = max(most, h.Weight())
	}
	s.MaxWeight.Set(int64(most))
	s.refreshSubsets(hs.subsets)
}

// refreshSubsets counts the subsets of now, and what differs from before.
func (s *MembershipStats) refreshSubsets(now *subsetTable) {
	if now == s.subsets {
		return
	}
	created, removed := subsetChanges(s.subsets, now)
	s.SubsetsCreated.Add(uint64(created))
	s.SubsetsRemoved.Add(uint64(removed))
	if s.subsets = now; now == nil {
		now = &subsetTable{}
	}
	s.SubsetsActive.Set(int64(len(now.subsets)))
	s.SubsetsRefused.Set(int64(now.refused))
	s.SubsetsDuplicates.Set(int64(now.duplicates))
}
