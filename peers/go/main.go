// The order's six steps by what one might take instead of Ordersaga: nothing at all, Temporal's Go
// SDK, DBOS Transact, Restate. Each file but this one, load.go, order.go and steps.go is one of them.
//
//	peers measure|place|accept|serve --peer NAME [flags]
//
// It prints one line of JSON for each thing that its starter, embedded/peers.py, has to know.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// quiet is for the engines' logs.
var quiet = slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})

// connections is the same for all; DBOS has as many more of its own where it does not share them.
const connections = 24

type asked struct {
	act, peer, repeats                        string
	clients, count                            int
	lead, window                              time.Duration
	sample, products, accepted                string
	url, temporal                             string
	restateListen, restateAdmin, restateEntry string
}

func parse() (a asked, err error) {
	if len(os.Args) < 2 {
		return a, errors.New("say what to do: measure, place, accept or serve")
	}
	a.act = os.Args[1]
	flags := flag.NewFlagSet(a.act, flag.ExitOnError)
	flags.StringVar(&a.peer, "peer", "", "none, temporal-go, dbos-steps, dbos-transactions or restate")
	flags.StringVar(&a.repeats, "repeats", "skip", "what a step does when it is carried out again: act, fail or skip")
	flags.IntVar(&a.clients, "clients", 100, "how many orders are under way at once")
	flags.IntVar(&a.count, "count", 2000, "how many orders are accepted")
	flags.DurationVar(&a.lead, "lead", 4*time.Second, "how long it runs before the tables are analysed, and again before it counts")
	flags.DurationVar(&a.window, "window", 15*time.Second, "how long it counts")
	flags.StringVar(&a.sample, "sample", "", "the file of orders")
	flags.StringVar(&a.products, "products", "", "the file of articles")
	flags.StringVar(&a.accepted, "accepted", "", "where the accepted orders' ids are written")
	flags.StringVar(&a.temporal, "temporal", "127.0.0.1:7233", "Temporal's address")
	flags.StringVar(&a.restateListen, "restate-listen", "", "where Restate calls this program")
	flags.StringVar(&a.restateAdmin, "restate-admin", "", "the URL of Restate's administration")
	flags.StringVar(&a.restateEntry, "restate-ingress", "", "the URL where Restate takes orders")
	a.url = os.Getenv("PEERS_DATABASE_URL")
	return a, flags.Parse(os.Args[2:])
}

func (a asked) engine(ctx context.Context, shop *Shop) (engine, error) {
	switch a.peer {
	case "none":
		return bare{shop}, nil
	case "temporal-go":
		return newTemporal(shop, a.temporal)
	case "dbos-steps":
		return newDbos(ctx, shop, a.url, false)
	case "dbos-transactions":
		return newDbos(ctx, shop, a.url, true)
	case "restate":
		return newRestate(ctx, shop, a.restateListen, a.restateAdmin, a.restateEntry)
	}
	return nil, fmt.Errorf("there is no peer %q", a.peer)
}

func (a asked) run(ctx context.Context) error {
	config, err := pgxpool.ParseConfig(a.url)
	if err != nil {
		return err
	}
	config.MaxConns = connections
	db, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	shop := &Shop{db, a.repeats}
	if a.act != "serve" {
		if err := refuseUsed(ctx, db); err != nil {
			return err
		}
	}
	e, err := a.engine(ctx, shop)
	if err != nil {
		return err
	}
	if a.act == "serve" {
		// What was interrupted is carried on by the engine alone, until this is ended.
		if err := tell("serving", nil); err != nil {
			return err
		}
		select {}
	}
	orders, err := readOrders(a.sample, a.products)
	if err != nil {
		return err
	}
	if err := a.load(ctx, e, orders, shop); err != nil {
		return err
	}
	// Its processor time is read before it is ended.
	select {}
}

func (a asked) load(ctx context.Context, e engine, orders *Orders, shop *Shop) error {
	switch a.act {
	case "measure":
		return measure(ctx, e, orders, shop, a.clients, a.lead, a.window)
	case "accept":
		return acceptMany(ctx, e, orders, a.clients, a.count)
	case "place":
		accepted, err := os.OpenFile(a.accepted, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		return placeAll(ctx, e, orders, a.clients, accepted)
	}
	return fmt.Errorf("%q is none of measure, place, accept and serve", a.act)
}

// refuseUsed keeps orders of an earlier run from being counted as this one's.
func refuseUsed(ctx context.Context, db *pgxpool.Pool) error {
	var used bool
	if err := db.QueryRow(ctx, "select exists (select from peer.orders)").Scan(&used); err != nil {
		return err
	}
	if used {
		return errors.New("there are orders in this database already: give the peer a fresh one (schema.sql)")
	}
	return nil
}

func main() {
	a, err := parse()
	if err == nil {
		err = a.run(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}
