package topic

import (
	"context"
	"fmt"
)

// scanBatch is how many records Scan asks for at a time.
const scanBatch = 4096

// Scan calls visit for every record that the topic holds at the moment of the call, partition by partition, in order.
// The record and its bytes are valid during the call only. An error of visit ends the scan and is returned.
func Scan(ctx context.Context, log Log, name string, visit func(*Record) error) error {
	info, err := Lookup(ctx, log, name)
	if err != nil {
		return err
	}
	for p, part := range info.Partitions {
		if part.Records == 0 {
			continue
		}
		if err := scanPartition(ctx, log, name, int32(p), part.End, visit); err != nil {
			return err
		}
	}
	return nil
}

func scanPartition(ctx context.Context, log Log, name string, partition int32, end int64, visit func(*Record) error) error {
	rd, err := log.Reader(ctx)
	if err != nil {
		return err
	}
	defer rd.Close()
	if err := rd.Add(name, partition, Start); err != nil {
		return err
	}
	for {
		recs, err := rd.Read(ctx, scanBatch)
		if err != nil {
			return err
		}
		for i := range recs {
			if recs[i].Offset >= end {
				return nil
			}
			if err := visit(&recs[i]); err != nil {
				return err
			}
			if recs[i].Offset == end-1 {
				return nil
			}
		}
	}
}

// Lookup describes one topic; ErrNoTopic if there is none of the name.
func Lookup(ctx context.Context, log Log, name string) (Info, error) {
	all, err := log.Topics(ctx)
	if err != nil {
		return Info{}, err
	}
	for _, info := range all {
		if info.Name == name {
			return info, nil
		}
	}
	return Info{}, fmt.Errorf("%s: %w", name, ErrNoTopic)
}
