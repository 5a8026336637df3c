package router

import "millrace/upstream/pool"

// ProxyInfo implements pool.ProxyOwner: whom a connection that carries this request alone is for.
func (rq *request) ProxyInfo() *pool.ProxyInfo {
	io := rq.stream.Conn()
	return &pool.ProxyInfo{Source: io.RemoteAddr(), Destination: io.LocalAddr()}
}
