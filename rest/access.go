package rest

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// Access says who may use the API. The zero Access lets everybody in, which Check allows on a loopback address only.
type Access struct {
	User     string
	Password string // empty: no credentials are asked for
	Hosts    []string
}

// AccessFromEnv reads TAILRACE_REST_USER, TAILRACE_REST_PASSWORD or TAILRACE_REST_PASSWORD_FILE, and TAILRACE_REST_HOSTS, a
// comma-separated list of further names under which the API may be reached.
func AccessFromEnv(env func(string) (string, bool), read func(string) ([]byte, error)) (Access, error) {
	var a Access
	a.User, _ = env("TAILRACE_REST_USER")
	a.Password, _ = env("TAILRACE_REST_PASSWORD")
	if path, ok := env("TAILRACE_REST_PASSWORD_FILE"); ok && path != "" {
		p, err := read(path)
		if err != nil {
			return a, fmt.Errorf("TAILRACE_REST_PASSWORD_FILE: %w", err)
		}
		a.Password = strings.TrimRight(string(p), "\r\n")
	}
	if (a.User == "") != (a.Password == "") {
		return a, fmt.Errorf("TAILRACE_REST_USER and TAILRACE_REST_PASSWORD (or TAILRACE_REST_PASSWORD_FILE) go together: set both or none")
	}
	hosts, _ := env("TAILRACE_REST_HOSTS")
	for h := range strings.SplitSeq(hosts, ",") {
		if h = strings.TrimSpace(h); h != "" {
			a.Hosts = append(a.Hosts, h)
		}
	}
	return a, nil
}

// Check refuses an address that others can reach while no credentials are asked for.
func (a Access) Check(listen string) error {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("listen address %q: %w", listen, err)
	}
	if a.Password == "" && !loopback(host) {
		return fmt.Errorf("refusing to listen on %s without authentication: set TAILRACE_REST_USER and TAILRACE_REST_PASSWORD_FILE, or listen on 127.0.0.1", listen)
	}
	return nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// guard lets through whom Access allows.
func (a Access) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			if !a.knows(r.Host) {
				fail(w, http.StatusForbidden, "Host "+quoted(r.Host)+" is not one of this server's names; add it to TAILRACE_REST_HOSTS")
				return
			}
			if o := r.Header.Get("Origin"); o != "" {
				if u, err := url.Parse(o); err != nil || !a.knows(u.Host) {
					fail(w, http.StatusForbidden, "requests of pages from "+quoted(o)+" are refused")
					return
				}
			}
			if !a.credentials(r) {
				w.Header().Set("WWW-Authenticate", `Basic realm="tailrace"`)
				http.Error(w, "User cannot access the resource.", http.StatusUnauthorized)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// knows reports whether a Host is one of ours.
func (a Access) knows(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if loopback(host) {
		return true
	}
	for _, h := range a.Hosts {
		if strings.EqualFold(h, host) {
			return true
		}
	}
	return false
}

func (a Access) credentials(r *http.Request) bool {
	if a.Password == "" {
		return true
	}
	user, password, ok := r.BasicAuth()
	u, p := sha256.Sum256([]byte(user)), sha256.Sum256([]byte(password))
	wu, wp := sha256.Sum256([]byte(a.User)), sha256.Sum256([]byte(a.Password))
	return ok && subtle.ConstantTimeCompare(u[:], wu[:])&subtle.ConstantTimeCompare(p[:], wp[:]) == 1
}
