// Package upstream is the vocabulary of the side we connect to: clusters, hosts, what a
// balancing policy sees, and the budgets that bound what one cluster may cost.
//
// It opens no connections and picks no hosts: see upstream/pool and upstream/lb. It reads no
// files: the config loader fills [Config].
//
//	control goroutine                       every loop
//	Config ── New ──▶ Cluster ── posted ──▶ pool.Table.Set
//	                   ├ HostSet    hosts by priority, health and locality: replaced, never changed
//	                   ├ Budget     connections, pending, requests, retries: atomics
//	                   └ Host       active requests, health flags: atomics
//
// # Ownership
//
// A [Cluster] is built by the control goroutine and read-only from then on, but for the
// atomics of its hosts and budgets. Those survive a reload: [New] takes the hosts whose
// address stays, and the budgets, over from the cluster it replaces. Everything a loop keeps
// to itself ([ClusterStats]) is owned by upstream/pool.
//
// # Limits
//
// Each [Budget] has four, for all loops together: max_connections, max_pending_requests,
// max_requests, max_retries.
package upstream
