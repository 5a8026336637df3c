package transport

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"millrace/engine"
)

// opensslRun is an openssl that runs.
type opensslRun struct {
	t     testing.TB
	cmd   *exec.Cmd
	stdin io.WriteCloser

	mu   sync.Mutex
	cond sync.Cond
	out  []byte
	end  bool
}

// openssl starts openssl, whose output is gathered. Skipped where there is none.
func openssl(t testing.TB, args ...string) *opensslRun {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	o := &opensslRun{t: t, cmd: exec.Command(path, args...)}
	o.cond.L = &o.mu
	if o.stdin, err = o.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	pr, pw := io.Pipe()
	o.cmd.Stdout, o.cmd.Stderr = pw, pw
	if err := o.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		o.cmd.Wait()
		pw.Close()
	}()
	go func() {
		for r := bufio.NewReader(pr); ; {
			b, err := r.ReadByte()
			o.mu.Lock()
			if err != nil {
				o.end = true
			} else {
				o.out = append(o.out, b)
			}
			o.cond.Broadcast()
			o.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	kill := time.AfterFunc(waitMax, func() { o.cmd.Process.Kill() })
	t.Cleanup(func() {
		kill.Stop()
		o.cmd.Process.Kill()
	})
	return o
}

// want waits until the output has all of text, and forgets it up to the last.
func (o *opensslRun) want(text ...string) string {
	o.t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		last, missing := 0, ""
		for _, s := range text {
			if at := bytes.Index(o.out, []byte(s)); at < 0 {
				missing = s
			} else {
				last = max(last, at+len(s))
			}
		}
		if missing == "" {
			seen := string(o.out[:last])
			o.out = o.out[last:]
			return seen
		}
		if o.end {
			o.t.Fatalf("openssl %q ended without %q; it said:\n%s", o.cmd.Args, missing, o.out)
		}
		o.cond.Wait()
	}
}

// all waits for the end and returns what was not looked at.
func (o *opensslRun) all() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.end {
		o.cond.Wait()
	}
	return string(o.out)
}

func (o *opensslRun) write(s string) {
	o.t.Helper()
	if _, err := io.WriteString(o.stdin, s); err != nil {
		o.t.Fatalf("openssl %q: %v; it said:\n%s", o.cmd.Args, err, o.all())
	}
}

// TestOpenSSLClient: versions, suites and groups of openssl s_client, with records both ways and an orderly end.
func TestOpenSSLClient(t *testing.T) {
	t.Parallel()
	for mode, name := range []string{"own", "crypto_tls", "own_parked"} {
		for _, args := range []string{
			"-tls1_3", "-tls1_3 -ciphersuites TLS_AES_256_GCM_SHA384", "-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256",
			"-tls1_3 -groups P-256", "-tls1_3 -groups X25519", "-tls1_3 -groups P-384", "-tls1_3 -groups P-521:P-384", // a HelloRetryRequest
			"-tls1_3 -record_padding 512", "-tls1_3 -max_send_frag 512", "-tls1_3 -no_ticket",
			"-tls1_2", "-tls1_2 -cipher ECDHE-ECDSA-AES256-GCM-SHA384", "-tls1_2 -cipher ECDHE-ECDSA-CHACHA20-POLY1305",
			"-tls1_2 -groups P-256", "-tls1_2 -max_send_frag 512", "-tls1_2 -no_ticket",
		} {
			t.Run(name+"/"+args, func(t *testing.T) {
				r := newRunner(t, serverConfig(), Limits{}, AcceptorOptions{Established: Established(mode)}, nil)
				o := openssl(t, append(strings.Fields("s_client -connect "+r.addr+" -CAfile "+theCA().file("ca.pem")+
					" -verify_return_error -servername localhost"), strings.Fields(args)...)...)
				o.want("Verification: OK")
				for i := range 3 {
					line := fmt.Sprintf("line %d %s\n", i, strings.Repeat("x", 3000*i))
					o.write(line)
					o.want(line)
				}
				o.write("Q\n")
				o.all()
				e := wait(t, r.ends)
				wait(t, e.made)
				if e.session.Own != (mode != int(EstablishedCryptoTLS)) {
					t.Errorf("session %+v", e.session)
				}
			})
		}
	}
}

// TestOpenSSLKeyUpdate: openssl's client changes its keys, and asks us to.
func TestOpenSSLKeyUpdate(t *testing.T) {
	t.Parallel()
	for mode := range 3 {
		r := newRunner(t, serverConfig(), Limits{}, AcceptorOptions{Established: Established(mode)}, nil)
		o := openssl(t, "s_client", "-connect", r.addr, "-tls1_3")
		o.want("Verify return code")
		for i, command := range []string{"k", "K", "K", "k"} {
			o.write(command + "\n")
			o.want("KEYUPDATE")
			line := fmt.Sprintf("after %d\n", i)
			o.write(line)
			o.want(line)
		}
	}
}

// TestOpenSSLRenegotiation: a client that wants to renegotiate is refused.
func TestOpenSSLRenegotiation(t *testing.T) {
	t.Parallel()
	for mode := range 3 {
		r := newRunner(t, serverConfig(), Limits{}, AcceptorOptions{Established: Established(mode)}, nil)
		o := openssl(t, "s_client", "-connect", r.addr, "-tls1_2")
		o.want("Verify return code")
		o.write("R\n")
		o.want("RENEGOTIATING", "alert")
		e := wait(t, r.ends)
		if err := wait(t, e.closed); err == nil {
			t.Errorf("closed with %v", e.reason)
		}
	}
}

// TestOpenSSLResume: openssl resumes its session in a second connection.
func TestOpenSSLResume(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		for mode := range 3 {
			r := newRunner(t, serverConfig(), Limits{}, AcceptorOptions{Established: Established(mode)}, nil)
			file := t.TempDir() + "/session"
			o := openssl(t, "s_client", "-connect", r.addr, version, "-sess_out", file)
			o.want("Verify return code")
			o.write("first\n")
			o.want("first\n")
			o.write("Q\n")
			o.all()
			o = openssl(t, "s_client", "-connect", r.addr, version, "-sess_in", file)
			o.want("Reused, TLS", "Verify return code")
			o.write("second\n")
			o.want("second\n")
			wait(t, r.ends)
			e := wait(t, r.ends)
			wait(t, e.made)
			if s := e.session; !s.Resumed || s.Own != (mode != int(EstablishedCryptoTLS)) {
				t.Errorf("%s: session %+v", version, s)
			}
		}
	}
}

// TestOpenSSLServer: our client to openssl's server, with tickets, and with KeyUpdates that the server begins.
func TestOpenSSLServer(t *testing.T) {
	t.Parallel()
	for _, args := range []string{
		"-tls1_3", "-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256", "-tls1_3 -groups P-384", "-tls1_2", "-tls1_2 -cipher ECDHE-ECDSA-AES256-GCM-SHA384",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			s := openssl(t, append([]string{"s_server", "-accept", "127.0.0.1:0", "-rev", "-cert", theCA().file("ecdsa.pem"), "-key", theCA().file("ecdsa.key")},
				strings.Fields(args)...)...)
			s.want("ACCEPT 127.0.0.1:")
			addr := "127.0.0.1:" + strings.TrimSpace(s.want("\n"))
			r := newDialRunner(t, clientConfig())
			for i := range 2 {
				h := r.talk(addr, "stressed\n", "desserts\n")
				if s := h.session; s.Resumed != (i > 0) {
					t.Errorf("connection %d: %+v", i, s)
				}
			}
		})
	}
}

// TestOpenSSLServerKeyUpdate: the server changes its keys and asks us to.
func TestOpenSSLServerKeyUpdate(t *testing.T) {
	t.Parallel()
	s := openssl(t, "s_server", "-accept", "127.0.0.1:0", "-tls1_3", "-cert", theCA().file("ecdsa.pem"), "-key", theCA().file("ecdsa.key"))
	s.want("ACCEPT 127.0.0.1:")
	addr := "127.0.0.1:" + strings.TrimSpace(s.want("\n"))
	r := newDialRunner(t, clientConfig())
	h := r.open(addr)
	r.write(h, "hello\n")
	s.want("hello\n")
	for i, command := range []string{"k", "K"} {
		before := r.bytesIn(h)
		s.write(command + "\n")
		for r.bytesIn(h) == before { // openssl tells nothing, and takes no more input with the command
			time.Sleep(time.Millisecond)
		}
		text := fmt.Sprintf("after %d\n", i)
		s.write(text)
		r.wantGot(h, text)
		r.write(h, "we "+text)
		s.want("we " + text)
	}
}

// talker is a handler of a dialled connection that stays.
type talker struct {
	caller
	more chan struct{}
}

func (h *talker) OnConnect() { h.more <- struct{}{} }
func (h *talker) OnData(b []byte) int {
	h.got = append(h.got, b...)
	select {
	case h.more <- struct{}{}:
	default:
	}
	return len(b)
}

// open dials addr and waits for the handshake.
func (r *dialRunner) open(addr string) *talker {
	r.t.Helper()
	h := &talker{more: make(chan struct{}, 1)}
	h.testEnd = testEnd{closed: make(chan error, 1), made: make(chan struct{})}
	r.loop.Post(func() {
		a, err := engine.ParseAddr(addr)
		if err != nil {
			h.closed <- err
			return
		}
		if h.c, err = r.loop.Dial(&a, h); err != nil {
			h.closed <- err
			return
		}
		h.c.SetTransport(r.dialer.Transport("", h))
	})
	select {
	case <-h.more:
	case err := <-h.closed:
		r.t.Fatalf("dial %s: %v", addr, err)
	}
	return h
}

// bytesIn returns what has come from the socket.
func (r *dialRunner) bytesIn(h *talker) uint64 {
	n := make(chan uint64, 1)
	r.loop.Post(func() { n <- h.c.BytesIn() })
	return wait(r.t, n)
}

func (r *dialRunner) write(h *talker, s string) {
	r.loop.Post(func() { h.c.Write([]byte(s)) })
}

// wantGot waits until what was read ends in s.
func (r *dialRunner) wantGot(h *talker, s string) {
	r.t.Helper()
	for {
		found := make(chan bool, 1)
		r.loop.Post(func() { found <- strings.HasSuffix(string(h.got), s) })
		if wait(r.t, found) {
			return
		}
		wait(r.t, h.more)
	}
}

// talk writes ask, waits for the answer and closes in order.
func (r *dialRunner) talk(addr, ask, answer string) *talker {
	r.t.Helper()
	h := r.open(addr)
	r.write(h, ask)
	r.wantGot(h, answer)
	done := make(chan struct{})
	r.loop.Post(func() { h.c.CloseLinger(time.Second); close(done) })
	wait(r.t, done)
	return h
}
