# syntax=docker/dockerfile:1
#
# Fanfare in a container: no root, nothing to write but /data, no shell, no package manager.
#
#   docker build -t fanfare .
#   docker run --read-only --cap-drop=ALL --security-opt=no-new-privileges \
#       -v fanfare-data:/data -p 127.0.0.1:8080:8080 --stop-timeout 30 fanfare
#
# Keys and the embedded store are made in /data on the first start. Where they are given instead
# (FANFARE_ENCRYPTION_KEY, FANFARE_JWT_SECRET, FANFARE_DATABASE_URL=postgres://…), /data stays empty.
# Secrets are better off in a TOML file that is mounted than in the environment:
#
#   -v ./fanfare.toml:/run/secrets/fanfare.toml:ro -e FANFARE_CONFIG=/run/secrets/fanfare.toml
#
# The commands run in the same container:
#
#   docker exec CONTAINER fanfare token --company UUID
#   docker exec CONTAINER fanfare rotate-key
#
# `--stop-timeout` is to be more than FANFARE_GRACE. Whether it is up: GET /healthz, GET /readyz.

FROM rust:1.95-bookworm AS build
# aws-lc-rs is C.
RUN apt-get update && apt-get install --yes --no-install-recommends cmake \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --release --package fanfare-cli \
    && install -D target/release/fanfare /out/usr/local/bin/fanfare \
    && install -d -m 0700 /out/data

# The C library and the roots of TLS, and no shell.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build --chown=65532:65532 /out/data /data
COPY --from=build /out/usr/local/bin/fanfare /usr/local/bin/fanfare
USER 65532:65532
ENV FANFARE_DATA_DIR=/data FANFARE_LISTEN=0.0.0.0:8080
WORKDIR /data
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/fanfare"]
CMD ["serve"]
