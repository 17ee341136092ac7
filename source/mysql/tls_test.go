package mysql

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/internal/servers"
)

// An authority signs certificates in a directory.
type authority struct {
	*testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	dir, err := os.MkdirTemp("", "tls")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	a := &authority{T: t, dir: dir}
	a.cert, a.key = a.sign(name, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	if err := os.Chmod(dir, 0o755); err != nil { // the server may run as another user
		t.Fatal(err)
	}
	return a
}

// sign makes the certificate NAME.pem with its key in it, signed by the authority, the first by itself.
func (a *authority) sign(name string, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.Fatal(err)
	}
	c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.Fatal(err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
	if err := os.WriteFile(a.file(name), text, 0o644); err != nil {
		a.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		a.Fatal(err)
	}
	return made, key
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name+".pem") }

// TestTLSModes_case100: each mode checks what it says, for queries and for the dump, and a client's certificate is shown.
func TestTLSModes_case100(t *testing.T) {
	a, other := newAuthority(t, "ca"), newAuthority(t, "other")
	a.sign("localhost", &x509.Certificate{DNSNames: []string{"localhost"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	a.sign("client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	s := servers.Private(t, "mariadb10", map[string]string{"ssl_ca": a.file("ca"), "ssl_cert": a.file("localhost"), "ssl_key": a.file("localhost")})
	d := newDB(t, s.URL, "CREATE TABLE t (id int PRIMARY KEY)")
	d.exec("CREATE USER shown IDENTIFIED BY 'p' REQUIRE X509; GRANT ALL ON *.* TO shown")
	shown := []string{"database.user", "shown", "database.password", "p"}
	for _, c := range []struct {
		name, host, mode, trust string
		more                    []string
		secure                  bool
		fails                   string
	}{
		{"disabled", "127.0.0.1", "disabled", "", nil, false, ""},
		{"preferred", "127.0.0.1", "preferred", "", nil, true, ""},
		{"required", "127.0.0.1", "required", "", nil, true, ""},
		{"verify_ca by another name", "127.0.0.1", "verify_ca", a.file("ca"), nil, true, ""},
		{"verify_ca of another authority", "localhost", "verify_ca", other.file("other"), nil, false, "certificate"},
		{"verify_identity", "localhost", "verify_identity", a.file("ca"), nil, true, ""},
		{"verify_identity by another name", "127.0.0.1", "verify_identity", a.file("ca"), nil, false, "certificate"},
		{"client certificate", "localhost", "verify_identity", a.file("ca"), append(shown, "database.ssl.keystore", a.file("client")), true, ""},
		{"no client certificate", "localhost", "required", "", shown, false, "AUTH_FAILED"},
	} {
		t.Run(c.name, func(t *testing.T) {
			pairs := append([]string{"database.hostname", c.host, "database.ssl.mode", c.mode}, c.more...)
			if c.trust != "" {
				pairs = append(pairs, "database.ssl.truststore", c.trust)
			}
			src, err := open(t.Context(), d.setup(pairs...), mariadb)
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) && fault.Code(err) != c.fails {
					t.Errorf("%v, want %s", err, c.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			st, err := src.Stream(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, secure := st.(*stream).pump.conn.Conn.Conn.Conn.(*tls.Conn); secure != c.secure {
				t.Errorf("TLS is %v", secure)
			}
		})
	}
}

// TestConnectTimeout: a server that takes the connection and says nothing is given up.
func TestConnectTimeout(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	host, port, _ := net.SplitHostPort(l.Addr().String())
	s, problems := parse(map[string]string{"database.hostname": host, "database.port": port, "database.user": "u", "topic.prefix": "p", "connect.timeout.ms": "100"})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if _, err := dial(t.Context(), s, patience); !errors.Is(err, context.DeadlineExceeded) || fault.IsPermanent(err) {
		t.Errorf("%v", err)
	}
}
