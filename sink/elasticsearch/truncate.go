package elasticsearch

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/elastic/go-elasticsearch/v8/esapi"

	"github.com/tailrace/tailrace/change"
	"github.com/tailrace/tailrace/internal/jsontext"
)

// scrollTime is how long Elasticsearch keeps the place of a scan between two pages.
const scrollTime = time.Minute

type page struct {
	ScrollID string `json:"_scroll_id"`
	Hits     struct {
		Hits []struct {
			ID string `json:"_id"`
		} `json:"hits"`
	} `json:"hits"`
}

// truncate deletes every document of the event's index under the event's version, so that a document that a later event
// wrote, in a replay, stays.
func (k *Sink) truncate(ctx context.Context, e *change.Event) error {
	index := indexName(k.cfg.Prefix, e.Topic)
	status, err := k.call(ctx, esapi.IndicesRefreshRequest{Index: []string{index}}, nil)
	if status == http.StatusNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	var p page
	query := []byte(`{"query":{"match_all":{}},"_source":false,"sort":["_doc"]}`)
	size := k.cfg.Rows
	if _, err := k.call(ctx, esapi.SearchRequest{Index: []string{index}, Scroll: scrollTime, Size: &size, Body: bytes.NewReader(query)}, &p); err != nil {
		return err
	}
	for len(p.Hits.Hits) > 0 {
		if err := k.deletePage(ctx, index, &p, e.Version); err != nil {
			return err
		}
		id, err := json.Marshal(map[string]string{"scroll_id": p.ScrollID, "scroll": "1m"})
		if err != nil {
			return err
		}
		p = page{}
		if _, err := k.call(ctx, esapi.ScrollRequest{Body: bytes.NewReader(id)}, &p); err != nil {
			return err
		}
	}
	_, err = k.call(ctx, esapi.ClearScrollRequest{ScrollID: []string{p.ScrollID}}, nil)
	return err
}

func (k *Sink) deletePage(ctx context.Context, index string, p *page, version uint64) error {
	var body []byte
	for _, h := range p.Hits.Hits {
		body = jsontext.AppendString(append(body, `{"delete":{"_index":`...), []byte(index))
		body = jsontext.AppendString(append(body, `,"_id":`...), []byte(h.ID))
		body = strconv.AppendUint(append(body, `,"version":`...), version, 10)
		body = append(body, ",\"version_type\":\"external\"}}\n"...)
	}
	r := esapi.BulkRequest{Body: bytes.NewReader(body)}
	if k.cfg.Refresh {
		r.Refresh = "true"
	}
	var answer bulkAnswer
	if _, err := k.call(ctx, r, &answer); err != nil {
		return err
	}
	for _, m := range answer.Items {
		for _, got := range m {
			if got.Status >= 300 && got.Status != http.StatusConflict && got.Status != http.StatusNotFound {
				return fmt.Errorf("elasticsearch refuses to delete a document: status %d", got.Status)
			}
		}
	}
	return nil
}
