#!/usr/bin/env python3
"""Writes baskets.txt.gz: the content of each order, without customer and time.

  baskets.py ORDERS    all orders, as gzipped JSON lines in the format of orders-sample.jsonl

A basket is a line of `quantity x unit price`, in the order of the invoice, at the prices of
products.csv, in pounds. The output is reproducible.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main(orders: str) -> None:
    with (HERE / "products.csv").open(newline="") as file:
        prices = {row["sku"]: row["unit_price_gbp"] for row in csv.DictReader(file)}
    baskets = []
    with gzip.open(orders, "rt") as lines:
        for order in map(json.loads, lines):
            basket = (f"{line['quantity']}x{prices[line['sku']]}" for line in order["lines"])
            baskets.append(" ".join(basket) + "\n")
    # Without a timestamp, so that the file is reproducible.
    packed = gzip.compress("".join(baskets).encode(), 9, mtime=0)
    (HERE / "baskets.txt.gz").write_bytes(packed)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
