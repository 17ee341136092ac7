package compare

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// pageRows is how many documents are read at once.
const pageRows = 2000

// elasticsearch is a side in Elasticsearch.
type elasticsearch struct {
	url   string
	index func(*Table) string
}

// NewElasticsearch returns the side whose documents an Elasticsearch node at url holds, in the index that index names
// for each table.
func NewElasticsearch(url string, index func(*Table) string) Side { return &elasticsearch{url, index} }

// Name implements Side.
func (*elasticsearch) Name() string { return "elasticsearch" }

// Read implements Side.
func (e *elasticsearch) Read(ctx context.Context, t *Table, emit func(key, line string) error) error {
	index := url.PathEscape(e.index(t))
	if _, err := e.call(ctx, http.MethodPost, "/"+index+"/_refresh", ""); err != nil {
		if status, ok := err.(statusError); ok && status.code == http.StatusNotFound {
			return nil
		}
		return err
	}
	page, err := e.call(ctx, http.MethodPost, "/"+index+"/_search?scroll=2m", fmt.Sprintf(`{"size":%d,"sort":["_doc"]}`, pageRows))
	var r row
	for err == nil {
		var scroll []byte
		var n int
		if scroll, n, err = e.page(&r, t, page, emit); err != nil || n == 0 {
			if len(scroll) > 0 {
				_, _ = e.call(ctx, http.MethodDelete, "/_search/scroll", `{"scroll_id":`+string(scroll)+`}`) // it expires anyway
			}
			return err
		}
		page, err = e.call(ctx, http.MethodPost, "/_search/scroll", `{"scroll":"2m","scroll_id":`+string(scroll)+`}`)
	}
	return err
}

// page emits the documents of one answer and returns the scroll id, as JSON, and the number of documents.
func (e *elasticsearch) page(r *row, t *Table, answer []byte, emit func(key, line string) error) (scroll []byte, n int, err error) {
	hit := func(p []byte) error {
		return object(p, func(name, value []byte) error {
			if string(name) != "_source" {
				return nil
			}
			n++
			r.clear(t)
			if err := r.document(value, natural); err != nil {
				return err
			}
			return emit(r.key(), r.line())
		})
	}
	err = object(answer, func(name, value []byte) error {
		switch string(name) {
		case "_scroll_id":
			scroll = bytes.Clone(value)
		case "hits":
			return object(value, func(name, value []byte) error {
				if string(name) != "hits" {
					return nil
				}
				return array(value, hit)
			})
		}
		return nil
	})
	return scroll, n, err
}

// statusError is an answer other than success.
type statusError struct {
	code int
	text string
}

// Error implements error.
func (s statusError) Error() string {
	return fmt.Sprintf("elasticsearch answers %d: %s", s.code, s.text)
}

func (e *elasticsearch) call(ctx context.Context, method, path, body string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, e.url+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode >= 300 {
		return nil, statusError{res.StatusCode, short(string(answer))}
	}
	return answer, nil
}
