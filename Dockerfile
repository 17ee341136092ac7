# syntax=docker/dockerfile:1
# One static binary on an empty image. It runs as nobody in particular, writes to /data only, and needs no shell.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o /out/tailrace ./cmd/tailrace && mkdir /out/data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/tailrace /usr/local/bin/tailrace
COPY --from=build --chown=65532:65532 /out/data /data
USER 65532:65532
VOLUME ["/data"]
EXPOSE 8083
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=6 CMD ["/usr/local/bin/tailrace", "status"]
ENTRYPOINT ["/usr/local/bin/tailrace"]
CMD ["serve", "-c", "/etc/tailrace/connectors.yaml", "--data-dir", "/data", "--listen", "127.0.0.1:8083"]
