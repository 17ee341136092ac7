package redis

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/internal/servers"
	"github.com/tailrace/tailrace/sink"
	"github.com/tailrace/tailrace/sink/sinktest"
)

// TestOwnership: keys that the sink has not written are not its own, whoever made them; those that it has written are.
func TestOwnership(t *testing.T) {
	for _, kind := range []string{"json", "hash"} {
		t.Run(kind, func(t *testing.T) {
			b := newBench(t, servers.Need(t, "redis"), map[string]string{"redis.type": kind})
			s := b.open(t, nil)
			defer s.Close()
			table, h := items(), sinktest.NewHistory(topic)
			put(h, table, 1, "a")
			sinktest.Write(t, s, h.Take())
			b.do("LPUSH", b.prefix+topic+":2", "foreign")
			h.Update(table, sinktest.Int(2), sinktest.Text("whole, and newer than all before"), sinktest.Null())
			h.Update(table, sinktest.Int(3), sinktest.Text("of a key that is free"), sinktest.Null())
			var rejected sink.Rejected
			if err := s.Write(t.Context(), h.Take()); !errors.As(err, &rejected) || len(rejected) != 1 || rejected[0].Index != 0 || fault.Code(rejected[0].Err) != "WRONG_TYPE" {
				t.Errorf("Write returned %v, want the update of the foreign key, and only it, to be rejected", err)
			}
			m := b.do("TYPE", b.prefix+topic+":2")
			if kind, _ := m.ToString(); kind != "list" {
				t.Errorf("the foreign key is a %s now", kind)
			}
			b.do("DEL", b.prefix+topic+":2")
			b.do("DEL", b.prefix+topic+":1")
			b.do("LPUSH", b.prefix+topic+":1", "written over our row")
			h.Update(table, sinktest.Int(1), sinktest.Text("b"), sinktest.Null())
			h.Update(table, sinktest.Int(2), sinktest.Text("free now"), sinktest.Null())
			sinktest.Write(t, s, h.Take())
			b.holds(t, h, table)
		})
	}
}

// TestEqualKeys: values that are equal to the database are one key.
func TestEqualKeys(t *testing.T) {
	b := newBench(t, servers.Need(t, "redis"), nil)
	s := b.open(t, nil)
	defer s.Close()
	table := sinktest.Table("items", 1, []string{"id"}, sinktest.Column("id", "numeric"), sinktest.Column("n", "int8"))
	h := sinktest.NewHistory(topic)
	h.Create(table, sinktest.Decimal("1.0"), sinktest.Int(1))
	h.Create(table, sinktest.Decimal("-0.00"), sinktest.Int(1))
	sinktest.Write(t, s, h.Take())
	h.Update(table, sinktest.Decimal("1.00"), sinktest.Int(2))
	h.Update(table, sinktest.Decimal("0"), sinktest.Int(2))
	sinktest.Write(t, s, h.Take())
	if keys := b.keys(topic + ":*"); len(keys) != 2 || b.get(topic+":1") != `{"id":1.00,"n":2}` || b.get(topic+":0") != `{"id":0,"n":2}` {
		t.Errorf("keys are %q", keys)
	}
}

// TestTypeChanged: rows that are strings can't be merged into as hashes.
func TestTypeChanged(t *testing.T) {
	b := newBench(t, servers.Need(t, "redis"), nil)
	table, h := items(), sinktest.NewHistory(topic)
	put(h, table, 1, "a")
	s := b.open(t, nil)
	sinktest.Write(t, s, h.Take())
	s.Close()
	s = b.open(t, map[string]string{"redis.type": "hash"})
	defer s.Close()
	_, err := s.(sink.Ledger).Committed(t.Context(), h.Origin)
	if fault.Code(err) != "TYPE_CHANGED" || !strings.Contains(err.Error(), "redis.type=json") {
		t.Errorf("Committed returned %v, want TYPE_CHANGED", err)
	}
	h.Update(table, sinktest.Int(1), sinktest.Text("b"), sinktest.Absent())
	if err := s.Write(t.Context(), h.Take()); fault.Code(err) != "TYPE_CHANGED" {
		t.Errorf("Write returned %v, want TYPE_CHANGED", err)
	}
	if got := b.get(topic + ":1"); got != `{"id":1,"name":"a","big":"x"}` {
		t.Errorf("the row is %s", got)
	}
}

// TestTwoTopicsOneKey: two topics must not overwrite each other's rows.
func TestTwoTopicsOneKey(t *testing.T) {
	b := newBench(t, servers.Need(t, "redis"), nil)
	s := b.open(t, map[string]string{"key.format": b.prefix + "${table}:${key}"})
	defer s.Close()
	one, other := sinktest.NewHistory("shop.a.items"), sinktest.NewHistory("shop.b.items")
	put(one, items(), 1, "one")
	put(other, items(), 1, "other")
	sinktest.Write(t, s, one.Take())
	if err := s.Write(t.Context(), other.Take()); fault.Code(err) != "KEY_CONFLICT" {
		t.Errorf("Write returned %v, want KEY_CONFLICT", err)
	}
	if got := b.get("items:1"); got != `{"id":1,"name":"one","big":"x"}` {
		t.Errorf("the row is %s", got)
	}
}

func TestEvictionIsWarnedOf(t *testing.T) {
	srv := servers.Private(t, "redis", map[string]string{"maxmemory": "100mb"})
	b := newBench(t, srv.Addr, nil)
	for policy, want := range map[string]string{"noeviction": "", "allkeys-lru": "rows and their versions", "volatile-ttl": "versions of deleted rows"} {
		b.do("CONFIG", "SET", "maxmemory-policy", policy)
		var log bytes.Buffer
		s, err := Plugin.Open(t.Context(), sink.Setup{Connector: "conn", Props: b.props, Logger: slog.New(slog.NewTextHandler(&log, nil)), Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		if got := log.String(); !strings.Contains(got, want) || (got == "") != (want == "") {
			t.Errorf("%s: logged %q, want %q in it", policy, got, want)
		}
	}
}

func TestClusterIsRefused(t *testing.T) {
	srv := servers.Private(t, "redis", map[string]string{"cluster-enabled": "yes"})
	_, err := Plugin.Open(t.Context(), sink.Setup{Connector: "c", Now: time.Now, Props: map[string]string{"redis.uri": "redis://" + srv.Addr}})
	if fault.Code(err) != "REDIS_CLUSTER" {
		t.Errorf("Open returned %v, want REDIS_CLUSTER", err)
	}
}

// TestRights: a user with just the rights that the remedy of PERMISSION_DENIED names can do everything; one without them
// is told of that remedy.
func TestRights(t *testing.T) {
	srv := servers.Private(t, "redis", nil)
	b := newBench(t, srv.Addr, map[string]string{"redis.username": "sink", "redis.password": "pw"})
	b.do("ACL", "SETUSER", "sink", "on", ">pw", "~nothing", "+@connection", "+info")
	s := b.open(t, nil)
	table, h := items(), sinktest.NewHistory(topic)
	put(h, table, 1, "a")
	put(h, table, 2, "b")
	err := s.Write(t.Context(), h.Slice(0, 2))
	var f *fault.Error
	if !errors.As(err, &f) || f.Code != "PERMISSION_DENIED" {
		t.Fatalf("Write returned %v, want PERMISSION_DENIED", err)
	}
	s.Close()
	rights := regexp.MustCompile(`name (~.*)`).FindStringSubmatch(f.Remedy)
	if rights == nil {
		t.Fatalf("the remedy %q names no rights", f.Remedy)
	}
	b.do(append([]string{"ACL", "SETUSER", "sink"}, strings.Fields(rights[1])...)...)
	s = b.open(t, nil)
	defer s.Close()
	sinktest.Committed(t, s, h.Origin)
	sinktest.Write(t, s, h.Take())
	h.Update(table, sinktest.Int(1), sinktest.Text("merged"), sinktest.Absent())
	h.Delete(table, sinktest.Int(2))
	h.Truncate(table)
	put(h, table, 3, "c")
	sinktest.Write(t, s, h.Take())
	b.holds(t, h, table)
}

// TestTLS: a server that speaks TLS only, with a certificate that the sink has to trust and one that it has to show.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	ca, signer := certificate(t, file("ca"), nil, nil)
	certificate(t, file("server"), ca, signer)
	certificate(t, file("client"), ca, signer)
	srv := servers.Private(t, "redis", nil) // makes sure that redis is there
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	b := newBench(t, srv.Addr, nil)
	for _, set := range [][2]string{{"tls-cert-file", file("server.pem")}, {"tls-key-file", file("server.key")}, {"tls-ca-cert-file", file("ca.pem")}} {
		b.do("CONFIG", "SET", set[0], set[1])
	}
	_, port, _ := net.SplitHostPort(addr)
	b.do("CONFIG", "SET", "tls-port", port)
	b.props["redis.uri"] = "rediss://" + addr
	open := func(props map[string]string) error {
		for k, v := range b.props {
			if _, set := props[k]; !set {
				props[k] = v
			}
		}
		s, err := Plugin.Open(context.Background(), sink.Setup{Connector: "c", Now: time.Now, Props: props})
		if err == nil {
			err = s.Close()
		}
		return err
	}
	if err := open(map[string]string{}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a server of unknown signature: %v", err)
	}
	if err := open(map[string]string{"redis.cacert": file("ca.pem")}); err == nil {
		t.Errorf("the server took a client without a certificate, so the test shows nothing")
	}
	if err := open(map[string]string{"redis.cacert": file("ca.pem"), "redis.key.cert": file("client.pem"), "redis.key.file": file("client.key")}); err != nil {
		t.Error(err)
	}
	if err := open(map[string]string{"redis.cacert": file("ca.key")}); fault.Code(err) != "CONFIG_INVALID" {
		t.Errorf("a key for a certificate: %v", err)
	}
}

// certificate makes path.pem and path.key for 127.0.0.1, signed by ca, or by itself as a signer of others.
func certificate(t *testing.T, path string, ca *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: filepath.Base(path)}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	if ca == nil {
		about.IsCA, about.BasicConstraintsValid, about.KeyUsage = true, true, x509.KeyUsageCertSign
		ca, signer = about, key
	}
	signed, err := x509.CreateCertificate(rand.Reader, about, ca, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{path + ".pem": {Type: "CERTIFICATE", Bytes: signed}, path + ".key": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(signed)
	if err != nil {
		t.Fatal(err)
	}
	return parsed, key
}
