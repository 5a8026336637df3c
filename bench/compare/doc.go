// Package compare knows the proxies that are measured beside each other and writes configs that give them the same
// work.
//
// Same work means: HTTP/1.1 to the origin over kept connections, X-Forwarded-For, X-Forwarded-Proto and X-Request-Id
// added, hop-by-hop fields removed, no access log, no limit that the load could reach, and buffers large enough that
// no proxy writes a body to disk; for TCP and UDP, one connection or session to the origin for each downstream. The
// floor does none of the work of HTTP: it is the cost of moving the bytes.
//
// Configs are text that depends on a [Site] only; nothing here starts a process (see proc).
package compare
