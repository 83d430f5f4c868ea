# syntax=docker/dockerfile:1
# Three stages: build makes the static binary, test runs the suite, production holds the binary and nothing else.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN make build VERSION=$VERSION

FROM build AS test
RUN make test

FROM scratch AS production
LABEL org.opencontainers.image.title="weir" \
      org.opencontainers.image.description="Edge proxy with WebAssembly filters" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /src/build/weir /weir
# No name service in the image: the uid itself. Nothing is written, so the root may be read-only.
USER 1001:1001
EXPOSE 8080 9901
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["/weir", "health"]
ENTRYPOINT ["/weir"]
CMD ["run"]
