package main

import (
	"fmt"
	"sync/atomic"

	"github.com/tailrace/tailrace/change/rowcodec"
	"github.com/tailrace/tailrace/worker"
)

// rows makes a worker.Codec of the registry: its methods return the worker's interfaces.
type rows struct{ *rowcodec.Registry }

func (r rows) NewEncoder(tombstones bool) worker.Encoder {
	return r.Registry.NewEncoder(rowcodec.EncoderOptions{Tombstones: tombstones})
}

func (r rows) NewDecoder() worker.Decoder { return r.Registry.NewDecoder() }

// late is the log's merger and consumer floor. The log is opened before the registry and the worker that know them; until
// they are there nothing is merged and no consumer has passed anything.
type late struct {
	reg    atomic.Pointer[rowcodec.Registry]
	worker atomic.Pointer[worker.Worker]
}

func (l *late) Partial(value []byte) bool {
	reg := l.reg.Load()
	return reg == nil || reg.Partial(value)
}

func (l *late) Merge(dst, older, newer []byte) ([]byte, error) {
	reg := l.reg.Load()
	if reg == nil {
		return dst, fmt.Errorf("schemas are not loaded yet")
	}
	return reg.Merge(dst, older, newer)
}

func (l *late) Erases(value []byte) bool {
	reg := l.reg.Load()
	return reg != nil && reg.Erases(value)
}

func (l *late) Covers(eraser, older []byte) bool {
	reg := l.reg.Load()
	return reg != nil && reg.Covers(eraser, older)
}

func (l *late) floor(topic string, epoch uint32, partition int32) int64 {
	if w := l.worker.Load(); w != nil {
		return w.ConsumerFloor(topic, epoch, partition)
	}
	return 0
}
