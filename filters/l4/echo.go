package l4

import (
	"millrace/engine"
	"millrace/filters"
)

// EchoConfig is that of the "echo" filter, which has nothing to configure.
type EchoConfig struct{}

// echo writes back what it reads. A peer that does not read what it sent is not read from any more once
// per_connection_buffer_limit_bytes wait for it.
type echo struct {
	terminalConns
	limit int
}

func newEcho(_ *EchoConfig, _ *struct{}, env *filters.NetworkEnv) (any, error) {
	return &echo{terminalConns: terminalConns{gate: env.Gate}, limit: env.BufferLimit}, nil
}

// Accept implements filters.NetworkTerminal.
func (f *echo) Accept(io *engine.Conn, c *filters.Connection) engine.Handler {
	if f.limit > 0 {
		io.SetWatermarks(f.limit, f.limit/2)
	}
	ec := new(echoConn)
	f.add(&ec.terminalConn, io, c)
	return ec
}

// echoConn implements engine.Handler.
type echoConn struct {
	terminalConn
	paused bool
}

func (ec *echoConn) OnData(b []byte) int {
	ec.io.WriteRef(b)
	if ec.io.Full() {
		ec.paused = true
		ec.io.PauseRead()
	}
	return len(b)
}

func (ec *echoConn) OnWriteLow() {
	if ec.paused {
		ec.paused = false
		ec.io.ResumeRead()
	}
}

// OnEOF ends the connection once everything has gone back: nothing else can come.
func (ec *echoConn) OnEOF() {
	ec.io.CloseLinger(0)
	ec.left()
}

func (ec *echoConn) OnClose(engine.CloseReason) { ec.left() }
func (ec *echoConn) OnConnect()                 {}
func (ec *echoConn) OnTimeout()                 {}
func (ec *echoConn) OnSplice(int64, bool, bool) {}
