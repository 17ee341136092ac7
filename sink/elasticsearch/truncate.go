package elasticsearch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/elastic/go-elasticsearch/v8/esapi"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/fault"
	"github.com/tailrace/tailrace/internal/jsontext"
)

const (
	scrollTime = time.Minute // how long Elasticsearch keeps the place of a scan between two pages
	scrollPage = 1000        // documents of a page
)

type page struct {
	ScrollID string `json:"_scroll_id"`
	Hits     struct {
		Hits []struct {
			ID string `json:"_id"`
		} `json:"hits"`
	} `json:"hits"`
}

// truncate deletes every document of the event's index that came from the event's partition, under the event's version: a
// document that a later event wrote is newer and stays, which makes a replay harmless.
func (k *Sink) truncate(ctx context.Context, e *change.Event) error {
	if k.cfg.Nulls == "ignore" {
		return nil
	}
	x, err := k.index(ctx, e.Topic, e.Table)
	if err != nil {
		return err
	}
	// What was written must be visible to the scan.
	_, err = k.client.do(ctx, esapi.IndicesRefreshRequest{Index: []string{x.name}})
	if statusOf(err) == http.StatusNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	var p page
	size := scrollPage
	query := fmt.Appendf(nil, `{"query":{"bool":{"filter":{"term":{%q:%d}}}},"_source":false,"sort":["_doc"]}`, partitionField, k.partition)
	if k.partition == 0 {
		query = fmt.Appendf(nil, `{"query":{"bool":{"must_not":{"exists":{"field":%q}}}},"_source":false,"sort":["_doc"]}`, partitionField)
	}
	err = k.client.decode(ctx, esapi.SearchRequest{Index: []string{x.name}, Scroll: scrollTime, Size: &size, Body: bytes.NewReader(query)}, &p)
	if err != nil {
		return err
	}
	err = k.deletePages(ctx, x, &p, e.Version)
	if p.ScrollID != "" { // if it can't be given back, Elasticsearch forgets it after scrollTime
		body := append(jsontext.AppendText([]byte(`{"scroll_id":`), p.ScrollID), '}')
		_, cerr := k.client.do(context.WithoutCancel(ctx), esapi.ClearScrollRequest{Body: bytes.NewReader(body)})
		if statusOf(cerr) != http.StatusNotFound {
			err = errors.Join(err, cerr)
		}
	}
	return err
}

func (k *Sink) deletePages(ctx context.Context, x *index, p *page, version uint64) error {
	for len(p.Hits.Hits) > 0 {
		if err := k.deletePage(ctx, x, p, version); err != nil {
			return err
		}
		body := append(jsontext.AppendText([]byte(`{"scroll":"1m","scroll_id":`), p.ScrollID), '}')
		p.Hits.Hits = nil
		if err := k.client.decode(ctx, esapi.ScrollRequest{Body: bytes.NewReader(body)}, p); err != nil {
			return err
		}
	}
	return nil
}

// deletePage deletes the documents of a page. It sends those again that are refused for now.
func (k *Sink) deletePage(ctx context.Context, x *index, p *page, version uint64) error {
	ids := make([]string, 0, len(p.Hits.Hits))
	for _, h := range p.Hits.Hits {
		ids = append(ids, h.ID)
	}
	for try := 0; ; try++ {
		left, err := k.deleteIDs(ctx, x, ids, version)
		if err == nil || ctx.Err() != nil || fault.IsPermanent(err) {
			return err
		}
		if len(left) < len(ids) {
			try = 0
		}
		if try >= k.cfg.Retries {
			return err
		}
		if err := k.pause(ctx, try); err != nil {
			return err
		}
		ids = left
	}
}

func (k *Sink) deleteIDs(ctx context.Context, x *index, ids []string, version uint64) (left []string, err error) {
	var body []byte
	for _, id := range ids {
		body = appendAction(body, x, true, []byte(id), version)
	}
	r := esapi.BulkRequest{Body: bytes.NewReader(body), FilterPath: filter()}
	if k.cfg.Refresh {
		r.Refresh = "true"
	}
	var got bulkAnswer
	if err := k.client.decode(ctx, r, &got); err != nil {
		return ids, err
	}
	if len(got.Items) != len(ids) {
		return ids, fmt.Errorf("elasticsearch answered %d items of %d", len(got.Items), len(ids))
	}
	for i, g := range got.Items {
		switch o := g.Delete; {
		case o == nil:
			return ids, errors.New("elasticsearch: unreadable answer: an item without an outcome")
		case o.Status < 300, o.Status == http.StatusConflict, o.Status == http.StatusNotFound && o.Error == nil:
		default:
			left = append(left, ids[i])
			err = fmt.Errorf("elasticsearch refuses to delete %d of %d documents for now: %w", len(left), len(ids), o.why())
		}
	}
	return left, err
}
