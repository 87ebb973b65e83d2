package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

type wait func(context.Context) error

// engine carries orders.
type engine interface {
	// start returns once the order will survive this program, and what waits for its end.
	start(context.Context, Order) (wait, error)
	// accept only starts it, in the way that is meant for many.
	accept(context.Context, Order) error
}

// caller is an engine that can be asked to start an order and to answer its end in one request.
type caller interface {
	call(context.Context, Order) error
}

// carry has one order carried from its start to its end.
func carry(ctx context.Context, e engine, o Order) error {
	if c, ok := e.(caller); ok {
		return c.call(ctx, o)
	}
	waiting, err := e.start(ctx, o)
	if err != nil {
		return err
	}
	return waiting(ctx)
}

// tell writes one line of JSON, which embedded/peers.py reads.
func tell(event string, more map[string]any) error {
	if more == nil {
		more = map[string]any{}
	}
	more["event"] = event
	line, err := json.Marshal(more)
	if err == nil {
		_, err = fmt.Println(string(line))
	}
	return err
}

// failures are counted, and the first few told.
type failures struct{ count atomic.Int64 }

func (f *failures) add(err error) {
	if f.count.Add(1) <= 3 {
		fmt.Fprintln(os.Stderr, err)
	}
}

// measure has so many clients go round: each has an order carried, then the next. After a lead that
// does not count, what ends within the window is counted.
func measure(ctx context.Context, e engine, orders *Orders, shop *Shop, clients int, lead, window time.Duration) error {
	var measuring atomic.Bool
	var failed failures
	var mutex sync.Mutex
	var took []time.Duration
	for range clients {
		go func() {
			for {
				o, err := orders.Next()
				begun := time.Now()
				if err == nil {
					err = carry(ctx, e, o)
				}
				if err != nil {
					failed.add(err)
				} else if measuring.Load() {
					mutex.Lock()
					took = append(took, time.Since(begun))
					mutex.Unlock()
				}
			}
		}()
	}
	time.Sleep(lead)
	// Plans that were made for empty tables cost four times as much.
	if _, err := shop.db.Exec(ctx, "analyze"); err != nil {
		return err
	}
	time.Sleep(lead)
	begun := time.Now()
	measuring.Store(true)
	if err := tell("begin", nil); err != nil {
		return err
	}
	time.Sleep(window)
	measuring.Store(false)
	lasted := time.Since(begun)
	if err := tell("end", nil); err != nil {
		return err
	}
	mutex.Lock()
	defer mutex.Unlock()
	slices.Sort(took)
	at := func(share float64) float64 {
		if len(took) == 0 {
			return 0
		}
		return float64(took[min(len(took)-1, int(share*float64(len(took))))].Microseconds()) / 1000
	}
	return tell("measured", map[string]any{
		"finished": len(took), "seconds": lasted.Seconds(), "p50_ms": at(0.5), "p99_ms": at(0.99),
		"failed": failed.count.Load(),
	})
}

// placeAll has so many orders started at once, and writes down each that was accepted. It ends when it
// is killed.
func placeAll(ctx context.Context, e engine, orders *Orders, clients int, accepted *os.File) error {
	var failed failures
	for range clients {
		go func() {
			for {
				o, err := orders.Next()
				if err != nil {
					failed.add(err)
					continue
				}
				waiting, err := e.start(ctx, o)
				if err != nil {
					failed.add(err)
					continue
				}
				// What the kernel has survives this program.
				if _, err := accepted.WriteString(o.ID + "\n"); err != nil {
					failed.add(err)
				}
				if err := waiting(ctx); err != nil {
					failed.add(err)
				}
			}
		}()
	}
	if err := tell("serving", nil); err != nil {
		return err
	}
	select {}
}

// acceptMany has so many orders accepted, none of which is waited for, by so many clients.
func acceptMany(ctx context.Context, e engine, orders *Orders, clients, count int) error {
	var failed failures
	var left atomic.Int64
	left.Store(int64(count))
	var all sync.WaitGroup
	if err := tell("accepting", nil); err != nil {
		return err
	}
	begun := time.Now()
	for range clients {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				o, err := orders.Next()
				if err == nil {
					err = e.accept(ctx, o)
				}
				if err != nil {
					failed.add(err)
				}
			}
		})
	}
	all.Wait()
	return tell("accepted", map[string]any{
		"accepted": int64(count) - failed.count.Load(), "seconds": time.Since(begun).Seconds(),
		"failed": failed.count.Load(),
	})
}
