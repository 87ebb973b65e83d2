# syntax=docker/dockerfile:1
# The programs `ordersaga` and `shop` in one small image that runs as a normal user.

# The same version as rust-toolchain.toml, which stays outside (.dockerignore) because it asks for
# tools that a build has no use for.
FROM rust:1.95.0-slim-trixie AS build
# librdkafka is C, and takes OpenSSL for Kafka over TLS.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ libssl-dev make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /ordersaga
# The queries are checked against the committed .sqlx; there is no database here.
ENV SQLX_OFFLINE=true
# The repository stays outside, so `--version` has to be told:
# docker build --build-arg ORDERSAGA_COMMIT=$(git rev-parse --short=12 HEAD)
ARG ORDERSAGA_COMMIT=
COPY . .
# The caches live on between builds, so the programs are copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/ordersaga/target \
    cargo build --release --locked -p ordersaga -p shop --features ordersaga/kafka-tls \
    && install -D -t /programs target/release/ordersaga target/release/shop

FROM debian:trixie-slim
# Certificates for Temporal Cloud, payment providers and brokers; curl for the health checks; OpenSSL
# for Kafka over TLS.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates curl libssl3t64 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group ordersaga
COPY --from=build /programs/ /usr/local/bin/
COPY shop/data/products.csv /usr/local/share/ordersaga/
USER ordersaga
EXPOSE 8080 9464 9466 9467
CMD ["ordersaga", "worker"]
