package elasticsearch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/elastic/elastic-transport-go/v8/elastictransport"
	"github.com/elastic/go-elasticsearch/v8/esapi"

	"github.com/tailrace/tailrace/internal/fault"
)

// client sends requests, once each: retries are the sink's, which knows what may be sent again. It is safe for
// concurrent use.
type client struct {
	es      *elastictransport.Client
	http    *http.Transport
	timeout time.Duration
}

func newClient(c *Config) (*client, error) {
	var urls []*url.URL
	addresses := c.URLs
	if c.Cloud != "" {
		address, err := cloudURL(c.Cloud)
		if err != nil {
			return nil, fault.Permanent("CONFIG_INVALID", "correct connection.cloud.id", err)
		}
		addresses = []string{address}
	}
	for _, text := range addresses {
		u, err := url.Parse(text)
		if err != nil {
			return nil, fault.Permanent("CONFIG_INVALID", "correct connection.url", err)
		}
		urls = append(urls, u)
	}
	secure, err := c.tls()
	if err != nil {
		return nil, fault.Permanent("CONFIG_INVALID", "correct connection.ssl.ca, connection.ssl.certificate and connection.ssl.key", err)
	}
	tr := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second,
		TLSClientConfig:     secure,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: c.InFlight + 1,
		IdleConnTimeout:     90 * time.Second,
	}
	es, err := elastictransport.New(elastictransport.Config{URLs: urls, Username: c.Username, Password: c.Password.Reveal(),
		APIKey: c.APIKey.Reveal(), Transport: patient{tr}, DisableRetry: true, UserAgent: "tailrace", CompressRequestBody: c.Compress, PoolCompressor: c.Compress})
	if err != nil {
		return nil, err
	}
	return &client{es: es, http: tr, timeout: c.Timeout}, nil
}

func (c *client) close() { c.http.CloseIdleConnections() }

// refusal is an answer that Elasticsearch gave instead of what it was asked for.
type refusal struct {
	status int
	text   []byte
}

func (r *refusal) Error() string {
	return fmt.Sprintf("elasticsearch answered %d: %.500s", r.status, r.text)
}

// statusOf returns the HTTP status of a refusal, 0 for other errors.
func statusOf(err error) int {
	if r := (*refusal)(nil); errors.As(err, &r) {
		return r.status
	}
	return 0
}

// do sends a request and returns the text of its answer. When it returns, nobody reads the request's body any more. A
// status of 400 or more is a *refusal; wrong credentials and missing privileges are permanent.
func (c *client) do(ctx context.Context, r esapi.Request) ([]byte, error) {
	text, _, err := c.exchange(ctx, r)
	return text, err
}

func (c *client) exchange(ctx context.Context, r esapi.Request) ([]byte, http.Header, error) {
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	resp, err := r.Do(limited, c.es)
	if err != nil {
		return nil, nil, failed(ctx, err)
	}
	text, err := io.ReadAll(resp.Body)
	if cerr := resp.Body.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, nil, failed(ctx, err)
	}
	if resp.StatusCode < 400 {
		return text, resp.Header, nil
	}
	err = &refusal{resp.StatusCode, text}
	blocked := bytes.Contains(text, []byte("cluster_block_exception")) // which its operator lifts again
	if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden && !blocked {
		err = fault.Permanent("AUTH_FAILED", "correct connection.username and connection.password or connection.api.key, or the role's privileges", err)
	}
	return text, resp.Header, err
}

// failed tells the end of the caller's context from a request that took too long.
func failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("elasticsearch: %w", err)
}

// decode is do with the answer decoded into v.
func (c *client) decode(ctx context.Context, r esapi.Request, v any) error {
	text, err := c.do(ctx, r)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("elasticsearch: unreadable answer: %w", err)
	}
	return nil
}

// greet makes sure that the other side is Elasticsearch and takes the credentials.
func (c *client) greet(ctx context.Context) error {
	text, header, err := c.exchange(ctx, esapi.InfoRequest{})
	if statusOf(err) == http.StatusForbidden {
		return nil // known, but not allowed to ask for the version; what it may do will show
	}
	if err != nil {
		return err
	}
	if bytes.Contains(text, []byte(`"opensearch"`)) {
		return fault.Permanentf("NOT_ELASTICSEARCH", "let connection.url name an Elasticsearch cluster, version 7.14 or later",
			"the server is OpenSearch, which this sink is not tested with and does not write to")
	}
	if header.Get("X-Elastic-Product") != "Elasticsearch" {
		return fault.Permanentf("NOT_ELASTICSEARCH", "let connection.url name an Elasticsearch cluster, version 7.14 or later",
			"the server does not say that it is Elasticsearch")
	}
	return nil
}

// patient is a RoundTripper after whose answer (or error) the request's body is really free: net/http may go on
// reading it after RoundTrip has returned, when the answer came early or the context ended.
type patient struct{ next http.RoundTripper }

func (p patient) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return p.next.RoundTrip(req)
	}
	sent := &sending{ReadCloser: req.Body, done: make(chan struct{})}
	mine := req.WithContext(req.Context())
	mine.Body, mine.GetBody = sent, nil
	resp, err := p.next.RoundTrip(mine)
	if err != nil {
		<-sent.done
		return nil, err
	}
	resp.Body = answer{resp.Body, sent}
	return resp, nil
}

type sending struct {
	io.ReadCloser
	once sync.Once
	done chan struct{}
}

func (s *sending) Close() error {
	err := s.ReadCloser.Close()
	s.once.Do(func() { close(s.done) })
	return err
}

type answer struct {
	io.ReadCloser
	sent *sending
}

func (a answer) Close() error {
	err := a.ReadCloser.Close()
	<-a.sent.done
	return err
}
