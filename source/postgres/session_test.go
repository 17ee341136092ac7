package postgres

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tailrace/tailrace/internal/servers"
)

// An authority signs certificates for tests.
type authority struct {
	*testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{T: t}
	a.key, a.cert, _ = a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "tests"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, time.Hour)
	return a
}

// sign makes a key and a certificate for it that ends after a while. An authority without a certificate signs its own.
func (a *authority) sign(c *x509.Certificate, valid time.Duration) (*ecdsa.PrivateKey, *x509.Certificate, []byte) {
	a.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.Fatal(err)
	}
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-2*time.Hour), time.Now().Add(valid)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.Fatal(err)
	}
	return key, cert, der
}

// file writes PEM blocks into a file with the owner of dir.
func (a *authority) file(dir, name, kind string, der []byte) string {
	a.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.Fatal(err)
	}
	fi, err := os.Stat(dir)
	if err != nil {
		a.Fatal(err)
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); !ok || os.Chown(path, int(st.Uid), int(st.Gid)) != nil {
		a.Fatal("the file can't be given to the server")
	}
	return path
}

func TestTLS(t *testing.T) {
	server := servers.Private(t, "postgres15", nil)
	d := newDBAt(t, server.URL, `CREATE TABLE t (id int PRIMARY KEY)`)
	ca, stranger := newAuthority(t), newAuthority(t)
	root := ca.file(t.TempDir(), "root.crt", "CERTIFICATE", ca.cert.Raw)
	data := filepath.Join(server.Dir, "data")
	serve := func(a *authority, host net.IP, valid time.Duration) {
		t.Helper()
		key, _, der := a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "server"}, IPAddresses: []net.IP{host}}, valid)
		pkcs, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		a.file(data, "server.crt", "CERTIFICATE", der)
		a.file(data, "server.key", "PRIVATE KEY", pkcs)
		d.exec("ALTER SYSTEM SET ssl = off")
		d.exec("SELECT pg_reload_conf()")
		d.exec("ALTER SYSTEM SET ssl = on")
		d.exec("SELECT pg_reload_conf()")
		d.eventually(func() (bool, string) { // the reload takes a moment
			problems := Plugin.Preflight(t.Context(), d.setup("database.sslmode", "require"))
			return len(problems) == 0, fmt.Sprint(problems)
		})
	}
	refused := func(why string, pairs ...string) {
		t.Helper()
		problems := Plugin.Preflight(t.Context(), d.setup(pairs...))
		if !mentions(problems, "database.hostname", why) {
			t.Errorf("%v: got %v, want %q", pairs, problems, why)
		}
		if _, err := Plugin.Open(t.Context(), d.setup(pairs...)); err == nil {
			t.Errorf("%v: a connection is made", pairs)
		}
	}
	full := []string{"database.sslmode", "verify-full", "database.sslrootcert", root}
	t.Run("case100_plaintext", func(t *testing.T) { // the server, or who is in between, speaks no TLS
		refused("server refused TLS", full...)
		refused("server refused TLS", "database.sslmode", "require")
	})
	t.Run("case100_good", func(t *testing.T) {
		serve(ca, net.IPv4(127, 0, 0, 1), time.Hour)
		p := d.stream(nil, full...)
		p.read()
		if n := d.text("SELECT count(*)::text FROM pg_stat_ssl s JOIN pg_stat_replication r USING (pid) WHERE s.ssl"); n != "1" {
			t.Error("the replication connection is not encrypted")
		}
		p.stop()
	})
	t.Run("case100_self_signed", func(t *testing.T) {
		serve(stranger, net.IPv4(127, 0, 0, 1), time.Hour)
		refused("unknown authority", full...)
		refused("unknown authority", "database.sslmode", "verify-ca", "database.sslrootcert", root)
		refused("unknown authority", "database.sslmode", "require", "database.sslrootcert", root) // as libpq has it
	})
	t.Run("case100_wrong_host", func(t *testing.T) {
		serve(ca, net.IPv4(10, 0, 0, 1), time.Hour)
		refused("not 127.0.0.1", full...)
		if problems := withoutNotes(Plugin.Preflight(t.Context(), d.setup("database.sslmode", "verify-ca", "database.sslrootcert", root))); len(problems) > 0 {
			t.Errorf("verify-ca asks for no name: %v", problems)
		}
	})
	t.Run("case100_expired", func(t *testing.T) {
		serve(ca, net.IPv4(127, 0, 0, 1), -time.Hour)
		refused("expired", full...)
	})
}

func TestSSLModeDefault(t *testing.T) {
	for _, tt := range []struct{ host, root, mode, want string }{
		{"db.example.org", "", "", "prefer"},
		{"db.example.org", "/ca.pem", "", "verify-full"},
		{"db.example.org", "/ca.pem", "require", "require"},
		{"127.0.0.1", "/ca.pem", "", "prefer"},
		{"localhost,/var/run", "/ca.pem", "", "prefer"},
		{"localhost,db", "/ca.pem", "", "verify-full"},
	} {
		props := map[string]string{"database.hostname": tt.host, "database.user": "u", "database.dbname": "d", "topic.prefix": "p"}
		if tt.root != "" {
			props["database.sslrootcert"] = tt.root
		}
		if tt.mode != "" {
			props["database.sslmode"] = tt.mode
		}
		if s, problems := parse(props); s.SSLMode != tt.want || len(problems) > 0 {
			t.Errorf("%+v: %s, %v", tt, s.SSLMode, problems)
		}
	}
}

func TestHosts(t *testing.T) {
	for host, want := range map[string][]endpoint{
		"db":                        {{"db", 5432}},
		"a, b:6000,[::1]:7000":      {{"a", 5432}, {"b", 6000}, {"::1", 7000}},
		"::1":                       {{"::1", 5432}},
		"[::1]":                     {{"::1", 5432}},
		"/var/run/postgresql,other": {{"/var/run/postgresql", 5432}, {"other", 5432}},
		"a:b":                       nil,
		"a,":                        nil,
		"a:70000":                   nil,
	} {
		s := &settings{Host: host, Port: 5432}
		if got, err := s.hosts(); !reflect.DeepEqual(got, want) || (err == nil) != (want != nil) {
			t.Errorf("%q: %v, %v", host, got, err)
		}
	}
}

// Of several hosts the primary is taken, wherever it stands in the list.
func TestSeveralHosts(t *testing.T) {
	primary := servers.Private(t, "postgres15", nil)
	follower := servers.Standby(t, primary, nil)
	d := newDBAt(t, primary.URL, `CREATE TABLE t (id int PRIMARY KEY)`)
	d.caughtUp(d.at(follower.URL))
	hosts := strings.Join([]string{"127.0.0.1:1", follower.Addr, primary.Addr}, ",")
	p := d.stream(nil, "database.hostname", hosts)
	p.read()
	d.exec("INSERT INTO t VALUES (1)")
	want(t, p.events(1), "c public.t 1 after{id=1}")
	if _, err := Plugin.Open(t.Context(), d.setup("database.hostname", "127.0.0.1:1,"+follower.Addr)); err == nil {
		t.Error("a standby is taken for the primary")
	}
}
