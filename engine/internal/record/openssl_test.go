package record

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// opensslSuites are the suites by the names of OpenSSL; those of an RSA key exchange it has switched off in
// some builds.
var opensslSuites = []struct {
	kind
	args []string
}{
	{kind{"TLS_AES_128_GCM_SHA256", VersionTLS13, 0x1301}, []string{"-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"}},
	{kind{"TLS_AES_256_GCM_SHA384", VersionTLS13, 0x1302}, []string{"-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"}},
	{kind{"TLS_CHACHA20_POLY1305_SHA256", VersionTLS13, 0x1303}, []string{"-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"}},
	{kind{"ECDHE-RSA-AES128-GCM-SHA256", VersionTLS12, 0xc02f}, []string{"-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"}},
	{kind{"ECDHE-RSA-AES256-GCM-SHA384", VersionTLS12, 0xc030}, []string{"-tls1_2", "-cipher", "ECDHE-RSA-AES256-GCM-SHA384"}},
	{kind{"ECDHE-RSA-CHACHA20-POLY1305", VersionTLS12, 0xcca8}, []string{"-tls1_2", "-cipher", "ECDHE-RSA-CHACHA20-POLY1305"}},
}

// opensslWait is how long a test waits for openssl, which takes milliseconds.
const opensslWait = 20 * time.Second

// openssl is a process of openssl, with what it wrote.
type openssl struct {
	t    *testing.T
	in   io.WriteCloser
	mu   sync.Mutex
	cond sync.Cond
	out  []byte // stdout and stderr
	done bool
}

// Write implements io.Writer for the output of the process.
func (o *openssl) Write(b []byte) (int, error) {
	o.mu.Lock()
	o.out = append(o.out, b...)
	o.mu.Unlock()
	o.cond.Broadcast()
	return len(b), nil
}

func startOpenSSL(t *testing.T, args ...string) *openssl {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl on this machine")
	}
	o := &openssl{t: t}
	o.cond.L = &o.mu
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = o, o
	if o.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := time.AfterFunc(opensslWait, func() { cmd.Process.Kill() })
	end := make(chan struct{})
	go func() {
		cmd.Wait()
		o.mu.Lock()
		o.done = true
		o.mu.Unlock()
		o.cond.Broadcast()
		close(end)
	}()
	t.Cleanup(func() {
		stop.Stop()
		o.in.Close()
		cmd.Process.Kill()
		<-end
	})
	return o
}

func (o *openssl) say(s string) {
	o.t.Helper()
	if _, err := io.WriteString(o.in, s+"\n"); err != nil {
		o.t.Fatalf("writing %q to openssl: %v; it wrote %s", s, err, o.out)
	}
}

// want waits until the process has written what matches, and forgets its output up to there.
func (o *openssl) want(re string) []byte {
	o.t.Helper()
	want := regexp.MustCompile(re)
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		if at := want.FindIndex(o.out); at != nil {
			found := o.out[at[0]:at[1]]
			o.out = o.out[at[1]:]
			return found
		}
		if o.done {
			o.t.Fatalf("openssl ended without writing %s: %s", re, o.out)
		}
		o.cond.Wait()
	}
}

// wantBytes waits until the process has written b n times.
func (o *openssl) wantBytes(b byte, n int) {
	o.t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	for bytes.Count(o.out, []byte{b}) < n {
		if o.done {
			o.t.Fatalf("openssl ended after %d of %d bytes", bytes.Count(o.out, []byte{b}), n)
		}
		o.cond.Wait()
	}
}

// wantData reads as ours until a line with want came.
func (x *established) wantData(t *testing.T, want string) {
	t.Helper()
	if got, err := x.pump(t, len(want)); string(got) != want || err != nil {
		t.Fatalf("read %q, %v; want %q", got, err, want)
	}
}

// acceptOpenSSL starts a client of openssl and makes the handshake with it.
func acceptOpenSSL(t *testing.T, k kind, args ...string) (*openssl, *established) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o := startOpenSSL(t, append([]string{"s_client", "-connect", l.Addr().String()}, args...)...)
	l.(*net.TCPListener).SetDeadline(time.Now().Add(opensslWait))
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return o, overTCP(t, k, conn, false)
}

func overTCP(t *testing.T, k kind, conn net.Conn, client bool) *established {
	t.Helper()
	conn.SetDeadline(time.Now().Add(opensslWait))
	t.Cleanup(func() { conn.Close() })
	handshaking.Lock() // the suites of TLS 1.3 are those of another test otherwise
	defer handshaking.Unlock()
	x, err := takeOver(conn, tlsConfig(k), client)
	if err != nil {
		t.Fatal(err)
	}
	if x.p.Suite != k.suite {
		t.Fatalf("agreed on suite %x, want %x", x.p.Suite, k.suite)
	}
	return x
}

func TestOpenSSLClient(t *testing.T) {
	t.Parallel()
	for _, tt := range opensslSuites {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o, x := acceptOpenSSL(t, tt.kind, tt.args...)
			o.want("Verify return code")
			o.say("hello one")
			x.wantData(t, "hello one\n")
			x.send(t, []byte("answer one\n"))
			o.want("answer one")
			if tt.version == VersionTLS13 {
				x.keyUpdates(t, o)
			}
			x.send(t, bytes.Repeat([]byte("~"), 1<<20))
			o.wantBytes('~', 1<<20)
			o.say("Q")
			if got, err := x.pump(t, 1); len(got) > 0 || err != io.EOF {
				t.Errorf("after Q: %q, %v; want EOF", got, err)
			}
		})
	}
}

// keyUpdates changes the keys of both sides, from both sides.
func (x *established) keyUpdates(t *testing.T, o *openssl) {
	t.Helper()
	for _, cmd := range []string{"K", "k", "K"} {
		in, out := x.c.in.keep, x.c.out.keep
		o.say(cmd)
		o.want("KEYUPDATE")
		o.say("hello again")
		x.wantData(t, "hello again\n")
		if x.c.in.keep == in || (x.c.out.keep != out) != (cmd == "K") {
			t.Errorf("after %s: new key in %t, out %t", cmd, x.c.in.keep != in, x.c.out.keep != out)
		}
		x.send(t, []byte("answer again\n"))
		o.want("answer again")
	}
	for _, request := range []bool{true, false} {
		in := x.c.in.keep
		b, err := x.c.AppendKeyUpdate(nil, request)
		if err != nil {
			t.Fatal(err)
		}
		x.end.Write(b)
		x.send(t, []byte("our own key\n"))
		o.want("our own key")
		o.say("hello behind it")
		x.wantData(t, "hello behind it\n")
		if (x.c.in.keep != in) != request {
			t.Errorf("asked %t: new key in %t", request, x.c.in.keep != in)
		}
	}
}

// TestOpenSSLRenegotiation: a client that wants to renegotiate is refused.
func TestOpenSSLRenegotiation(t *testing.T) {
	t.Parallel()
	o, x := acceptOpenSSL(t, opensslSuites[3].kind, opensslSuites[3].args...)
	o.want("Verify return code")
	o.say("R")
	if got, err := x.pump(t, 1); len(got) > 0 || err != failures[endHandshake] {
		t.Errorf("pump = %q, %v; want %v", got, err, failures[endHandshake])
	}
	o.want("unexpected message")
}

// writeCertificate writes the RSA certificate and its key to files for a server of openssl.
func writeCertificate(t *testing.T) (cert, key string) {
	t.Helper()
	c := certificates()[1]
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: c.Certificate[0]},
		key:  {Type: "PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// dialOpenSSL starts a server of openssl and makes the handshake with it.
func dialOpenSSL(t *testing.T, k kind, args ...string) (*openssl, *established) {
	t.Helper()
	cert, key := writeCertificate(t)
	o := startOpenSSL(t, append([]string{"s_server", "-accept", "127.0.0.1:0", "-naccept", "1", "-cert", cert, "-key", key}, args...)...)
	addr := strings.TrimSpace(strings.TrimPrefix(string(o.want(`ACCEPT [0-9.]+:[0-9]+\s`)), "ACCEPT "))
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return o, overTCP(t, k, conn, true)
}

func TestOpenSSLServer(t *testing.T) {
	t.Parallel()
	for _, tt := range opensslSuites {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o, x := dialOpenSSL(t, tt.kind, tt.args...)
			x.send(t, []byte("hello one\n"))
			o.want("hello one")
			o.say("answer one") // behind two tickets
			x.wantData(t, "answer one\n")
			if tt.version == VersionTLS13 {
				in := x.c.in.keep
				o.say("K")
				for x.c.in.keep == in {
					x.step(t)
				}
				x.send(t, []byte("hello two\n"))
				o.want("hello two")
				o.say("answer two")
				x.wantData(t, "answer two\n")
			}
			x.send(t, bytes.Repeat([]byte("~"), 1<<20))
			o.wantBytes('~', 1<<20)
			if tt.version == VersionTLS12 {
				o.say("r") // HelloRequest
				if got, err := x.pump(t, 1); len(got) > 0 || err != failures[endRenegotiation] {
					t.Errorf("pump = %q, %v; want %v", got, err, failures[endRenegotiation])
				}
				return
			}
			o.say("Q")
			if got, err := x.pump(t, 1); len(got) > 0 || err != io.EOF {
				t.Errorf("after Q: %q, %v; want EOF", got, err)
			}
		})
	}
}

// step reads one record as ours, without data, and answers it.
func (x *established) step(t *testing.T) {
	t.Helper()
	rec := make([]byte, RecordLenMax)
	if _, err := io.ReadFull(x.end, rec[:HeaderLen]); err != nil {
		t.Fatal(err)
	}
	n, err := x.c.in.RecordLen(rec)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(x.end, rec[HeaderLen:n]); err != nil {
		t.Fatal(err)
	}
	if m, _, err := x.c.Read(make([]byte, RecordLenMax), rec[:n]); m != 0 || err != nil {
		t.Fatalf("%d bytes of data, %v", m, err)
	}
	b, err := x.c.AppendReplies(nil)
	if err != nil {
		t.Fatal(err)
	}
	x.end.Write(b)
}
