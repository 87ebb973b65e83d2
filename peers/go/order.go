package main

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"

	"github.com/google/uuid"
)

// Order is what a customer asks for. Every engine keeps it as the input of its workflow.
type Order struct {
	ID    string `json:"id"`
	Total string `json:"total"`
	// What the first step puts on record.
	Placed json.RawMessage `json:"placed"`
}

type line struct {
	SKU       string `json:"sku"`
	Quantity  int64  `json:"quantity"`
	UnitPrice string `json:"unit_price"`
	Total     string `json:"total"`
}

type placed struct {
	Customer string `json:"customer"`
	Country  string `json:"country"`
	Lines    []line `json:"lines"`
	Total    string `json:"total"`
}

// Orders gives out the real orders of the sample again and again, each time under a new id.
type Orders struct {
	all  []placed
	next atomic.Uint64
}

func readOrders(sample, products string) (*Orders, error) {
	prices, err := readPrices(products)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(sample)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	orders := &Orders{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var order placed
		if err := json.Unmarshal(lines.Bytes(), &order); err != nil {
			return nil, fmt.Errorf("%s: %w", sample, err)
		}
		if err := order.price(prices); err != nil {
			return nil, err
		}
		orders.all = append(orders.all, order)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(orders.all) == 0 {
		return nil, fmt.Errorf("%s has no orders", sample)
	}
	return orders, nil
}

// price fills in the pence of each line; parcel and tax are 7 pounds.
func (p *placed) price(pence map[string]int64) error {
	total := int64(700)
	for i := range p.Lines {
		l := &p.Lines[i]
		each, ok := pence[l.SKU]
		if !ok {
			return fmt.Errorf("the catalogue has no article %s", l.SKU)
		}
		l.UnitPrice, l.Total = pounds(each), pounds(each*l.Quantity)
		total += each * l.Quantity
	}
	// An order of gifts alone is still sold for something.
	p.Total = pounds(max(total, 800))
	return nil
}

func pounds(pence int64) string { return fmt.Sprintf("%d.%02d", pence/100, pence%100) }

func readPrices(products string) (map[string]int64, error) {
	file, err := os.Open(products)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", products, err)
	}
	prices := make(map[string]int64, len(rows))
	for _, row := range rows[1:] {
		price, err := strconv.ParseFloat(row[2], 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", products, err)
		}
		prices[row[0]] = int64(price*100 + 0.5)
	}
	return prices, nil
}

// Next is an order that nobody has placed before.
func (o *Orders) Next() (Order, error) {
	this := o.all[(o.next.Add(1)-1)%uint64(len(o.all))]
	body, err := json.Marshal(this)
	return Order{ID: uuid.NewString(), Total: this.Total, Placed: body}, err
}
