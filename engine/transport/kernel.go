package transport

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"millrace/engine"
	"millrace/engine/internal/record"
	"millrace/engine/internal/sys"
)

// Kernel says what the TLS of the kernel can seal: by version and cipher.
type Kernel struct {
	ok  map[kernelSuite]bool
	err error // why there is none
}

type kernelSuite struct {
	version uint16
	cipher  sys.TLSCipher
}

// kernelSuites are the pairs that a kernel may have, each with a cipher suite to try it by.
var kernelSuites = []struct {
	kernelSuite
	suite uint16
}{
	{kernelSuite{tls.VersionTLS13, sys.TLSCipherAES128GCM}, tls.TLS_AES_128_GCM_SHA256},
	{kernelSuite{tls.VersionTLS13, sys.TLSCipherAES256GCM}, tls.TLS_AES_256_GCM_SHA384},
	{kernelSuite{tls.VersionTLS13, sys.TLSCipherChaCha20Poly1305}, tls.TLS_CHACHA20_POLY1305_SHA256},
	{kernelSuite{tls.VersionTLS12, sys.TLSCipherAES128GCM}, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
	{kernelSuite{tls.VersionTLS12, sys.TLSCipherAES256GCM}, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384},
	{kernelSuite{tls.VersionTLS12, sys.TLSCipherChaCha20Poly1305}, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256},
}

// Suites returns how many pairs of version and cipher the kernel can seal.
func (k *Kernel) Suites() int { return len(k.ok) }

// Err returns why there is no pair at all, nil if there is one.
func (k *Kernel) Err() error { return k.err }

// cipherOf returns the kernel's number of the cipher of a suite.
func cipherOf(suite uint16) sys.TLSCipher {
	switch suite {
	case tls.TLS_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256:
		return sys.TLSCipherChaCha20Poly1305
	case tls.TLS_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_RSA_WITH_AES_256_GCM_SHA384:
		return sys.TLSCipherAES256GCM
	default:
		return sys.TLSCipherAES128GCM
	}
}

// theKernel is what probeKernel has found: there is one kernel.
var theKernel = sync.OnceValue(probeKernel)

// ProbeKernel tries what the TLS of the kernel can seal, once in the process. It takes some milliseconds, and may make the kernel load a module.
func ProbeKernel() *Kernel { return theKernel() }

// probeKernel seals with each cipher, and believes in what the own record layer opens.
func probeKernel() *Kernel {
	k := &Kernel{ok: map[kernelSuite]bool{}}
	for _, s := range kernelSuites {
		switch err := probeSuite(s.kernelSuite, s.suite); {
		case err == nil:
			k.ok[s.kernelSuite] = true
		case k.err == nil:
			k.err = err
		}
	}
	if len(k.ok) > 0 {
		k.err = nil
	}
	return k
}

// probeTimeout bounds the wait for bytes on the loopback interface.
const probeTimeout = time.Second

// probeText is what a probe seals.
const probeText = "kernel TLS"

var errProbe = errors.New("what the kernel has sealed is wrong")

// probeSuite tries one pair on a connection of the loopback interface: data, an alert, and the sequence number.
func probeSuite(of kernelSuite, suite uint16) error {
	server, client, err := loopback()
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	defer server.Close()
	defer client.Close()
	p := probeParams(of.version, suite)
	from, err := record.New(p)
	if err != nil {
		return err
	}
	p.Client, p.In, p.Out = true, p.Out, p.In
	to, err := record.New(p)
	if err != nil {
		return err
	}
	s, _ := from.Sealer()
	if err := probeSocket(server, of, &s); err != nil {
		return err
	}
	server.Close()
	_ = client.SetReadDeadline(time.Now().Add(probeTimeout))
	sealed, err := io.ReadAll(client)
	if err != nil {
		return err
	}
	dst := make([]byte, record.MaxPlaintext)
	if n, _, err := to.Read(dst, sealed); err != io.EOF || string(dst[:n]) != probeText {
		return errProbe
	}
	return nil
}

// probeParams are those of a server whose secrets mean nothing.
func probeParams(version, suite uint16) *record.Params {
	secret := make([]byte, 2*48)
	_, _ = rand.Read(secret)
	p := &record.Params{Version: version, Suite: suite}
	if version == tls.VersionTLS12 {
		p.Master, p.ClientRandom, p.ServerRandom = secret[:48], secret[48:80], secret[64:96]
		return p
	}
	n := suiteHash(suite)().Size()
	p.In, p.Out = secret[:n], secret[48:48+n]
	return p
}

// probeSocket makes the kernel seal probeText and close_notify.
func probeSocket(c *net.TCPConn, of kernelSuite, s *record.Sealer) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var errno syscall.Errno
	call := "setsockopt"
	err = raw.Control(func(fd uintptr) {
		seal := kernelSeal(s)
		if errno = sys.SetTLSSeal(int(fd), &seal.TLSSeal); errno != 0 {
			return
		}
		call = "write"
		if _, errno = sys.Write(int(fd), []byte(probeText)); errno != 0 {
			return
		}
		call = "sendmsg"
		if errno = sys.SendTLSRecord(int(fd), byte(record.TypeAlert), []byte{1, byte(record.CloseNotify)}); errno != 0 {
			return
		}
		var seq uint64
		call = "getsockopt"
		if seq, errno = sys.TLSSealSeq(int(fd), of.version, of.cipher); errno == 0 && seq != s.Seq+2 {
			errno = syscall.EPROTO
		}
	})
	if err == nil && errno != 0 {
		err = os.NewSyscallError(call, errno)
	}
	return err
}

// loopback makes a connection.
func loopback() (server, client *net.TCPConn, err error) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	_ = l.SetDeadline(time.Now().Add(probeTimeout))
	c, err := net.DialTimeout("tcp", l.Addr().String(), probeTimeout)
	if err != nil {
		return nil, nil, err
	}
	if server, err = l.AcceptTCP(); err != nil {
		c.Close()
		return nil, nil, err
	}
	return server, c.(*net.TCPConn), nil
}

// kernelSeal is s in the terms of the kernel.
func kernelSeal(s *record.Sealer) *engine.Seal {
	return &engine.Seal{
		TLSSeal:   sys.TLSSeal{Version: s.Version, Cipher: cipherOf(s.Suite), Key: s.Key, IV: s.IV, Seq: s.Seq},
		Expansion: s.Expansion, BytesMax: s.BytesMax,
	}
}
