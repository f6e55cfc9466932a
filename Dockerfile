# The image: the base's Python and one virtual environment. It runs as a user that owns no file, and
# writes none: the root file system can be read-only (only `sandbox --tls` needs a writable /tmp).
#
# The defaults suit a sidecar: the listener is on 127.0.0.1, which only the containers of one pod
# reach. A published port needs another address, and every program that reaches it can place orders:
#
#     docker run --publish 127.0.0.1:8080:8080 --env TELENOR_PROXY_LISTEN__HOST=0.0.0.0 ...
#
# Configure it with environment variables, which the health check reads too. Name a configuration
# file in TELENOR_PROXY_CONFIG, so that both find it.

# Both stages need the same base: the virtual environment links to its Python. For a reproducible
# image, set it with its digest: --build-arg BASE=python:3.13-slim-trixie@sha256:...
ARG BASE=python:3.13-slim-trixie

FROM ${BASE} AS builder
# The lock file to install: `runtime`; `otel` to export spans (docs/operation.md, "Traces"); `redis`
# for a store of orders in a Redis (docs/operation.md, "Orders that are tried again"); `sandbox` for
# a sandbox with TLS (docs/sandbox.md).
ARG LOCK=runtime
WORKDIR /build
# Two environments, so that no build tool (pip included) gets into the image.
RUN python3 -m venv tools && python3 -m venv --without-pip /opt/telenor-proxy
COPY requirements/runtime.txt requirements/otel.txt requirements/redis.txt requirements/sandbox.txt requirements/tools.txt requirements/
RUN tools/bin/pip install --no-cache-dir --require-hashes --requirement requirements/tools.txt \
    && tools/bin/pip --python /opt/telenor-proxy/bin/python install \
        --no-cache-dir --no-compile --only-binary :all: --require-hashes --requirement "requirements/${LOCK}.txt"
COPY pyproject.toml README.md LICENSE ./
COPY proxy proxy
# Compile here, since the image cannot write byte code; unchecked, since the source never changes.
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
# The official base has no byte code of the standard library. Importing the used modules here
# compiles them once, not at every start and health check; first the modules that are imported on
# demand.
RUN ["/opt/telenor-proxy/bin/python", "-c", "import concurrent.futures.thread, ctypes, encodings.idna, encodings.utf_8_sig, \
    proxy.app, proxy.check, proxy.cli, proxy.demo, proxy.healthcheck, proxy.sandbox.server"]
ENV PATH=/opt/telenor-proxy/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1
# A number, since Kubernetes cannot check whether a name is root.
USER 65532:65532
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["telenor-proxy", "healthcheck"]
ENTRYPOINT ["telenor-proxy"]
CMD ["serve"]
