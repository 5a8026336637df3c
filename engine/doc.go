// Package engine moves bytes between sockets and handlers, over raw epoll.
//
// It knows nothing of HTTP, routes or clusters: see codec, filters, upstream.
//
//	        accept4         read            OnData
//	kernel ────────▶ Loop ────────▶ scratch ───────▶ Handler
//	   ▲                                                │
//	   ├──────── write, end of event ◀── stage  ◀───────┤ Stage, WriteRef, Write
//	   └──────── writev, when writable ◀ Conn.out ◀─────┘ what the socket refused
//
// # Ownership
//
// A [Loop] is one epoll instance, one locked thread, one goroutine. Whatever is created
// on a loop (conns, listeners, blocks, timers, counters) is touched by that loop only;
// there are no locks inside. The one door in from outside is [Loop.Post].
//
// # A turn
//
// [Loop.Turn] waits for events and reads the clock once. Then it runs, in this order: the
// events, the posted functions, the timers, what is ready again (resumed reads, conns
// whose share of the last turn ran out), notices (OnConnect, OnWriteLow, OnClose), tasks
// given to [Loop.Later], the flush of batch conns. Conns closed on the way keep their
// slot until the end of the turn, so that no pointer in the batch dangles.
//
// # Reading
//
// All conns read into the scratch block of the loop. What [Handler.OnData] does not
// consume is kept in a block leased from the arena, and shown again in front of the next
// bytes; an idle conn holds no block. Events are edge-triggered and registered once: a
// conn remembers that it is readable until a read comes back short.
//
// # Writing
//
// Small writes gather in the staging buffer of the loop, which one conn at a time owns,
// and leave in one write at the end of the event. What the socket refuses goes to the
// conn's write queue, made on demand. Nothing fails synchronously: a broken conn swallows
// writes and tells its handler by OnClose later in the turn.
//
// # Splicing
//
// [Conn.Splice] moves bytes from conn to conn past their handlers: what a proxy does with what it need not
// look at. Large pieces go through a pipe in the kernel, held only while bytes are in it; small ones are
// read and written. A target that takes no more stops the reading at its high watermark.
//
// # Handover
//
// [Conn.SetHandler] gives a conn to another handler, and [Conn.SetTransport] puts TLS or a filter under it, at any
// time: bytes that were read and not consumed go along. What a listener filter found out about
// the two ends is set by [Conn.SetRemoteAddr] and [Conn.SetLocalAddr].
//
// # Limits
//
// Every queue, buffer and batch has a maximum, named in [LoopConfig].
//
// # Usage
//
//	l, err := engine.NewLoop(0, engine.DefaultLoopConfig())
//	fd, err := engine.Listen(addr, engine.ListenerOptions{})
//	_, err = l.AddListener(fd, engine.ListenerOptions{}, acceptor) // before Run, or on the loop
//	err = l.Run()                                                 // until Stop
package engine
