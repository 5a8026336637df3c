package engine

import (
	"millrace/engine/internal/sys"
)

// pipe is a pipe to splice through. The zero pipe is none.
type pipe struct{ r, w, size int }

// pipesFreeMax is how many empty pipes a loop keeps open.
const pipesFreeMax = 64

// leasePipe takes an empty pipe. It reports false when none can be had now.
func (l *Loop) leasePipe() (pipe, bool) {
	if n := len(l.pipes); n > 0 {
		p := l.pipes[n-1] // the latest used: its memory is in the caches
		l.pipes = l.pipes[:n-1]
		return p, true
	}
	if l.pipeCount >= l.cfg.SplicePipesMax || l.now < l.pipeRetry {
		l.stats.SplicePipesHit.Inc()
		return pipe{}, false
	}
	r, w, size, errno := sys.Pipe(l.cfg.SplicePipeBytes)
	if errno == 0 && size < min(l.cfg.SpliceBytesMin, l.cfg.SplicePipeBytes) {
		// Beyond fs.pipe-user-pages-soft a user without privileges gets pipes of two pages, through
		// which nothing goes faster than by copying.
		sys.Close(r)
		sys.Close(w)
		size = 0
	}
	if errno != 0 || size == 0 {
		l.stats.SplicePipesHit.Inc()
		l.pipeRetry = l.now + int64(l.cfg.AcceptRetry)
		return pipe{}, false
	}
	l.pipeCount++
	l.stats.SplicePipes.Set(int64(l.pipeCount))
	return pipe{r, w, size}, true
}

// returnPipe takes an empty pipe back.
func (l *Loop) returnPipe(p pipe) {
	if len(l.pipes) >= pipesFreeMax {
		l.closePipe(p)
		return
	}
	l.pipes = append(l.pipes, p)
}

func (l *Loop) closePipe(p pipe) {
	sys.Close(p.r)
	sys.Close(p.w)
	l.pipeCount--
	l.stats.SplicePipes.Set(int64(l.pipeCount))
	l.fdFreed()
}

// newSplicer takes a splicer off the free list.
func (l *Loop) newSplicer() *splicer {
	s := l.splicers
	if s == nil {
		return new(splicer)
	}
	l.splicers = s.next
	l.splicersFree--
	return s
}

// splicersFreeMax is how many splicers a loop keeps for the next splices. The rest of a burst of tunnels is the collector's.
const splicersFreeMax = 1024

// freeSplicer takes s back.
func (l *Loop) freeSplicer(s *splicer) {
	*s = splicer{}
	if l.splicersFree >= splicersFreeMax {
		return
	}
	s.next = l.splicers
	l.splicers = s
	l.splicersFree++
}
