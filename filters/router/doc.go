// Package router is the last HTTP filter: it makes the request happen.
//
// For a stream whose head has passed all other filters it finds the cluster and a host
// (PickHost), leases an exchange on an upstream connection and sends the request (Forward), and
// passes the response in to the response filters. Between the two lie timeouts and retries.
//
//	PickHost ──▶ Forward ──▶ pool.Exchange ──▶ upstream
//	   ▲                          │
//	   └──── retry: back-off ◀────┴──▶ Stream.Pass(Response) ──▶ downstream
//
// A request has one attempt at a time, unless it hedges: then an attempt that is out of time goes on beside the next one,
// and the first good response is the client's.
//
// It knows neither what the downstream nor what the upstream speaks: the first is
// filters/httpconn's business, the second that of upstream/pool.
//
// # Limits
//
// The body of a request that may have to be sent again is kept up to the stream's buffer limit; beyond it
// the request is sent once only (retry_or_shadow_abandoned).
package router
