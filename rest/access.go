package rest

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
)

// Access says who may use the API. The zero Access lets everybody in, which Check allows on a loopback address only.
type Access struct {
	User     string
	Password string   // empty: no credentials are asked for
	Hosts    []string // further names under which the API may be reached, without a port
	Origins  []string // web origins ("https://ui.example.com") whose pages may use the API
}

// AccessFromEnv reads TAILRACE_REST_USER, TAILRACE_REST_PASSWORD or TAILRACE_REST_PASSWORD_FILE, and the comma-separated
// lists TAILRACE_REST_HOSTS and TAILRACE_REST_ORIGINS.
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
	origins, _ := env("TAILRACE_REST_ORIGINS")
	a.Hosts, a.Origins = items(hosts), items(origins)
	return a, nil
}

func items(text string) []string {
	var list []string
	for i := range strings.SplitSeq(text, ",") {
		if i = strings.TrimSpace(i); i != "" {
			list = append(list, i)
		}
	}
	return list
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
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// admit answers a request that is not allowed, and returns false.
func (a Access) admit(w http.ResponseWriter, r *http.Request) bool {
	if r.URL.Path == "/healthz" {
		return true
	}
	if !a.knows(r.Host) {
		fail(w, http.StatusForbidden, "Host "+quoted(r.Host)+" is not one of this server's names; add it to TAILRACE_REST_HOSTS")
		return false
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		listed := slices.ContainsFunc(a.Origins, func(o string) bool { return strings.EqualFold(o, origin) })
		if !listed && !sameOrigin(origin, r) {
			fail(w, http.StatusForbidden, "requests of pages from "+quoted(origin)+" are refused; add it to TAILRACE_REST_ORIGINS")
			return false
		}
		if listed && share(w, r, origin) {
			return false
		}
	}
	if !a.credentials(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="tailrace", charset="UTF-8"`)
		http.Error(w, "User cannot access the resource.", http.StatusUnauthorized)
		return false
	}
	return true
}

// sameOrigin reports whether a page of this server itself sent the request.
func sameOrigin(origin string, r *http.Request) bool {
	_, host, found := strings.Cut(origin, "://")
	return found && strings.EqualFold(host, r.Host)
}

// share lets a page of a listed origin read the answer. A preflight, which browsers send without credentials, is answered
// at once; then it returns true.
func share(w http.ResponseWriter, r *http.Request, origin string) bool {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Credentials", "true")
	h.Add("Vary", "Origin")
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE")
	if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
		h.Set("Access-Control-Allow-Headers", asked)
	}
	w.WriteHeader(http.StatusOK)
	return true
}

// knows reports whether a Host is one of ours. A page that was rebound to our address comes with a name of its own; an
// address in the place of a name is no such page, but is taken only where credentials are asked for anyway.
func (a Access) knows(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if loopback(host) || a.Password != "" && net.ParseIP(host) != nil {
		return true
	}
	return slices.ContainsFunc(a.Hosts, func(h string) bool { return strings.EqualFold(h, host) })
}

// credentials compares in a time that says nothing about where they differ.
func (a Access) credentials(r *http.Request) bool {
	if a.Password == "" {
		return true
	}
	user, password, ok := r.BasicAuth()
	u, p := sha256.Sum256([]byte(user)), sha256.Sum256([]byte(password))
	wu, wp := sha256.Sum256([]byte(a.User)), sha256.Sum256([]byte(a.Password))
	return ok && subtle.ConstantTimeCompare(u[:], wu[:])&subtle.ConstantTimeCompare(p[:], wp[:]) == 1
}
