package certs

import "time"

// DownstreamConfig is "tls" of a filter chain: how the chain answers TLS.
type DownstreamConfig struct {
	// Certificates are what the chain may present. By the name a client asks for, then by its key types, one is
	// picked. Required unless acme is given.
	Certificates []CertificateConfig `json:"certificates" max:"1024" v3:"common_tls_context.tls_certificates"`
	// ACME obtains and renews certificates by itself. For its domains they take the place of certificates, which may stand beside it until the
	// first is there, and for other names. Absent: off.
	ACME *ACMEConfig `json:"acme"`
	// ALPN are the protocols spoken, best first, such as ["h2", "http/1.1"]. A client that offers only others is
	// refused (RFC 7301 section 3.2), where Envoy goes on without; one that offers none goes on. Default: none.
	ALPN []string `json:"alpn" max:"16" v3:"common_tls_context.alpn_protocols"`
	// MinVersion is the oldest version accepted. "1.0" and "1.1" are broken: only for clients that know nothing
	// else. Default "1.2".
	MinVersion string `json:"min_version" default:"1.2" enum:"1.0,1.1,1.2,1.3" v3:"common_tls_context.tls_params.tls_minimum_protocol_version"`
	// MaxVersion is the newest version accepted. Default "1.3".
	MaxVersion string `json:"max_version" default:"1.3" enum:"1.0,1.1,1.2,1.3" v3:"common_tls_context.tls_params.tls_maximum_protocol_version"`
	// CipherSuites are the suites of TLS 1.2 and older, by the names of OpenSSL or IANA. The order is not used: the
	// suite that is fastest on this machine wins. TLS 1.3 always has its three. Default: the AEAD suites with
	// forward secrecy.
	CipherSuites []string `json:"cipher_suites" max:"64" v3:"common_tls_context.tls_params.cipher_suites"`
	// ECDHCurves are the groups for key exchange. The order is not used: post-quantum groups are preferred, then
	// X25519. Default: X25519MLKEM768, X25519, P-256 and P-384.
	ECDHCurves []string `json:"ecdh_curves" max:"16" v3:"common_tls_context.tls_params.ecdh_curves"`
	// ClientCAFile is a PEM file of the CAs that may have issued the certificates of clients. Without it
	// certificates of clients are accepted unverified.
	ClientCAFile string `json:"client_ca_file" v3:"common_tls_context.validation_context.trusted_ca"`
	// RequireClientCertificate refuses clients without a certificate. Default false.
	RequireClientCertificate bool `json:"require_client_certificate" default:"false"`
	// CRLFile is a PEM file of revocation lists, one at least for each CA of a chain. Needs client_ca_file.
	CRLFile string `json:"crl_file" v3:"common_tls_context.validation_context.crl"`
	// OnlyVerifyLeafCertCRL looks up the client's own certificate only, not those of intermediate CAs. Default
	// false.
	OnlyVerifyLeafCertCRL bool `json:"only_verify_leaf_cert_crl" default:"false" v3:"common_tls_context.validation_context.only_verify_leaf_cert_crl"`
	// VerifySubjectAltNames are the names of which a client's certificate must have one. Needs client_ca_file.
	// Default: any name.
	VerifySubjectAltNames []SANMatcher `json:"verify_subject_alt_names" max:"1024" v3:"common_tls_context.validation_context.match_typed_subject_alt_names"`
	// VerifyCertificateHash are SHA-256 sums of the certificates accepted, in hexadecimal, colons allowed. A match here
	// or in verify_certificate_spki passes.
	VerifyCertificateHash []string `json:"verify_certificate_hash" max:"1024" v3:"common_tls_context.validation_context.verify_certificate_hash"`
	// VerifyCertificateSPKI are SHA-256 sums of the public keys accepted, in base64. A match here or in
	// verify_certificate_hash passes.
	VerifyCertificateSPKI []string `json:"verify_certificate_spki" max:"1024" v3:"common_tls_context.validation_context.verify_certificate_spki"`
	// AllowExpiredCertificate accepts certificates of clients outside their validity. Default false.
	AllowExpiredCertificate bool `json:"allow_expired_certificate" default:"false" v3:"common_tls_context.validation_context.allow_expired_certificate"`
	// TrustChainVerification "accept_untrusted" lets clients through whose chain does not verify, for others to
	// decide; names and hashes are still checked. Default "verify_trust_chain".
	TrustChainVerification string `json:"trust_chain_verification" default:"verify_trust_chain" enum:"verify_trust_chain,accept_untrusted" v3:"common_tls_context.validation_context.trust_chain_verification"`
	// MaxVerifyDepth is how many intermediate CAs may stand between a client's certificate and a CA of
	// client_ca_file. Default: no limit.
	MaxVerifyDepth *int `json:"max_verify_depth" min:"0" max:"100" v3:"common_tls_context.validation_context.max_verify_depth"`
	// SessionTicketKeyFiles are files of exactly 80 random bytes. The first encrypts tickets, all decrypt. Processes
	// with the same files resume each other's sessions. Default: a random key of this process, changed by itself.
	SessionTicketKeyFiles []string `json:"session_ticket_key_files" max:"16" v3:"session_ticket_keys.keys"`
	// DisableStatelessSessionResumption turns session tickets, and so resumption, off. Default false.
	DisableStatelessSessionResumption bool `json:"disable_stateless_session_resumption" default:"false"`
	// SessionTimeout is how long after a full or resumed handshake a session may be resumed. At most a week
	// (RFC 8446 section 4.6.1). Default 24h.
	SessionTimeout time.Duration `json:"session_timeout" default:"24h" min:"1s" max:"168h"`
	// OCSPStaplePolicy says what becomes of a certificate whose ocsp_staple_file is missing or expired.
	// "lenient_stapling": it is used without. "strict_stapling": expired staples make it unusable for clients that ask
	// for one. "must_staple": missing ones too. Default "lenient_stapling".
	OCSPStaplePolicy string `json:"ocsp_staple_policy" default:"lenient_stapling" enum:"lenient_stapling,strict_stapling,must_staple"`
	// RequireSNI refuses clients that do not say which name they want. Default false.
	RequireSNI bool `json:"require_sni" default:"false"`
	// FullScanCertsOnSNIMismatch looks for the best certificate by key type when none has the name that a client
	// asks for. Otherwise the first is used. Default false.
	FullScanCertsOnSNIMismatch bool `json:"full_scan_certs_on_sni_mismatch" default:"false"`
	// KeyLog writes the secrets of connections to a file, for debugging with a packet analyser. Whoever reads the
	// file reads the traffic. Absent: off.
	KeyLog *KeyLogConfig `json:"key_log" v3:"common_tls_context.key_log"`
	// HandshakeTimeout bounds a handshake. 1ms to 10m. Default 15s.
	HandshakeTimeout time.Duration `json:"handshake_timeout" default:"15s" min:"1ms" max:"10m" v3:"transport_socket_connect_timeout"`
	// KernelTLS "auto" lets the kernel encrypt what is sent on a connection from its first large body on, where the kernel can, so
	// that such bodies are spliced. Where it cannot nothing changes. A client that asks for a new key is then cut off. Default "off".
	KernelTLS string `json:"kernel_tls" default:"off" enum:"off,auto"`
}

// KernelTLSAuto is the KernelTLS that lets the kernel encrypt.
const KernelTLSAuto = "auto"

// UpstreamConfig is "tls" of a cluster: how its hosts are spoken to.
//
// Deviation: Envoy verifies nothing without a trusted_ca. Here the roots of the system are used and
// the name is verified, unless trust_chain_verification is "accept_untrusted".
type UpstreamConfig struct {
	// SNI is the name asked for. It is verified unless verify_subject_alt_names is given. Default: none is sent.
	SNI string `json:"sni"`
	// AutoSNI asks for the host name of the request in place of sni, unless it is an IP address. Default false.
	AutoSNI bool `json:"auto_sni" default:"false" v3:"upstream_http_protocol_options.auto_sni"`
	// AutoSANValidation asks for the host name of the request as auto_sni does and verifies it besides
	// verify_subject_alt_names; an IP address is verified, too, and not asked for. Default false.
	AutoSANValidation bool `json:"auto_san_validation" default:"false" v3:"upstream_http_protocol_options.auto_san_validation"`
	// CAFile is a PEM file of the CAs that may have issued the certificates of hosts. Default: those of the system.
	CAFile string `json:"ca_file" v3:"common_tls_context.validation_context.trusted_ca"`
	// SystemRootCerts adds the CAs of the system to those of ca_file. Default false.
	SystemRootCerts bool `json:"system_root_certs" default:"false" v3:"common_tls_context.validation_context.system_root_certs"`
	// CRLFile is a PEM file of revocation lists, one at least for each CA of a chain.
	CRLFile string `json:"crl_file" v3:"common_tls_context.validation_context.crl"`
	// OnlyVerifyLeafCertCRL looks up the host's own certificate only, not those of intermediate CAs. Default false.
	OnlyVerifyLeafCertCRL bool `json:"only_verify_leaf_cert_crl" default:"false" v3:"common_tls_context.validation_context.only_verify_leaf_cert_crl"`
	// VerifySubjectAltNames are the names of which a host's certificate must have one. Default: sni.
	VerifySubjectAltNames []SANMatcher `json:"verify_subject_alt_names" max:"1024" v3:"common_tls_context.validation_context.match_typed_subject_alt_names"`
	// VerifyCertificateHash are SHA-256 sums of the certificates accepted, in hexadecimal, colons allowed. A match here
	// or in verify_certificate_spki passes.
	VerifyCertificateHash []string `json:"verify_certificate_hash" max:"1024" v3:"common_tls_context.validation_context.verify_certificate_hash"`
	// VerifyCertificateSPKI are SHA-256 sums of the public keys accepted, in base64. A match here or in
	// verify_certificate_hash passes.
	VerifyCertificateSPKI []string `json:"verify_certificate_spki" max:"1024" v3:"common_tls_context.validation_context.verify_certificate_spki"`
	// AllowExpiredCertificate accepts certificates of hosts outside their validity. Default false.
	AllowExpiredCertificate bool `json:"allow_expired_certificate" default:"false" v3:"common_tls_context.validation_context.allow_expired_certificate"`
	// TrustChainVerification "accept_untrusted" goes on with hosts whose chain does not verify: whoever stands in
	// between can read and change everything. Names are then verified only if verify_subject_alt_names or
	// auto_san_validation asks for it. Default "verify_trust_chain".
	TrustChainVerification string `json:"trust_chain_verification" default:"verify_trust_chain" enum:"verify_trust_chain,accept_untrusted" v3:"common_tls_context.validation_context.trust_chain_verification"`
	// MaxVerifyDepth is how many intermediate CAs may stand between a host's certificate and a trusted CA. Default:
	// no limit.
	MaxVerifyDepth *int `json:"max_verify_depth" min:"0" max:"100" v3:"common_tls_context.validation_context.max_verify_depth"`
	// Certificates are what is presented to hosts that ask for a certificate. At most one of each key type. Default:
	// none.
	Certificates []CertificateConfig `json:"certificates" max:"4" v3:"common_tls_context.tls_certificates"`
	// ALPN are the protocols offered, best first. Default: what the protocol of the cluster needs.
	ALPN []string `json:"alpn" max:"16" v3:"common_tls_context.alpn_protocols"`
	// MinVersion is the oldest version accepted. Default "1.2".
	MinVersion string `json:"min_version" default:"1.2" enum:"1.0,1.1,1.2,1.3" v3:"common_tls_context.tls_params.tls_minimum_protocol_version"`
	// MaxVersion is the newest version accepted. Envoy stops at 1.2 here, since clients of its TLS library once
	// paid for 1.3 with resumption; there is no such cost here. Default "1.3".
	MaxVersion string `json:"max_version" default:"1.3" enum:"1.0,1.1,1.2,1.3" v3:"common_tls_context.tls_params.tls_maximum_protocol_version"`
	// CipherSuites are the suites of TLS 1.2 and older, by the names of OpenSSL or IANA. TLS 1.3 always has its three.
	// Default: the AEAD suites with forward secrecy.
	CipherSuites []string `json:"cipher_suites" max:"64" v3:"common_tls_context.tls_params.cipher_suites"`
	// ECDHCurves are the groups for key exchange. Default: X25519MLKEM768, X25519, P-256 and P-384.
	ECDHCurves []string `json:"ecdh_curves" max:"16" v3:"common_tls_context.tls_params.ecdh_curves"`
	// MaxSessionKeys is how many sessions are kept for resumption, for all loops together. 0 turns resumption off.
	// Default 1.
	MaxSessionKeys int `json:"max_session_keys" default:"1" min:"0" max:"65536"`
	// KeyLog writes the secrets of connections to a file, for debugging with a packet analyser. Whoever reads the
	// file reads the traffic. Absent: off.
	KeyLog *KeyLogConfig `json:"key_log" v3:"common_tls_context.key_log"`
	// HandshakeTimeout bounds a handshake; the cluster's connect_timeout holds besides. 1ms to 10m. Default 15s.
	HandshakeTimeout time.Duration `json:"handshake_timeout" default:"15s" min:"1ms" max:"10m" v3:"transport_socket_connect_timeout"`
}

// CertificateConfig is one certificate with its key.
type CertificateConfig struct {
	// CertFile is a PEM file: the certificate, then the intermediate CAs. Required.
	CertFile string `json:"cert_file" required:"true" v3:"certificate_chain.filename"`
	// KeyFile is a PEM file with the private key: PKCS #8, PKCS #1 or SEC 1. Required.
	KeyFile string `json:"key_file" required:"true" v3:"private_key.filename"`
	// OCSPStapleFile is a DER file: what the CA's OCSP responder says of the certificate. It is sent to clients that
	// ask, until it expires. Default: none.
	OCSPStapleFile string `json:"ocsp_staple_file" v3:"ocsp_staple.filename"`
}

// KeyLogConfig says where secrets of connections go.
type KeyLogConfig struct {
	// Path is the file that lines in the NSS key log format are appended to. It is made with mode 0600. Required.
	Path string `json:"path" required:"true"`
}

// SANMatcher matches one subject alternative name of a certificate. As a string it is the whole name. Exactly
// one of exact, prefix, suffix, contains and safe_regex is given.
type SANMatcher struct {
	// SANType is the kind of name: "dns", "uri", "email" or "ip_address". Default: any kind.
	SANType string `json:"san_type" enum:"dns,uri,email,ip_address"`
	// Exact is the whole name. A DNS name of the certificate such as "*.example.com" matches what it stands for.
	Exact *string `json:"exact" v3:"matcher.exact"`
	// Prefix is what the name starts with, such as "spiffe://cluster.local/ns/shop/".
	Prefix *string `json:"prefix" v3:"matcher.prefix"`
	// Suffix is what the name ends with, such as ".example.com".
	Suffix *string `json:"suffix" v3:"matcher.suffix"`
	// Contains is a part of the name.
	Contains *string `json:"contains" v3:"matcher.contains"`
	// SafeRegex is a regular expression (RE2) for the whole name.
	SafeRegex *string `json:"safe_regex" v3:"matcher.safe_regex.regex"`
	// IgnoreCase compares without regard to the case of ASCII letters; safe_regex excepted. DNS names always are.
	// Default false.
	IgnoreCase bool `json:"ignore_case" default:"false" v3:"matcher.ignore_case"`
}
