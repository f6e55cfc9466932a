# The image: the base's Python and one virtual environment. It runs as a user that owns nothing, and writes no file: a read-only root
# file system is fine (only `sandbox --tls` wants a writable /tmp).
#
# The defaults fit a sidecar: the listener is on 127.0.0.1, which the containers of one pod share and nobody else can reach. A port that
# is published from a container of its own needs another address, and whoever reaches the port can place orders:
#
#     docker run --publish 127.0.0.1:8080:8080 --env TELENOR_PROXY_LISTEN__HOST=0.0.0.0 ...
#
# Configure it with environment variables, which the health check reads as well; to use a file, name it in TELENOR_PROXY_CONFIG, so that
# both find it.

# Both stages need the same base: the virtual environment links to its Python. For a reproducible image, name it with its digest:
# --build-arg BASE=python:3.13-slim-trixie@sha256:...
ARG BASE=python:3.13-slim-trixie

FROM ${BASE} AS builder
# Which lock file is installed: `runtime`; `otel` for an image that can export spans (docs/operation.md, "Traces"); `redis` for one
# that can share a Redis (the same, "Orders that are tried again"); `sandbox` for one whose sandbox can serve TLS (docs/sandbox.md).
ARG LOCK=runtime
WORKDIR /build
# Two environments, so that nothing that only builds (pip itself included) gets into the image.
RUN python3 -m venv tools && python3 -m venv --without-pip /opt/telenor-proxy
COPY requirements/runtime.txt requirements/otel.txt requirements/redis.txt requirements/sandbox.txt requirements/tools.txt requirements/
RUN tools/bin/pip install --no-cache-dir --require-hashes --requirement requirements/tools.txt \
    && tools/bin/pip --python /opt/telenor-proxy/bin/python install \
        --no-cache-dir --no-compile --only-binary :all: --require-hashes --requirement "requirements/${LOCK}.txt"
COPY pyproject.toml README.md LICENSE ./
COPY proxy proxy
# The byte code is made here, since the image cannot write it, and says that its source need not be looked at: it never changes.
RUN tools/bin/pip wheel --no-deps --no-build-isolation --no-index --wheel-dir wheel . \
    && tools/bin/pip --python /opt/telenor-proxy/bin/python install --no-deps --no-index --no-compile wheel/*.whl \
    && rm /opt/telenor-proxy/bin/[Aa]ctivate* \
    && /opt/telenor-proxy/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/telenor-proxy/lib

FROM ${BASE}
ARG VERSION=unknown
LABEL org.opencontainers.image.title="telenor-proxy" \
      org.opencontainers.image.description="A sidecar that logs in to Telenor's Mobile Subscription Order API, so that your order system does not have to." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=builder /opt/telenor-proxy /opt/telenor-proxy
# The official base has no byte code of the standard library. What we use of it is compiled here, by importing it, instead of at every start
# and every health check; first what is imported only when it is needed.
RUN ["/opt/telenor-proxy/bin/python", "-c", "import concurrent.futures.thread, ctypes, encodings.idna, encodings.utf_8_sig, \
    proxy.app, proxy.check, proxy.cli, proxy.demo, proxy.healthcheck, proxy.sandbox.server"]
ENV PATH=/opt/telenor-proxy/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1
# A number, since Kubernetes cannot tell whether a name is root.
USER 65532:65532
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["telenor-proxy", "healthcheck"]
ENTRYPOINT ["telenor-proxy"]
CMD ["serve"]
