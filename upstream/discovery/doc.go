// Package discovery finds the hosts of clusters: by DNS, or in a file that is watched. It runs on ordinary goroutines, one
// for each name, and hands lists of hosts to whoever owns the cluster; loops never wait for it.
//
//	Source.Run ──▶ resolver ──▶ servers        (strict_dns, logical_dns: each name has a clock of its own)
//	     │    └──▶ file                        (file: fsnotify, and a clock for systems without events)
//	     ▼
//	    put ──▶ control goroutine ──▶ Cluster.SetHosts ──▶ loops
//
// A source that fails says so and keeps what it found last. Start reading in source.go.
package discovery
